// A forward of BertModel from random weights, dropout off: seconds, real tokens per second, and the part of the peak of products in
// registers. First, the last sequence's outputs are compared with those that it has alone.
import { openBackend } from '../dist/backend/open.js'
import { BertModel } from '../dist/index.js'
import { configOf, forwardFlops, lengths, tokens, uniform } from './batches.mjs'
import { median, modelOn, printResult, provenance, time } from './measure.mjs'

export async function run(options) {
  const { json, model: name, batch: batchText, seq: seqText, lengths: kind, dtype, steps = '5' } = options
  const { size, config } = configOf(name)
  const [batch, seq, count] = [batchText, seqText, steps].map(Number)
  const model = new BertModel(config, { ...modelOn(options), dtype, seed: 0 }).eval()
  const random = uniform(0)
  const ns = lengths(kind, batch, seq, random)
  const inputIds = tokens(ns, random)
  const all = await model.forward({ inputIds })
  const last = await model.forward({ inputIds: inputIds.slice(-1) })
  const tail = all.lastHiddenState.data.subarray(-last.lastHiddenState.data.length)
  if (!tail.every((value, i) => value === last.lastHiddenState.data[i]))
    throw new Error('the last sequence has other outputs in the batch than alone')
  const backend = await openBackend(modelOn(options))
  const before = await backend.measurePeak(model.dtype, 0.3)
  const seconds = await time(() => model.forward({ inputIds }), { runs: count, warm: 2 })
  const peak = Math.max(before, await backend.measurePeak(model.dtype, 0.3))
  const real = ns.reduce((a, b) => a + b, 0)
  const result = {
    bench: 'infer',
    model: name,
    batch,
    seq,
    lengths: kind,
    dtype: model.dtype,
    median_s: +median(seconds).toFixed(5),
    min_s: +Math.min(...seconds).toFixed(5),
    real_tokens_per_s: +(real / median(seconds)).toFixed(1),
    tflops: +(forwardFlops(size, ns) / median(seconds) / 1e12).toFixed(4),
    fraction_of_peak: +(forwardFlops(size, ns) / median(seconds) / peak).toFixed(3),
    peak_rss_mib: Math.round(process.resourceUsage().maxRSS / 1024),
    ...provenance(backend.description),
  }
  printResult(result, json)
  model.dispose()
}
