// One fine-tuning step of BertForSequenceClassification from random weights: forward, loss, backward, clip to 1.0, AdamW.
// --profile adds a table of the time per op. Prints seconds per step, real tokens per second, TFLOP/s and peak memory, as a peer's benchmark of the same step would.
import { AdamW, BertConfig, BertForSequenceClassification, describeBackend } from '../dist/index.js'
import { median, provenance } from './measure.mjs'
import { Profile, printProfile } from './profile.mjs'
import { models } from './shapes.mjs'

/** Uniform in [0, 1): mulberry32. */
function uniform(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** full: every sequence `seq` long. ragged: log-normal as sentence data looks, median 0.3 seq, sigma 0.6, from 8 to seq. */
function lengths(kind, batch, seq, random) {
  if (kind === 'full') return Array(batch).fill(seq)
  if (kind !== 'ragged') throw new Error(`--lengths: expected full or ragged but received ${kind}`)
  return Array.from({ length: batch }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    return Math.min(seq, Math.max(8, Math.trunc(Math.exp(Math.log(0.3 * seq) + 0.6 * normal))))
  })
}

/** Multiply-adds of a forward and backward, as flops: 6 per weight and token, and attention's four products three times. */
const flops = ([H, L, , I], ns) =>
  ns.reduce((sum, n) => sum + 6 * n * L * (4 * H * H + 2 * H * I) + 12 * L * n * n * H, 0)

export async function run(options) {
  const { json, model: name, batch: batchText, seq: seqText, lengths: kind, dtype, steps, profile: profiled } = options
  const size = models[name]
  if (!size) throw new Error(`--model: expected one of ${Object.keys(models).join(', ')} but received ${name}`)
  const [hiddenSize, numHiddenLayers, numAttentionHeads, intermediateSize] = size
  const [batch, seq, count] = [batchText, seqText, steps].map(Number)
  const config = new BertConfig({ hiddenSize, numHiddenLayers, numAttentionHeads, intermediateSize, numLabels: 2 })
  const model = new BertForSequenceClassification(config, { dtype, seed: 0 }).train()
  const optimizer = new AdamW(model, { lr: 2e-5, weightDecay: 0.01 })
  const random = uniform(0)
  const seconds = []
  const rates = []
  let tokens = 0
  let pairs = 0
  const profile = new Profile(() => pairs)
  for (let step = 0; step < count + 2; step++) {
    const ns = lengths(kind, batch, seq, random)
    const inputIds = ns.map((n) => Array.from({ length: n }, () => 1000 + Math.floor(random() * 29000)))
    const labels = ns.map(() => Math.floor(random() * 2))
    pairs = ns.reduce((sum, n) => sum + n * n, 0)
    if (profiled && step === 2) model.runtime.profiler = profile.profiler
    const start = performance.now()
    const { loss } = await optimizer.step({ inputIds, labels }, { maxGradNorm: 1 })
    const took = (performance.now() - start) / 1000
    if (!Number.isFinite(loss)) throw new Error(`the loss of step ${step} is ${loss}`)
    if (step < 2) continue
    seconds.push(took)
    rates.push(flops(size, ns) / took / 1e12)
    tokens += ns.reduce((a, b) => a + b, 0)
  }
  const records =
    profiled &&
    profile.report(
      count,
      seconds.reduce((a, b) => a + b, 0),
    )
  const result = {
    bench: 'train',
    model: name,
    batch,
    seq,
    lengths: kind,
    dtype,
    median_s: +median(seconds).toFixed(5),
    min_s: +Math.min(...seconds).toFixed(5),
    real_tokens_per_s: +(tokens / seconds.reduce((a, b) => a + b, 0)).toFixed(1),
    tflops: +median(rates).toFixed(4),
    peak_rss_mib: Math.round(process.resourceUsage().maxRSS / 1024),
    plans: model.runtime.plansRecorded,
    ...provenance(describeBackend()),
  }
  if (records && !json) printProfile(records)
  console.log(
    json
      ? JSON.stringify(records ? { ...result, records } : result)
      : Object.entries(result)
          .map(([k, v]) => `${k.padEnd(18)} ${v}`)
          .join('\n'),
  )
  model.dispose()
}
