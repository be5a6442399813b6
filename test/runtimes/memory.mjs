// ENTRY SETTINGS, in Node with --expose-gc: what a model takes at most, in bytes. SETTINGS is JSON: { minilm, dtype, binary, memoryLimit },
// or without `minilm` for training a model of BERT-Tiny's shape, 4.4 million weights. Counted after collections of garbage, as often as the event loop turns: linear
// memories, JavaScript's heap, and the buffers outside both.
import fs from 'node:fs'

const [entry, json] = process.argv.slice(2)
const { minilm, dtype, binary, memoryLimit } = JSON.parse(json)

/** The linear memories of all instances. */
const memories = []
WebAssembly.Instance = class extends WebAssembly.Instance {
  constructor(module, imports) {
    super(module, imports)
    memories.push(this.exports.memory)
  }
}

const total = ({ linear, heap, buffers }) => linear + heap + buffers
let peak = { linear: 0, heap: 0, buffers: 0 }
let mostLinear = 0
function sample() {
  globalThis.gc()
  const { heapUsed: heap, arrayBuffers: buffers } = process.memoryUsage()
  const linear = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
  mostLinear = Math.max(mostLinear, linear)
  const now = { linear, heap, buffers }
  if (total(now) > total(peak)) peak = now
}

const bertkit = await import(entry)
const before = process.memoryUsage.rss()
const options = { dtype, wasm: { binary: fs.readFileSync(binary), memoryLimit } }
const timer = setInterval(sample, 5)
let result
if (minilm) {
  const tokenizer = await bertkit.BertTokenizer.fromPretrained(minilm)
  const model = await bertkit.BertModel.fromPretrained(minilm, options)
  sample()
  // twice each: the second forward may want memory that the first did not
  for (const words of [5, 5, 60, 60, 250, 250]) {
    const { inputIds } = tokenizer.encode('memory is what a worker has little of '.repeat(words / 8 + 1), {
      truncation: true,
      maxLength: Math.min(256, words + 2),
    })
    const { lastHiddenState } = await model.forward({ inputIds: [inputIds] })
    result = lastHiddenState.shape
    sample()
  }
} else {
  const { AdamW, BertConfig, BertForSequenceClassification } = bertkit
  const shape = { vocabSize: 30_522, hiddenSize: 128, numHiddenLayers: 2, numAttentionHeads: 2, intermediateSize: 512 }
  const model = new BertForSequenceClassification(new BertConfig(shape), options)
  const optimizer = new AdamW(model.train(), { lr: 1e-4 })
  const labels = Array.from({ length: 16 }, (_, i) => i % 2)
  result = []
  for (let step = 0; step < 5; step++) {
    const inputIds = labels.map((label) => Array.from({ length: 64 }, (_, t) => 1000 + label + 97 * t + step))
    result.push((await optimizer.step({ inputIds, labels }, { maxGradNorm: 1 })).loss)
    sample()
  }
}
clearInterval(timer)
const rss = process.resourceUsage().maxRSS * 1024 - before
console.log(JSON.stringify({ result, peak: { ...peak, total: total(peak), mostLinear, rss } }))
