// What wasm-chromium.mjs asks of a page: each function runs there and returns milliseconds by contestant and turn.
import { BertModel, BertTokenizer, pipeline } from '/dist/edge.js'

const ORT = new URL('/node_modules/onnxruntime-web/dist/', location.href).href
const BINARIES = { bertkit: 'bertkit', relaxed: 'bertkit-relaxed' }

/** The same model on both binaries, each in a worker with one thread. */
async function openModels(source) {
  const entries = Object.entries(BINARIES).map(async ([name, binary]) => {
    const options = { backend: 'wasm', threads: 1, wasm: { binary: `/dist/wasm/${binary}.wasm` } }
    return [name, (await BertModel.fromPretrained(source, options)).eval()]
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** The largest error of any contestant's vectors [rows of `width`] to the peer's, relative to a row's length. */
function compare(outputs, width) {
  let largest = 0
  for (const [name, values] of Object.entries(outputs)) {
    if (values.length !== outputs.peer.length || values.length % width !== 0)
      throw new Error(`${name} gave ${values.length} numbers, its peer ${outputs.peer.length}`)
    for (let at = 0; at < values.length; at += width) {
      let [gap, norm] = [0, 0]
      for (let i = at; i < at + width; i++) {
        gap += (values[i] - outputs.peer[i]) ** 2
        norm += outputs.peer[i] ** 2
      }
      const error = Math.sqrt(gap / norm)
      if (!(error <= largest)) largest = error // NaN too
    }
  }
  if (!(largest < 1e-3)) throw new Error(`the outputs differ by ${largest}`)
  return largest
}

/** Milliseconds of each contestant's call(turn), one after another in every turn; turns below 0 do not count. */
async function race(contestants, turns) {
  const times = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]))
  for (let turn = -2; turn < turns; turn++)
    for (const [name, call] of Object.entries(contestants)) {
      const start = performance.now()
      await call(Math.max(turn, 0))
      if (turn >= 0) times[name].push(performance.now() - start)
    }
  return times
}

/** BERT-mini on one sequence, beside onnxruntime-web. */
export async function mini({ ids, turns }) {
  const ort = await import('onnxruntime-web/wasm')
  ort.env.wasm.numThreads = 1
  ort.env.wasm.wasmPaths = ORT
  const session = await ort.InferenceSession.create('/peer/mini/onnx/model.onnx', { executionProviders: ['wasm'] })
  const tensor = (value) => {
    const values = BigInt64Array.from(ids, (id) => BigInt(value ?? id))
    return new ort.Tensor('int64', values, [1, ids.length])
  }
  const models = await openModels('/peer/mini/')
  const contestants = {
    ...Object.fromEntries(
      Object.entries(models).map(([name, model]) => [
        name,
        async () => (await model.forward({ inputIds: [ids] })).lastHiddenState.data,
      ]),
    ),
    peer: async () => {
      const feeds = { input_ids: tensor(), attention_mask: tensor(1), token_type_ids: tensor(0) }
      return (await session.run(feeds)).last_hidden_state.data
    },
  }
  const outputs = {}
  for (const [name, call] of Object.entries(contestants)) outputs[name] = await call()
  const error = compare(outputs, outputs.peer.length / ids.length)
  return { times: await race(contestants, turns), peer: `onnxruntime-web ${ort.env.versions.web}`, error }
}

/** Embeddings of lists of sentences, a list a turn; `alone`: each sentence by a call of its own. Beside transformers.js. */
export async function embed({ lists, alone }) {
  const transformers = await import('@huggingface/transformers')
  const { env } = transformers
  env.allowLocalModels = true
  env.allowRemoteModels = false
  env.localModelPath = '/peer/'
  env.backends.onnx.wasm.numThreads = 1
  env.backends.onnx.wasm.wasmPaths = ORT
  const peer = await transformers.pipeline('feature-extraction', 'minilm', { device: 'wasm', dtype: 'fp32' })
  const tokenizer = await BertTokenizer.fromPretrained('/minilm/')
  const pooled = { pooling: 'mean', normalize: true }
  const extractors = { peer }
  for (const [name, model] of Object.entries(await openModels('/minilm/')))
    extractors[name] = await pipeline('feature-extraction', model, { tokenizer })
  const rowsOf = async (extract, list) => {
    const rows = []
    for (const texts of alone ? list : [list]) rows.push(...(await extract(texts, pooled)).flatten())
    return rows
  }
  const flat = (output) => ({ flatten: () => [output].flat().flatMap(({ data }) => [...data]) })
  const contestants = Object.fromEntries(
    ['bertkit', 'relaxed', 'peer'].map((name) => [
      name,
      (turn) => rowsOf(async (...call) => flat(await extractors[name](...call)), lists[turn]),
    ]),
  )
  let error = 0
  for (const turn of lists.keys()) {
    const outputs = {}
    for (const [name, call] of Object.entries(contestants)) outputs[name] = await call(turn)
    error = Math.max(error, compare(outputs, outputs.peer.length / lists[turn].length))
  }
  return { times: await race(contestants, lists.length), peer: `transformers.js ${env.version}`, error }
}
