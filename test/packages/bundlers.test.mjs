// Programs that esbuild, vite and webpack bundle from the installed package, for pages and for servers, and that then run.
// Servers that esbuild bundles are in pages.test.mjs, with the commands of the pages.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { before, describe, test } from 'node:test'
import { build as esbuild } from 'esbuild'
import { build as vite } from 'vite'
import webpack from 'webpack'
import { builtAddon, host } from './stage.mjs'
import { DESCRIBE, Project, skipBecause } from './support.mjs'

const node = { command: [process.execPath] }
const noAddon = skipBecause(builtAddon(host) ? undefined : `no addon was built for this machine, ${host}`)

/** Fine-tunes a tiny model. */
const PROGRAM = `import { AdamW, BertConfig, BertForSequenceClassification } from 'bertkit'

export async function program(options) {
  const config = new BertConfig({ vocabSize: 30, hiddenSize: 16, numHiddenLayers: 1, numAttentionHeads: 2, intermediateSize: 16 })
  const model = new BertForSequenceClassification(config, options)
  const optimizer = new AdamW(model.train(), { lr: 1e-2 })
  const losses = []
  for (let step = 0; step < 20; step++)
    losses.push((await optimizer.step({ inputIds: [[1, 2, 3], [4, 5, 6, 7]], labels: [0, 1] })).loss)
  model.dispose()
  return losses
}
`

/** A bundle for pages needs a binary in Node, where none is fetched from the disk: its bytes. */
const runBundle = (bundle) => `import fs from 'node:fs'
const { program } = await import('${bundle}')
const binary = fs.readFileSync('node_modules/bertkit/dist/wasm/bertkit.wasm')
console.log(JSON.stringify(await program({ wasm: { binary, worker: false } })))`

const dist = (file) => `node_modules/bertkit/dist/${file}`
const namesNode = /(?:from|import|require)\s*\(?\s*['"`]node:/

describe('bundlers', () => {
  let project
  let expected
  before(async () => {
    project = new Project()
    await project.install()
    project.write('src/main.js', PROGRAM)
    const source = `${PROGRAM}\nconsole.log(JSON.stringify(await program({ backend: 'wasm', wasm: { worker: false } })))`
    expected = await project.json(node, source, { name: 'unbundled.mjs' })
  })

  /** The scripts of a bundle reach no Node, and the program does what it does without a bundler, to the last bit. */
  async function verifyForPages(folder, entry) {
    const scripts = fs.readdirSync(project.at(folder), { recursive: true }).filter((name) => /\.m?js$/.test(name))
    assert.ok(scripts.length > 0)
    for (const name of scripts) assert.doesNotMatch(fs.readFileSync(project.at(folder, name), 'utf8'), namesNode, name)
    assert.ok(expected.at(-1) < expected[0] - 0.1, `nothing is learnt: ${expected}`)
    const losses = await project.json(node, runBundle(`./${folder}/${entry}`), { name: 'run.mjs' })
    assert.deepEqual(losses, expected)
    return scripts
  }

  const assets = (folder, pattern) =>
    fs.readdirSync(project.at(folder), { recursive: true }).filter((name) => pattern.test(name))

  test('esbuild, for pages', async () => {
    const { metafile } = await esbuild({
      absWorkingDir: project.folder,
      entryPoints: { main: 'src/main.js', 'bertkit-worker': 'bertkit/worker' },
      bundle: true,
      format: 'esm',
      platform: 'browser',
      outdir: 'esbuild',
      metafile: true,
    })
    const files = Object.keys(metafile.inputs)
    assert.ok(files.includes(dist('edge.js')))
    assert.deepEqual(
      files.filter((name) => /(platform-node|backend\/native|vendor\/|cli\/|train\/)/.test(name)),
      [],
    )
    const imports = Object.values(metafile.inputs).flatMap((input) => input.imports)
    assert.deepEqual(
      imports.filter(({ external }) => external),
      [],
    )
    await verifyForPages('esbuild', 'main.js')
  })

  test("esbuild, the binary as a file that is imported from 'bertkit/wasm'", async () => {
    project.write(
      'src/binary.js',
      "import binary from 'bertkit/wasm/bertkit.wasm'\nexport { program } from './main.js'\nexport { binary }\n",
    )
    await esbuild({
      absWorkingDir: project.folder,
      entryPoints: ['src/binary.js'],
      bundle: true,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      loader: { '.wasm': 'binary' },
      outfile: 'esbuild-binary/main.js',
    })
    const source = `import { binary, program } from './esbuild-binary/main.js'
console.log(JSON.stringify(await program({ wasm: { binary, worker: false } })))`
    assert.deepEqual(await project.json(node, source), expected)
  })

  /** Bundles as ES module, and holds webpack to saying nothing about it. */
  async function bundleWithWebpack(settings) {
    const compiler = webpack({
      context: project.folder,
      mode: 'production',
      performance: { hints: false }, // of the sizes of binaries, of which one is fetched
      experiments: { outputModule: true },
      ...settings,
    })
    const stats = await new Promise((resolve, reject) =>
      compiler.run((error, result) => (error ? reject(error) : resolve(result))),
    )
    await new Promise((resolve) => compiler.close(resolve))
    assert.equal(stats.hasErrors(), false, stats.toString())
    assert.equal(stats.hasWarnings(), false, stats.toString({ all: false, warnings: true }))
  }

  test('vite, for pages: with the worker and the four binaries as files', async () => {
    project.write('index.html', '<script type="module" src="/src/page.js"></script>')
    project.write('src/page.js', "import { program } from './main.js'\nglobalThis.program = program\n")
    await vite({
      root: project.folder,
      logLevel: 'error',
      configFile: false,
      build: { outDir: 'vite', modulePreload: false },
    })
    assert.equal(assets('vite', /bertkit[\w-]*\.wasm$/).length, 4)
    assert.equal(assets('vite', /worker[\w-]*\.js$/).length, 1)
    const [page] = assets('vite', /index[\w-]*\.js$/)
    project.write('vite/main.mjs', `await import('./${page}')\nexport const { program } = globalThis\n`)
    await verifyForPages('vite', 'main.mjs')
  })

  test('webpack, for pages: with the worker and the four binaries as files', async () => {
    await bundleWithWebpack({
      target: ['web', 'es2022'],
      entry: './src/main.js',
      output: { path: project.at('webpack'), filename: 'main.js', library: { type: 'module' }, publicPath: './' },
    })
    assert.equal(assets('webpack', /\.wasm$/).length, 4)
    assert.equal(assets('webpack', /\.js$/).length, 2, 'the program and its worker')
    await verifyForPages('webpack', 'main.js')
  })

  test('webpack, for a server, with bertkit outside: the addon serves', { skip: noAddon }, async () => {
    project.write('src/server.js', DESCRIBE)
    await bundleWithWebpack({
      target: 'node20',
      entry: './src/server.js',
      externals: { bertkit: 'module bertkit' },
      output: { path: project.at('server'), filename: 'webpack.mjs', module: true },
    })
    const { stdout, stderr } = await project.run([process.execPath, 'server/webpack.mjs'])
    assert.equal(JSON.parse(stdout).backend, 'cpu', stderr)
  })
})
