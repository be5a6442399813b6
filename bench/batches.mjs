// Random batches with the lengths of sentence data, as a peer's benchmark of the same step draws them; and models of the published sizes.
import { BertConfig } from '../dist/index.js'
import { models } from './shapes.mjs'

/** Uniform in [0, 1): mulberry32. */
export function uniform(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A batch of token ids. */
export const tokens = (ns, random) =>
  ns.map((n) => Array.from({ length: n }, () => 1000 + Math.floor(random() * 29000)))

/** full: every sequence `seq` long. ragged: log-normal as sentence data looks, median 0.3 seq, sigma 0.6, from 8 to seq. */
export function lengths(kind, batch, seq, random) {
  if (kind === 'full') return Array(batch).fill(seq)
  if (kind !== 'ragged') throw new Error(`--lengths: expected full or ragged but received ${kind}`)
  return Array.from({ length: batch }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    return Math.min(seq, Math.max(8, Math.trunc(Math.exp(Math.log(0.3 * seq) + 0.6 * normal))))
  })
}

/** The config and the size [hidden, layers, heads, intermediate] of a published model. */
export function configOf(name) {
  const size = models[name]
  if (!size) throw new Error(`--model: expected one of ${Object.keys(models).join(', ')} but received ${name}`)
  const [hiddenSize, numHiddenLayers, numAttentionHeads, intermediateSize] = size
  return {
    size,
    config: new BertConfig({ hiddenSize, numHiddenLayers, numAttentionHeads, intermediateSize, numLabels: 2 }),
  }
}

/** Multiply-adds of a forward, as flops: 2 per weight and token, and attention's two products. */
export const forwardFlops = ([H, L, , I], ns) =>
  ns.reduce((sum, n) => sum + 2 * n * L * (4 * H * H + 2 * H * I) + 4 * L * n * n * H, 0)
