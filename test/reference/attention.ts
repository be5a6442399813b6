// Inside each sequence and head: scores = q k^T / sqrt(D), hidden keys -infinity; probs = dropout(softmax(scores)); context = probs v
// (Vaswani et al. 2017).
import { type DropoutOptions, dropoutFactor } from './dropout.ts'

interface Shared extends DropoutOptions {
  /** 0 hides a key. */
  keyMask?: ArrayLike<number>
  A: number
  D: number
  /**
   * The last query stands at the last key of its sequence (of cross-attention: at the last one that is not hidden), the one before
   * it at the key before, and so on; none sees beyond its place.
   */
  causal?: boolean
}

export interface Attention extends Shared {
  /** [rows, 3, A, D]: query, key and value of each row. Dropout: row = query row of the batch * A + head, column = key in its sequence. */
  qkv: Float64Array
  /** [sequences + 1], the first row of each sequence; the last entry is the number of rows. */
  cuSeqlens: ArrayLike<number>
}

export interface CrossAttention extends Shared {
  /** [rows, A, D]; dropout as in Attention. */
  q: Float64Array
  /** [keys, 2, A, D]: key and value of each row. */
  kv: Float64Array
  /** [sequences + 1], the first query and the first key of each sequence. */
  cuQueries: ArrayLike<number>
  cuKeys: ArrayLike<number>
}

export interface AttentionResult {
  /** [rows, A, D] */
  context: Float64Array
  /** [rows, A]: log of the sum of exp(scores); -Infinity where all keys are hidden. */
  lse: Float64Array
  /** For each sequence in turn [A, queries, keys], dropout applied. */
  probs: Float64Array
}

/** One head of one sequence: where its vectors start, and its softmax before dropout [queries, keys]. */
interface Head {
  firstQuery: number
  firstKey: number
  queries: number
  keys: number
  head: number
  softmax: Float64Array
  lse: Float64Array
}

/** Where the D values of one row and head start: in q, in the keys of kv, in its values. */
const queryAt = (row: number, head: number, { A, D }: Shared): number => (row * A + head) * D
const keyAt = (row: number, head: number, { A, D }: Shared): number => (row * 2 * A + head) * D
const valueAt = (row: number, head: number, { A, D }: Shared): number => ((row * 2 + 1) * A + head) * D

/** Rows with all keys hidden have a softmax of 0, not of a uniform 1 / keys. */
function* heads(options: CrossAttention): Generator<Head> {
  const { q, kv, cuQueries, cuKeys, keyMask, A, D, causal = false } = options
  for (let sequence = 0; sequence + 1 < cuKeys.length; sequence++) {
    const firstQuery = cuQueries[sequence]
    const firstKey = cuKeys[sequence]
    const queries = cuQueries[sequence + 1] - firstQuery
    const keys = cuKeys[sequence + 1] - firstKey
    let last = keys
    if (cuQueries !== cuKeys) while (last > 1 && keyMask?.[firstKey + last - 1] === 0) last--
    for (let head = 0; head < A; head++) {
      const softmax = new Float64Array(queries * keys)
      const lse = new Float64Array(queries)
      for (let i = 0; i < queries; i++) {
        const scores = new Float64Array(keys).fill(Number.NEGATIVE_INFINITY)
        for (let j = 0; j < keys; j++) {
          if ((causal && j > last - queries + i) || keyMask?.[firstKey + j] === 0) continue
          const query = queryAt(firstQuery + i, head, options)
          const key = keyAt(firstKey + j, head, options)
          let dot = 0
          for (let d = 0; d < D; d++) dot += q[query + d] * kv[key + d]
          scores[j] = dot / Math.sqrt(D)
        }
        const greatest = Math.max(...scores)
        if (greatest === Number.NEGATIVE_INFINITY) {
          lse[i] = greatest
          continue
        }
        let total = 0
        for (let j = 0; j < keys; j++) total += Math.exp(scores[j] - greatest)
        lse[i] = greatest + Math.log(total)
        for (let j = 0; j < keys; j++) softmax[i * keys + j] = Math.exp(scores[j] - lse[i])
      }
      yield { firstQuery, firstKey, queries, keys, head, softmax, lse }
    }
  }
}

