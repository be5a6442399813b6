// What the tests of packages share: the staged packages, projects that install them, and programs in those.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { MAIN, tarballOf } from '../../scripts/platforms.mjs'
import { prebuilt } from './stage.mjs'

export const root = path.join(import.meta.dirname, '..', '..')

const { BERTKIT_STAGED, BERTKIT_REGISTRY, BERTKIT_REQUIRE_PACKAGES, BERTKIT_REFERENCE_DIR } = process.env
if (!BERTKIT_STAGED || !BERTKIT_REGISTRY)
  throw new Error('These tests need packed packages and a registry with them: node test/packages/run.mjs [NAME...]')

/** The folder that scripts/pack.mjs made, and the address of the registry that has its packages. */
export const packages = BERTKIT_STAGED
export const registry = BERTKIT_REGISTRY
export const readJson = (...file) => JSON.parse(fs.readFileSync(path.join(...file), 'utf8'))
export const { version } = readJson(packages, 'bertkit', 'package.json')
export const tarball = (name) => path.join(packages, tarballOf(name, version))

/** A reason to skip, which is an error where nothing may be skipped. */
export function skipBecause(reason) {
  if (reason && BERTKIT_REQUIRE_PACKAGES)
    throw new Error(`${reason}, and BERTKIT_REQUIRE_PACKAGES says that it must be`)
  return reason ?? false
}

/** Why tests of a platform's addon are left out; an error where it must be there. */
export function unlessPrebuilt(platform) {
  if (prebuilt(platform)) return false
  const reason = `no addon was built for ${platform}: node scripts/prebuild.mjs ${platform}`
  const wanted = BERTKIT_REQUIRE_PACKAGES ?? ''
  return wanted === 'all' || wanted.split(',').includes(platform) ? skipBecause(reason) : reason
}

const reference = BERTKIT_REFERENCE_DIR ?? path.join(root, '..', 'shared')
export const minilm = path.join(reference, 'data', 'weights', 'all-MiniLM-L6-v2')
const weights = path.join(minilm, 'model.safetensors')
/** Why programs on MiniLM are left out; false where they are not. They must run only where somebody says where it is. */
export const noMinilm = (() => {
  if (fs.existsSync(weights)) return false
  const reason = `no reference data: ${weights} (BERTKIT_REFERENCE_DIR)`
  return BERTKIT_REFERENCE_DIR === undefined ? reason : skipBecause(reason)
})()

/** A bundled program that fails is printed with the line, which may be all of it. */
const MOST_SHOWN = 3000

/** Runs a program: what it printed on both outputs. An error with both where it fails. */
export async function run([command, ...args], options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'])
    child[name].setEncoding('utf8').on('data', (chunk) => {
      out[name] += chunk
    })
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => resolve(status ?? signal))
  })
  if (code !== 0) {
    const [said, complained] = [out.stdout, out.stderr].map((text) => text.slice(-MOST_SHOWN))
    throw new Error(`${command} ${args.join(' ')} ended with ${code}\n${said}\n${complained}`)
  }
  return out
}

/** The environment without what would make a program another one than a user's. */
function environment(more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(BERTKIT_|npm_|NODE_|INIT_CWD$)/.test(name))
  return { ...Object.fromEntries(kept), ...more }
}

const folders = []
process.once('exit', () => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true })
})

/** A project of its own in a new folder, which goes when the test file ends. */
export class Project {
  constructor(manifest = {}) {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-project-'))
    folders.push(this.folder)
    this.write('package.json', JSON.stringify({ name: 'project', private: true, type: 'module', ...manifest }))
    this.write('npmrc', `registry=${registry}\ncache=${path.join(this.folder, '.npm')}\n`)
  }

  at(...parts) {
    return path.join(this.folder, ...parts)
  }

  write(name, text) {
    fs.mkdirSync(path.dirname(this.at(name)), { recursive: true })
    fs.writeFileSync(this.at(name), text)
    return this.at(name)
  }

  /** npm with the registry of the tests and a cache of its own, so that nothing can come from anywhere else. */
  npm(...args) {
    return this.run(['npm', '--userconfig', this.at('npmrc'), '--no-audit', '--no-fund', ...args])
  }

  install(...flags) {
    // programs import bertkit, whatever a fork calls it
    return this.npm('install', MAIN === 'bertkit' ? MAIN : `bertkit@npm:${MAIN}`, '--ignore-scripts', ...flags)
  }

  /** A command in the project's folder. */
  run(command, env) {
    return run(command, { cwd: this.folder, env: environment(env) })
  }

  /** A program, written as a file of the project, in a runtime of programs.mjs. */
  program({ command }, source, { args = [], env, name = 'program.mjs' } = {}) {
    this.write(name, source)
    return this.run([...command, name, ...args], env)
  }

  /** The same of one that prints JSON. */
  async json(runtime, source, options) {
    return JSON.parse((await this.program(runtime, source, options)).stdout)
  }

  /** The packages that were installed, by their place in node_modules. */
  installed() {
    return Object.entries(readJson(this.at('node_modules', '.package-lock.json')).packages)
      .map(([place, about]) => ({ name: place.replace(/^node_modules\//, ''), ...about }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}

/** Where a program says which backend serves. */
export const DESCRIBE = `import { describeBackend } from 'bertkit'
console.log(JSON.stringify(await describeBackend()))`

/** The first program of the README that was published. */
export function firstProgram() {
  const [, source] = /```js examples\/first\.mjs\n([\s\S]*?)```/.exec(
    fs.readFileSync(path.join(packages, 'bertkit', 'README.md'), 'utf8'),
  )
  return source
}

const STEPS = 10

/** Holds what the first program has printed to what it does: ten losses, which fall, and two logits. Returns what it said besides. */
export function verifyFirst({ stdout, stderr }) {
  const losses = [...stdout.matchAll(/\bloss: ([-\d.e]+)/g)].map(([, loss]) => Number(loss))
  const [, rest] = /data: Float32Array\(2\) \[([^\]]*)\]/.exec(stdout) ?? []
  const logits = rest?.split(',').map(Number)
  assert.equal(losses.length, STEPS, stdout)
  assert.ok(losses[0] > 0.5 && losses[0] < 1, `two labels, nothing learnt yet: ${losses}`)
  assert.ok(losses[STEPS - 1] < losses[0] - 0.2, `nothing is learnt: ${losses}`)
  assert.equal(logits?.length, 2, stdout)
  assert.ok(logits.every(Number.isFinite))
  return stderr
}

/** All files of a folder and their bytes. */
export function sizeOf(folder) {
  const files = fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return files.reduce((sum, { parentPath, name }) => sum + fs.statSync(path.join(parentPath, name)).size, 0)
}
