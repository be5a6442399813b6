// The blocks of the pages that need npm, a registry, or other programs than Node, as they are printed, in projects that install the
// packed packages.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { build, createServer } from 'vite'
import { MAIN, PLATFORMS, packageOf, SCOPE } from '../../scripts/platforms.mjs'
import { programsFor } from '../docs/blocks.mjs'
import { bun, deno, installed } from './programs.mjs'
import { startRegistry } from './registry.mjs'
import { builtAddon, host } from './stage.mjs'
import { DESCRIBE, Project, skipBecause } from './support.mjs'

const blocks = programsFor('test/packages/pages.test.mjs')
const inOtherRuntimes = ['docs/installing.md', 'docs/webassembly.md'].map((file) => [
  file,
  blocks.take(file, 'bun app.mjs'),
])
const bundles = ['docs/installing.md', 'docs/packages.md'].map((file) => [
  file,
  blocks.take(file, 'npx esbuild server.'),
])
const tarballs = blocks.take('docs/installing.md', 'npm pack bertkit')
const viteConfig = blocks.take('docs/webassembly.md', 'optimizeDeps')
const reserveNames = blocks.take('CONTRIBUTING.md', 'npm publish')

test('every block that names this test is run by it', () => assert.deepEqual(blocks.left(), []))

const noAddon = skipBecause(builtAddon(host) ? undefined : `no addon was built for this machine, ${host}`)
const noRuntimes = skipBecause(deno && bun ? undefined : 'npm has no Deno or no Bun for this machine')

/** Runs commands in a project, with its settings of npm, and `programs`, of name and file, as if packages had brought them. */
function shell(project, code, { programs = {}, userconfig = project.at('npmrc') } = {}) {
  const bin = project.at('node_modules', '.bin')
  for (const [name, file] of Object.entries(programs)) fs.symlinkSync(file, path.join(bin, name))
  return project.run(['bash', '-eu', '-c', code], {
    PATH: [bin, process.env.PATH].join(path.delimiter),
    npm_config_userconfig: userconfig,
    npm_config_cache: project.at('.npm'),
  })
}

for (const [file, code] of inOtherRuntimes)
  test(`${file}: in Deno and Bun the addon serves`, { skip: noAddon || noRuntimes }, async () => {
    const project = new Project()
    await project.install()
    project.write('app.mjs', DESCRIBE)
    const { stdout } = await shell(project, code, { programs: { deno, bun } })
    const backends = stdout.trim().split('\n')
    assert.deepEqual(
      backends.map((line) => JSON.parse(line).backend),
      ['cpu', 'cpu'],
    )
  })

for (const [file, code] of bundles)
  test(`${file}: a server that esbuild bundles, beside the addon alone`, { skip: noAddon }, async () => {
    const project = new Project({ type: 'commonjs' })
    await project.install()
    for (const name of ['server.js', 'server.mjs'])
      project.write(
        name,
        "import { describeBackend } from 'bertkit'\ndescribeBackend().then((found) => console.log(JSON.stringify(found)))\n",
      )
    await shell(project, code, { programs: { esbuild: installed('esbuild', 'bin', 'esbuild') } })
    const [, outfile] = /--outfile=(\S+)/.exec(code)
    const deployed = new Project()
    deployed.write(outfile, fs.readFileSync(project.at(outfile), 'utf8'))
    fs.cpSync(project.at('node_modules', SCOPE), deployed.at('node_modules', SCOPE), { recursive: true })
    const { stdout, stderr } = await deployed.run([process.execPath, outfile])
    assert.equal(JSON.parse(stdout).backend, 'cpu', stderr)
  })

test('docs/installing.md: tarballs of all platforms, and npm ci from the lock file', async () => {
  const project = new Project()
  await shell(project, tarballs)
  const { packages } = JSON.parse(fs.readFileSync(project.at('package-lock.json'), 'utf8'))
  for (const name of [MAIN, ...Object.keys(PLATFORMS).map(packageOf)])
    assert.match(packages[`node_modules/${name}`].resolved, /^file:bertkit-.*\.tgz$/, name)
  assert.deepEqual(
    project.installed().map(({ name }) => name),
    [packageOf(host), 'bertkit'],
  )
  const { backend } = await project.json({ command: [process.execPath] }, DESCRIBE)
  assert.equal(backend, builtAddon(host) ? 'cpu' : 'wasm')
})

describe('docs/webassembly.md: with vite.config.js', () => {
  const ISOLATION = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }

  async function projectWithPage() {
    const project = new Project()
    await project.install()
    project.write('vite.config.js', viteConfig)
    project.write('index.html', '<script type="module" src="/main.js"></script>')
    project.write('main.js', "import { describeBackend } from 'bertkit'\nglobalThis.described = describeBackend()\n")
    return project
  }

  test('the development server isolates the page, and leaves the package as it is', async () => {
    const project = await projectWithPage()
    const server = await createServer({
      root: project.folder,
      logLevel: 'error',
      server: { port: 0, host: '127.0.0.1' },
    })
    try {
      await server.listen()
      const get = (file) => fetch(new URL(file, server.resolvedUrls.local[0]))
      const page = await get('/')
      assert.equal(page.status, 200)
      for (const [name, value] of Object.entries(ISOLATION)) assert.equal(page.headers.get(name), value, name)
      const [, entry] = /from "([^"]+)"/.exec(await (await get('/main.js')).text())
      assert.match(entry, /^\/node_modules\/bertkit\/dist\/edge\.js/)
      assert.equal((await get(entry)).status, 200)
    } finally {
      await server.close()
    }
  })

  test('the page is built, with the worker and the four binaries', async () => {
    const project = await projectWithPage()
    await build({ root: project.folder, logLevel: 'error' })
    const assets = fs.readdirSync(project.at('dist', 'assets'))
    assert.equal(assets.filter((name) => /^bertkit.*\.wasm$/.test(name)).length, 4)
    assert.equal(assets.filter((name) => /^worker.*\.js$/.test(name)).length, 1)
  })
})

test('CONTRIBUTING.md: a placeholder for each name, in a registry where there is none', async () => {
  const project = new Project()
  const registry = await startRegistry(project.folder)
  try {
    // logging in and out is between a person and a browser
    const npm = 'npm() { case "$1" in login|logout) ;; *) command npm "$@" ;; esac; }\n'
    await shell(project, npm + reserveNames, { userconfig: registry.npmrc })
    for (const name of [MAIN, ...Object.keys(PLATFORMS).map(packageOf)]) {
      const about = await (await fetch(`${registry.address}${name.replace('/', '%2f')}`)).json()
      assert.equal(about['dist-tags']?.reserved, '0.0.0-reserved', name)
    }
  } finally {
    registry.stop()
  }
})