export function crossAttention(options: CrossAttention): AttentionResult {
  const { q, kv, cuQueries, A, D } = options
  const factor = dropoutFactor(options)
  const rows = cuQueries[cuQueries.length - 1]
  const context = new Float64Array(q.length)
  const lse = new Float64Array(rows * A)
  const probs: number[] = []
  for (const { firstQuery, firstKey, queries, keys, head, softmax, lse: headLse } of heads(options)) {
    for (let i = 0; i < queries; i++) {
      const row = (firstQuery + i) * A + head
      lse[row] = headLse[i]
      for (let j = 0; j < keys; j++) {
        const prob = softmax[i * keys + j] * factor(row, j)
        probs.push(prob)
        const v = valueAt(firstKey + j, head, options)
        for (let d = 0; d < D; d++) context[row * D + d] += prob * kv[v + d]
      }
    }
  }
  return { context, lse, probs: Float64Array.from(probs) }
}

/**
 * With P the softmax and M the dropout factors: dprobs = dcontext v^T, dv = (P * M)^T dcontext,
 * dscores = P * (dprobs * M - rowsum(dprobs * M * P)), dq = dscores k / sqrt(D), dk = dscores^T q / sqrt(D).
 */
export function crossAttentionBackward(options: CrossAttention & { dcontext: Float64Array }): {
  dq: Float64Array
  dkv: Float64Array
} {
  const { q, kv, dcontext, A, D } = options
  const factor = dropoutFactor(options)
  const scale = 1 / Math.sqrt(D)
  const dq = new Float64Array(q.length)
  const dkv = new Float64Array(kv.length)
  for (const { firstQuery, firstKey, queries, keys, head, softmax } of heads(options)) {
    for (let i = 0; i < queries; i++) {
      const row = (firstQuery + i) * A + head
      const query = queryAt(firstQuery + i, head, options)
      const dsoftmax = new Float64Array(keys)
      let rowSum = 0
      for (let j = 0; j < keys; j++) {
        const v = valueAt(firstKey + j, head, options)
        const kept = factor(row, j)
        let dprob = 0
        for (let d = 0; d < D; d++) {
          dprob += dcontext[row * D + d] * kv[v + d]
          dkv[v + d] += softmax[i * keys + j] * kept * dcontext[row * D + d]
        }
        dsoftmax[j] = dprob * kept
        rowSum += dsoftmax[j] * softmax[i * keys + j]
      }
      for (let j = 0; j < keys; j++) {
        const key = keyAt(firstKey + j, head, options)
        const dscore = softmax[i * keys + j] * (dsoftmax[j] - rowSum)
        for (let d = 0; d < D; d++) {
          dq[query + d] += dscore * scale * kv[key + d]
          dkv[key + d] += dscore * scale * q[query + d]
        }
      }
    }
  }
  return { dq, dkv }
}

/** Every row is a query, a key and a value. */
function apart({ qkv, cuSeqlens, ...shared }: Attention): CrossAttention {
  const H = shared.A * shared.D
  const part = (first: number, parts: number) =>
    qkv.filter((_, i) => Math.floor(i / H) % 3 >= first && Math.floor(i / H) % 3 < first + parts)
  return { ...shared, q: part(0, 1), kv: part(1, 2), cuQueries: cuSeqlens, cuKeys: cuSeqlens }
}

export const attention = (options: Attention): AttentionResult => crossAttention(apart(options))

export function attentionBackward(options: Attention & { dcontext: Float64Array }): { dqkv: Float64Array } {
  const { dq, dkv } = crossAttentionBackward({ ...apart(options), dcontext: options.dcontext })
  const H = options.A * options.D
  const dqkv = options.qkv.map((_, i) => {
    const [row, column] = [Math.floor(i / (3 * H)), i % (3 * H)]
    return column < H ? dq[row * H + column] : dkv[row * 2 * H + column - H]
  })
  return { dqkv }
}
