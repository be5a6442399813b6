// Attention, forward and backward, for sequences of 64 to 4096 tokens and for ragged ones: time by the sum of squared lengths, memory by
// the tokens. The forward is checked against float64 at sampled rows, the backward against its sum over all queries.
import { openBackend } from '../dist/backend/open.js'
import { Row } from '../dist/graph/op-table.js'
import { noise } from './measure.mjs'
import { makeRecord, rate, recordsOn, reporter, requireClose, rounded } from './records.mjs'

const TOKENS = 4096
const [A, D] = [12, 64]
const H = A * D

/** Batches of 4,096 tokens: equal sequences of each length, and lengths from 16 to 496 in steps. */
const batches = [
  ...[64, 128, 256, 512, 1024, 2048, 4096].map((length) => ({
    name: `${TOKENS / length} x ${length}`,
    lengths: Array(TOKENS / length).fill(length),
  })),
  { name: 'ragged, 16 to 496', lengths: Array.from({ length: 16 }, (_, i) => 16 + 32 * i) },
]

/** Softmax attention of one row and head in float64. */
function contextOf(qkv, first, length, row, head) {
  const at = (r, which, d) => qkv[(r * 3 + which) * H + head * D + d]
  const scores = Array.from({ length }, (_, j) => {
    let sum = 0
    for (let d = 0; d < D; d++) sum += at(row, 0, d) * at(first + j, 1, d)
    return sum / Math.sqrt(D)
  })
  const top = Math.max(...scores)
  const weights = scores.map((score) => Math.exp(score - top))
  const total = weights.reduce((a, b) => a + b)
  return Array.from({ length: D }, (_, d) => weights.reduce((sum, w, j) => sum + (w / total) * at(first + j, 2, d), 0))
}

async function records(backend, lengths, dtype) {
  const cu = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))])
  const tokens = cu[lengths.length]
  const data = noise(tokens * 3 * H, 3)
  const row = (width, type) => ({ rows: Row.tokens, width, type })
  const qkv = { ...row(3 * H, dtype), data }
  const cuSeqlens = { rows: Row.sequences, width: 1, type: 'int32', extra: 1, data: cu }
  const attributes = { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: false, p: 0, site: 0 }
  const counts = { tokens, sequences: lengths.length }
  const forward = await makeRecord(backend, {
    op: 'attention',
    operands: { qkv, cuSeqlens, context: row(H, dtype), lse: row(A) },
    attributes,
    counts,
  })
  const context = await forward.read('context')
  const read = rounded(data, dtype)
  for (let sample = 0; sample < 12; sample++) {
    const b = (sample * 5) % lengths.length
    const [at, head] = [cu[b] + ((sample * 7919) % lengths[b]), sample % A]
    const want = contextOf(read, cu[b], lengths[b], at, head)
    for (let d = 0; d < D; d++)
      requireClose(`row ${at}`, context[at * H + head * D + d], want[d], dtype === 'bfloat16' ? 1e-2 : 1e-5)
  }
  const dcontext = noise(tokens * H, 4)
  const backward = await makeRecord(backend, {
    op: 'attentionBackward',
    operands: {
      dcontext: { ...row(H, dtype), data: dcontext },
      qkv,
      context: { ...row(H, dtype), data: context },
      lse: { ...row(A), data: await forward.read('lse') },
      cuSeqlens,
      dqkv: row(3 * H, dtype),
    },
    attributes,
    counts,
  })
  // a row of probabilities sums to 1: the gradients of a sequence's values sum to those of its results
  const dqkv = await backward.read('dqkv')
  const given = rounded(dcontext, dtype)
  for (let c = 0; c < 8; c++) {
    let [sum, want] = [0, 0]
    for (let r = 0; r < cu[1]; r++) {
      sum += dqkv[(r * 3 + 2) * H + c * 97]
      want += given[r * H + c * 97]
    }
    requireClose(`values, column ${c * 97}`, sum, want, dtype === 'bfloat16' ? 0.02 * Math.sqrt(cu[1]) : 1e-3)
  }
  return { forward, backward }
}

export async function run({ json, filter, dtype, ...where }) {
  const backend = await openBackend(recordsOn(where))
  const report = reporter(backend, json)
  for (const { name, lengths } of batches) {
    if (filter && !name.includes(filter)) continue
    const pairs = lengths.reduce((sum, n) => sum + n * n, 0)
    const { forward, backward } = await records(backend, lengths, dtype)
    for (const [kind, record, products] of [
      ['forward', forward, 2],
      ['backward', backward, 5],
    ]) {
      const measured = await rate(backend, record, dtype, 2 * products * pairs * H)
      const mib = +(record.bytes / 2 ** 20).toFixed(1)
      report.add(`${name.padEnd(20)} ${kind.padEnd(9)} operands ${mib} MiB`, {
        ...{ bench: 'attention', dtype, name, kind, tokens: TOKENS, pairs },
        ...{ operands_mib: mib, ns_per_pair: +((1e6 * measured.ms) / pairs).toFixed(3) },
        ...measured,
      })
      record.dispose()
    }
  }
  report.end()
}
