// The wasm backend in Chromium with one thread beside its peers with one thread, in one page and turn by turn: a forward of BERT-mini on
// one sequence of 128 tokens beside onnxruntime-web, and the embeddings of sentences of STS-B beside transformers.js, tokens included
// (--model-dir: MiniLM's folder, --train-file: a .csv of STS-B). Outputs are compared in the page before anything is timed. The browser
// comes from test/runtimes: npm run test:runtimes installs what drives it.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { BertModel, exportOnnx } from '../dist/index.js'
import { addressOf, serve } from '../examples/browser/serve.mjs'
import { configOf, tokens, uniform } from './batches.mjs'
import { median, provenance } from './measure.mjs'

const root = path.join(import.meta.dirname, '..')
const TURNS = 15
const LIST = 32
const LISTS = 10

/** The first sentences of a .csv of STS-B, each once. */
function sentencesOf(file) {
  const all = new Set(
    fs
      .readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => line.split('\t').slice(5, 7)),
  )
  return [...all].map((text) => text.trim()).filter((text) => text.length > 0)
}

/** What a contest came to: medians, and the median of the ratios of turns. */
function summary({ bertkit, relaxed, peer }) {
  const ms = (values) => +median(values).toFixed(2)
  const ratio = (values) => +median(values.map((value, i) => peer[i] / value)).toFixed(2)
  return {
    simd128_ms: ms(bertkit),
    relaxed_ms: ms(relaxed),
    peer_ms: ms(peer),
    simd128_ratio: ratio(bertkit),
    relaxed_ratio: ratio(relaxed),
  }
}

export async function run({ json, 'model-dir': minilm, 'train-file': stsb }) {
  const { launch } = await import('../test/runtimes/chromium.mjs')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-bench-'))
  const here = (name) => path.join(folder, name, path.sep)
  let server
  let browser
  try {
    const mini = new BertModel(configOf('mini').config, { seed: 0 })
    const described = provenance(await mini.describe())
    await mini.savePretrained(here('mini'))
    await exportOnnx(mini, here('mini'))
    mini.dispose()
    if (minilm) await exportOnnx(minilm, here('minilm'))
    server = await serve({
      folders: {
        '/dist/': path.join(root, 'dist', path.sep),
        '/bench/': path.join(root, 'bench', path.sep),
        '/node_modules/': path.join(root, 'node_modules', path.sep),
        '/peer/': path.join(folder, path.sep),
        ...(minilm && { '/minilm/': path.join(path.resolve(minilm), path.sep) }),
      },
    })
    browser = await launch()
    /** A contest in a page of its own. */
    const contest = async (work, name, options) => {
      const page = await browser.newPage()
      try {
        await page.goto(`${addressOf(server)}/bench/wasm-chromium.html`)
        const { times, peer, error } = await page.evaluate(
          async ([name, options]) => (await import('/bench/wasm-chromium-page.mjs'))[name](options),
          [name, options],
        )
        const found = { ...summary(times), load: +os.loadavg()[0].toFixed(1) }
        const { machine, commit, date } = described
        const result = { bench: 'wasm-chromium', work, peer, browser: browser.version(), error, ...found }
        console.log(
          json
            ? JSON.stringify({ ...result, machine, threads: 1, commit, date })
            : `${work.padEnd(44)} simd128 ${found.simd128_ms} ms, relaxed ${found.relaxed_ms} ms, ${peer} ${found.peer_ms} ms: ` +
                `${found.simd128_ratio} and ${found.relaxed_ratio} x (load ${found.load})`,
        )
      } finally {
        await page.close()
      }
    }
    await contest('mini, one sequence of 128 tokens', 'mini', { ids: tokens([128], uniform(0))[0], turns: TURNS })
    if (!minilm || !stsb) {
      console.error('MiniLM was not timed: --model-dir names its folder, --train-file a .csv of STS-B')
      return
    }
    const sentences = sentencesOf(stsb).slice(0, LIST * LISTS)
    if (sentences.length < LIST * LISTS) throw new Error(`${stsb} has only ${sentences.length} sentences`)
    const lists = Array.from({ length: LISTS }, (_, i) => sentences.slice(LIST * i, LIST * (i + 1)))
    await contest(`MiniLM, lists of ${LIST} sentences of STS-B`, 'embed', { lists, alone: false })
    await contest(`MiniLM, ${LIST} sentences of STS-B one by one`, 'embed', { lists, alone: true })
  } finally {
    await browser?.close()
    server?.close()
    fs.rmSync(folder, { recursive: true })
  }
}
