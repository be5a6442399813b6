// From the import of bertkit's bundle to the first embedding of MiniLM in int8 (--model-dir: its folder), each time in a new process of
// Node (inline: there the bundle has no worker) or a new page of Chromium (inline and in a worker), with the model's files in memory.
// The vector is compared with the float32 one of the native backend.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { pipeline } from '../dist/index.js'
import { addressOf, serve } from '../examples/browser/serve.mjs'
import { median, provenance } from './measure.mjs'

const root = path.join(import.meta.dirname, '..')
const RUNS = 9
const NAMES = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors']
const TEXT = 'How do I reset the PIN of my new card?'

const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0) // of vectors of length 1

export async function run({ json, 'model-dir': folder }) {
  if (!folder) throw new Error('--model-dir names the folder of MiniLM')
  const { launch } = await import('../test/runtimes/chromium.mjs')
  const native = await pipeline('feature-extraction', folder, { backend: 'cpu' })
  const { data: expected } = await native(TEXT, { pooling: 'mean', normalize: true })
  const described = provenance(await native.model.describe())
  native.dispose()
  const built = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-bench-'))
  let server
  let browser
  try {
    const bundle = { bundle: true, minify: true, format: 'esm', platform: 'browser', absWorkingDir: root }
    for (const [from, to] of [
      ['src/edge.ts', 'edge.js'],
      ['src/backend/wasm/worker.ts', 'worker.js'],
    ])
      await build({ ...bundle, entryPoints: [path.join(root, from)], outfile: path.join(built, to) })
    const report = async (where, once) => {
      const runs = []
      for (let i = 0; i < RUNS; i++) {
        const { ms, vector } = await once()
        const likeness = cosine(vector, expected)
        if (!(likeness > 0.995)) throw new Error(`${where}: the embedding has a cosine of ${likeness} to float32's`)
        runs.push(ms)
      }
      const of = (part) => Math.round(median(runs.map((ms) => ms[part])))
      const ms = Object.fromEntries(Object.keys(runs[0]).map((part) => [part, of(part)]))
      const least = Math.round(Math.min(...runs.map(({ all }) => all)))
      const { machine, commit, date } = described
      const result = { bench: 'wasm-start', where, ...ms, least, load_average: +os.loadavg()[0].toFixed(1) }
      console.log(
        json
          ? JSON.stringify({ ...result, machine, commit, date })
          : `${where.padEnd(28)} ${ms.all} ms (least ${least}): import ${ms.import}, tokenizer ${ms.tokenizer}, load ${ms.load}, first result ${ms.first} (load average ${result.load_average})`,
      )
    }
    const program = `
      import fs from 'node:fs'
      import { start } from ${JSON.stringify(pathToFileURL(path.join(root, 'bench', 'wasm-start-program.mjs')).href)}
      const read = (...parts) => new Uint8Array(fs.readFileSync(parts.join('/')))
      const files = Object.fromEntries(${JSON.stringify(NAMES)}.map((name) => [name, read(${JSON.stringify(path.resolve(folder))}, name)]))
      const wasm = { binary: read(${JSON.stringify(path.join(root, 'dist', 'wasm', 'bertkit.wasm'))}), worker: false }
      console.log(JSON.stringify(await start(${JSON.stringify(pathToFileURL(path.join(built, 'edge.js')).href)}, files, wasm)))`
    await report(`Node ${process.versions.node}, inline`, () =>
      JSON.parse(execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })),
    )
    server = await serve({
      folders: {
        '/dist/': path.join(root, 'dist', path.sep),
        '/bench/': path.join(root, 'bench', path.sep),
        '/built/': path.join(built, path.sep),
        '/minilm/': path.join(path.resolve(folder), path.sep),
      },
    })
    browser = await launch()
    for (const worker of [false, '/built/worker.js'])
      await report(`Chromium, ${worker ? 'worker' : 'inline'}`, async () => {
        const context = await browser.newContext()
        try {
          const page = await context.newPage()
          await page.goto(`${addressOf(server)}/bench/wasm-chromium.html`)
          return await page.evaluate(
            async ([names, worker]) => {
              const { start } = await import('/bench/wasm-start-program.mjs')
              const get = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer())
              const files = {}
              for (const name of names) files[name] = await get(`/minilm/${name}`)
              const wasm = { binary: await get('/dist/wasm/bertkit-relaxed.wasm'), worker }
              return start('/built/edge.js', files, wasm)
            },
            [NAMES, worker],
          )
        } finally {
          await context.close()
        }
      })
  } finally {
    await browser?.close()
    server?.close()
    fs.rmSync(built, { recursive: true })
  }
}
