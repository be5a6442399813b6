// The wasm backend with one thread beside onnxruntime-web with one thread, turn by turn in this process: a forward of BERT-mini on one
// sequence of 128 tokens, and MiniLM on sentences (--model-dir its folder). Outputs are compared before anything is timed.
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { BertModel, BertTokenizer, exportOnnx } from '../dist/index.js'
import { configOf, tokens, uniform } from './batches.mjs'
import { median, provenance } from './measure.mjs'

const require = createRequire(import.meta.url)
const TURNS = 15
const SENTENCES = [
  'A man is playing a guitar on a small stage in front of a crowd.',
  'Two dogs run through the snow.',
  'The bank raised its rates again, and analysts expect another rise before the end of the year.',
  'How do I reset the PIN of my new card?',
  'She read the letter twice before she put it back into the drawer.',
  'Stocks fell sharply on Monday.',
  'The museum is closed for repairs until the spring, but its garden stays open to visitors.',
  'I would like to order a large coffee without milk, please.',
]

/** A session of onnxruntime-web on the same model, which runs sequences of one length. */
async function openPeer(model) {
  const ort = require('onnxruntime-web')
  ort.env.wasm.numThreads = 1
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-bench-'))
  try {
    const { files } = await exportOnnx(model, folder)
    const session = await ort.InferenceSession.create(
      fs.readFileSync(
        path.resolve(
          folder,
          files.find((file) => file.endsWith('.onnx')),
        ),
      ),
      {
        executionProviders: ['wasm'],
      },
    )
    return async (ids) => {
      const tensor = (value) =>
        new ort.Tensor(
          'int64',
          BigInt64Array.from(ids, (id) => BigInt(value ?? id)),
          [1, ids.length],
        )
      const feeds = { input_ids: tensor(), attention_mask: tensor(1), token_type_ids: tensor(0) }
      return (await session.run(feeds)).last_hidden_state.data
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

function compare(got, want) {
  const norm = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  const error = norm(Float64Array.from(got, (value, i) => value - want[i])) / norm(Float64Array.from(want))
  if (!(got.length === want.length && error < 1e-4)) throw new Error(`the outputs differ by ${error}`)
}

/** Median milliseconds of both, each timed in turn. */
async function race(ours, theirs) {
  const taken = { ours: [], theirs: [] }
  const timed = async (call) => {
    const start = performance.now()
    await call()
    return performance.now() - start
  }
  for (let turn = -2; turn < TURNS; turn++) {
    const [a, b] = [await timed(ours), await timed(theirs)]
    if (turn < 0) continue
    taken.ours.push(a)
    taken.theirs.push(b)
  }
  return { ms: +median(taken.ours).toFixed(2), peer_ms: +median(taken.theirs).toFixed(2) }
}

export async function run({ json, 'model-dir': folder }) {
  const where = { backend: 'wasm', threads: 1 }
  const report = async (work, model, sequences) => {
    const peer = await openPeer(model)
    const ours = async () => (await model.forward({ inputIds: sequences })).lastHiddenState.data
    const theirs = async () => {
      const rows = []
      for (const ids of sequences) rows.push(await peer(ids)) // without padding, as ours
      return rows
    }
    compare(
      await ours(),
      (await theirs()).flatMap((row) => [...row]),
    )
    const { ms, peer_ms } = await race(ours, theirs)
    const peerName = `onnxruntime-web ${require('onnxruntime-web').env.versions.web}`
    const result = { bench: 'wasm-peers', work, peer: peerName, ms, peer_ms }
    const full = { ...result, ratio: +(peer_ms / ms).toFixed(2), ...provenance(await model.describe()) }
    console.log(
      json
        ? JSON.stringify(full)
        : `${work.padEnd(36)} ${ms} ms, ${full.peer} ${peer_ms} ms: ${full.ratio} x (${full.isa}, ${full.date})`,
    )
    model.dispose()
  }
  const { config } = configOf('mini')
  const mini = new BertModel(config, { ...where, seed: 0 }).eval()
  await report('mini, one sequence of 128 tokens', mini, tokens([128], uniform(0)))
  if (!folder) {
    console.error('MiniLM was not timed: --model-dir names its folder')
    return
  }
  const tokenizer = await BertTokenizer.fromPretrained(folder)
  const sentences = SENTENCES.map((text) => tokenizer.encode(text).inputIds)
  const minilm = await BertModel.fromPretrained(folder, where)
  await report(`MiniLM, ${sentences.length} sentences`, minilm, sentences)
}
