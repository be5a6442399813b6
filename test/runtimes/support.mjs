// What the tests of runtimes share: the reference data, a server for it, and the curve of the native backend.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { tinyCurve } from './tiny-curve.mjs'

export const root = path.join(import.meta.dirname, '..', '..')
export const dist = (name) => pathToFileURL(path.join(root, 'dist', name)).href
export const binary = (name) => path.join(root, 'dist', 'wasm', `${name}.wasm`)

const required = process.env.BERTKIT_REQUIRE_RUNTIMES === '1'
const reference = process.env.BERTKIT_REFERENCE_DIR ?? path.join(root, '..', 'shared')
export const minilmFolder = path.join(reference, 'data', 'weights', 'all-MiniLM-L6-v2')
export const goldenFile = path.join(reference, 'golden', 'minilm', 'embeddings.json')

/** What is served: by the first part of the path. */
const served = { minilm: minilmFolder, golden: path.dirname(goldenFile), wasm: path.join(root, 'dist', 'wasm') }

const lacks = [path.join(minilmFolder, 'model.safetensors'), goldenFile].find((file) => !fs.existsSync(file))
if (lacks && required) throw new Error(`The reference data is missing: no ${lacks} (BERTKIT_REFERENCE_DIR)`)
/** Why MiniLM is left out of the tests; undefined where it is not. */
export const noReference = lacks && `no reference data: ${lacks} (BERTKIT_REFERENCE_DIR)`

/** The first program that there is, of [package, file in it], among the packages of test/runtimes; or why its tests are skipped. */
export function installed(...places) {
  const { resolve } = createRequire(import.meta.url)
  for (const [name, file] of places)
    try {
      const program = path.join(path.dirname(resolve(`${name}/package.json`)), file)
      if (fs.existsSync(program)) return { program }
    } catch {
      // a package for another machine
    }
  const missing = `none of ${places.map(([name]) => name).join(', ')} is installed: npm ci in test/runtimes`
  if (required) throw new Error(missing)
  return { missing }
}

const TYPES = { '.wasm': 'application/wasm', '.js': 'text/javascript', '.json': 'application/json' }

/** A server of the folders above on a port of its own. */
export async function serve() {
  const server = http.createServer((request, response) => {
    const [, folder, ...rest] = new URL(request.url, 'http://localhost').pathname.split('/')
    const file = served[folder] && path.join(served[folder], ...rest)
    if (!file || !fs.existsSync(file) || !fs.statSync(file).isFile()) {
      response.writeHead(404).end('there is no such file')
      return
    }
    response.writeHead(200, {
      'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
      'content-length': fs.statSync(file).size,
    })
    if (request.method === 'HEAD') response.end()
    else fs.createReadStream(file).pipe(response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: (name) => `http://127.0.0.1:${server.address().port}/${name}`,
    close: () => server.close(),
  }
}

/** Runs a program; what it printed, or an error with its output. */
export async function run(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const out = []
  const err = []
  child.stdout.on('data', (chunk) => out.push(chunk))
  child.stderr.on('data', (chunk) => err.push(chunk))
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => resolve(status ?? signal))
  })
  const stdout = Buffer.concat(out).toString()
  if (code !== 0)
    throw new Error(`${path.basename(command)} ended with ${code}\n${stdout}\n${Buffer.concat(err).toString()}`)
  return stdout
}

/** A new folder that has bertkit as a package, and packages of another folder, whose programs npx then finds. */
export function packageFolder({ from, names = [] } = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-package-'))
  fs.mkdirSync(path.join(folder, 'node_modules'))
  fs.symlinkSync(root, path.join(folder, 'node_modules', 'bertkit'))
  for (const name of names.length > 0 ? ['.bin', ...names] : [])
    fs.symlinkSync(path.join(from, 'node_modules', name), path.join(folder, 'node_modules', name))
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }')
  return folder
}

/** The result of main.mjs in a runtime: `command` is its program and the arguments before the script. */
export async function runMain([command, ...flags], entry, settings, options) {
  const script = path.join(import.meta.dirname, 'main.mjs')
  const stdout = await run(command, [...flags, script, entry, JSON.stringify(settings)], options)
  return JSON.parse(stdout.trim().split('\n').at(-1))
}

let curve
/** The losses that the native backend gives for the same steps. */
export const nativeCurve = async () => {
  curve ??= tinyCurve(await import(dist('index.js')), { backend: 'cpu' })
  return curve
}

/** Settings of a program that asks for all there is. */
export const settings = (server, more = {}) => ({
  ...(noReference ? {} : { minilm: server.url('minilm/'), golden: server.url('golden/embeddings.json') }),
  ...more,
})

/** Holds what a program gave to the limits. */
export async function verify({ losses, embedding }) {
  const expected = await nativeCurve()
  assert.equal(losses.length, expected.length)
  const gap = Math.max(...losses.map((loss, i) => Math.abs(loss - expected[i])))
  assert.ok(gap <= 1e-5, `the loss curve differs from the native one by ${gap}`)
  const mean = (some) => some.reduce((sum, loss) => sum + loss, 0) / some.length
  assert.ok(mean(expected.slice(-5)) < mean(expected.slice(0, 5)) - 0.02, `nothing is learnt: ${expected}`)
  if (noReference) return
  assert.ok(embedding.sentences > 0)
  assert.equal(embedding.otherIds, 0, 'sentences with other token ids')
  assert.ok(embedding.difference <= 2e-6, `embeddings differ by ${embedding.difference}`)
}
