// One fine-tuning step of BertForSequenceClassification from random weights: forward, loss, backward, clip to 1.0, AdamW.
// --profile adds a table of the time per op. Prints seconds per step, real tokens per second, TFLOP/s and peak memory, as a peer's benchmark of the same step would.
import { openBackend } from '../dist/backend/open.js'
import { AdamW, BertForSequenceClassification } from '../dist/index.js'
import { configOf, forwardFlops, lengths, tokens, uniform } from './batches.mjs'
import { median, modelOn, printResult, provenance } from './measure.mjs'
import { Profile, printProfile } from './profile.mjs'

export async function run(options) {
  const {
    json,
    model: name,
    batch: batchText,
    seq: seqText,
    lengths: kind,
    dtype,
    steps = '5',
    profile: profiled,
  } = options
  const { size, config } = configOf(name)
  const [batch, seq, count] = [batchText, seqText, steps].map(Number)
  const model = new BertForSequenceClassification(config, { ...modelOn(options), dtype, seed: 0 }).train()
  if (options.checkpointing) model.gradientCheckpointingEnable()
  const backend = await openBackend(modelOn(options))
  const before = await backend.measurePeak(model.dtype, 0.3)
  const optimizer = new AdamW(model, { lr: 2e-5, weightDecay: 0.01 })
  const random = uniform(0)
  const seconds = []
  const rates = []
  let real = 0
  let pairs = 0
  const profile = new Profile(() => pairs)
  for (let step = 0; step < count + 2; step++) {
    const ns = lengths(kind, batch, seq, random)
    const inputIds = tokens(ns, random)
    const labels = ns.map(() => Math.floor(random() * 2))
    pairs = ns.reduce((sum, n) => sum + n * n, 0)
    if (profiled && step === 2) model.runtime.profiler = profile.profiler
    const start = performance.now()
    const { loss } = await optimizer.step({ inputIds, labels }, { maxGradNorm: 1 })
    const took = (performance.now() - start) / 1000
    if (!Number.isFinite(loss)) throw new Error(`the loss of step ${step} is ${loss}`)
    if (step < 2) continue
    seconds.push(took)
    rates.push((3 * forwardFlops(size, ns)) / took)
    real += ns.reduce((a, b) => a + b, 0)
  }
  const records =
    profiled &&
    profile.report(
      count,
      seconds.reduce((a, b) => a + b, 0),
    )
  const peak = Math.max(before, await backend.measurePeak(model.dtype, 0.3))
  const result = {
    bench: 'train',
    model: name,
    batch,
    seq,
    lengths: kind,
    dtype: model.dtype,
    checkpointing: options.checkpointing,
    median_s: +median(seconds).toFixed(5),
    min_s: +Math.min(...seconds).toFixed(5),
    real_tokens_per_s: +(real / seconds.reduce((a, b) => a + b, 0)).toFixed(1),
    tflops: +(median(rates) / 1e12).toFixed(4),
    fraction_of_peak: +(median(rates) / peak).toFixed(3),
    peak_rss_mib: Math.round(process.resourceUsage().maxRSS / 1024),
    plans: model.runtime.plansRecorded,
    ...provenance(backend.description),
  }
  if (records && !json) printProfile(records)
  printResult(json && records ? { ...result, records } : result, json)
  model.dispose()
}
