// Inside each sequence and head: scores = q k^T / sqrt(D), hidden keys -infinity; probs = dropout(softmax(scores)); context = probs v
// (Vaswani et al. 2017).
import { type DropoutOptions, dropoutFactor } from './dropout.ts'

export interface Attention extends DropoutOptions {
  /** [rows, 3, A, D]: query, key and value of each row. Dropout: row = query row of the batch * A + head, column = key in its sequence. */
  qkv: Float64Array
  /** [sequences + 1], the first row of each sequence; the last entry is the number of rows. */
  cuSeqlens: ArrayLike<number>
  /** [rows], 0 hides a key. */
  keyMask?: ArrayLike<number>
  A: number
  D: number
  causal?: boolean
}

export interface AttentionResult {
  /** [rows, A, D] */
  context: Float64Array
  /** [rows, A]: log of the sum of exp(scores); -Infinity where all keys are hidden. */
  lse: Float64Array
  /** For each sequence in turn [A, L, L], dropout applied. */
  probs: Float64Array
}

/** One head of one sequence: where its vectors start in qkv, and its softmax before dropout [L, L]. */
interface Head {
  sequence: number
  first: number
  L: number
  head: number
  softmax: Float64Array
  lse: Float64Array
}

const QUERY = 0
const KEY = 1
const VALUE = 2

/** Where the D values of one row, part and head start in qkv. */
const vectorAt = (row: number, part: number, head: number, A: number, D: number): number =>
  ((row * 3 + part) * A + head) * D

/** Rows with all keys hidden have a softmax of 0, not of a uniform 1 / L. */
function* heads({ qkv, cuSeqlens, keyMask, A, D, causal = false }: Attention): Generator<Head> {
  for (let sequence = 0; sequence + 1 < cuSeqlens.length; sequence++) {
    const first = cuSeqlens[sequence]
    const L = cuSeqlens[sequence + 1] - first
    for (let head = 0; head < A; head++) {
      const softmax = new Float64Array(L * L)
      const lse = new Float64Array(L)
      for (let i = 0; i < L; i++) {
        const scores = new Float64Array(L).fill(Number.NEGATIVE_INFINITY)
        for (let j = 0; j < L; j++) {
          if ((causal && j > i) || keyMask?.[first + j] === 0) continue
          const q = vectorAt(first + i, QUERY, head, A, D)
          const k = vectorAt(first + j, KEY, head, A, D)
          let dot = 0
          for (let d = 0; d < D; d++) dot += qkv[q + d] * qkv[k + d]
          scores[j] = dot / Math.sqrt(D)
        }
        const greatest = Math.max(...scores)
        if (greatest === Number.NEGATIVE_INFINITY) {
          lse[i] = greatest
          continue
        }
        let total = 0
        for (let j = 0; j < L; j++) total += Math.exp(scores[j] - greatest)
        lse[i] = greatest + Math.log(total)
        for (let j = 0; j < L; j++) softmax[i * L + j] = Math.exp(scores[j] - lse[i])
      }
      yield { sequence, first, L, head, softmax, lse }
    }
  }
}

export function attention(options: Attention): AttentionResult {
  const { qkv, cuSeqlens, A, D } = options
  const factor = dropoutFactor(options)
  const rows = cuSeqlens[cuSeqlens.length - 1]
  const context = new Float64Array(rows * A * D)
  const lse = new Float64Array(rows * A)
  const probs: number[] = []
  for (const { first, L, head, softmax, lse: headLse } of heads(options)) {
    for (let i = 0; i < L; i++) {
      const row = (first + i) * A + head
      lse[row] = headLse[i]
      for (let j = 0; j < L; j++) {
        const prob = softmax[i * L + j] * factor(row, j)
        probs.push(prob)
        const v = vectorAt(first + j, VALUE, head, A, D)
        for (let d = 0; d < D; d++) context[row * D + d] += prob * qkv[v + d]
      }
    }
  }
  return { context, lse, probs: Float64Array.from(probs) }
}

/**
 * With P the softmax and M the dropout factors: dprobs = dcontext v^T, dv = (P * M)^T dcontext,
 * dscores = P * (dprobs * M - rowsum(dprobs * M * P)), dq = dscores k / sqrt(D), dk = dscores^T q / sqrt(D).
 */
export function attentionBackward(options: Attention & { dcontext: Float64Array }): { dqkv: Float64Array } {
  const { qkv, dcontext, A, D } = options
  const factor = dropoutFactor(options)
  const scale = 1 / Math.sqrt(D)
  const dqkv = new Float64Array(qkv.length)
  for (const { first, L, head, softmax } of heads(options)) {
    for (let i = 0; i < L; i++) {
      const row = (first + i) * A + head
      const q = vectorAt(first + i, QUERY, head, A, D)
      const dsoftmax = new Float64Array(L)
      let rowSum = 0
      for (let j = 0; j < L; j++) {
        const v = vectorAt(first + j, VALUE, head, A, D)
        const kept = factor(row, j)
        let dprob = 0
        for (let d = 0; d < D; d++) {
          dprob += dcontext[row * D + d] * qkv[v + d]
          dqkv[v + d] += softmax[i * L + j] * kept * dcontext[row * D + d]
        }
        dsoftmax[j] = dprob * kept
        rowSum += dsoftmax[j] * softmax[i * L + j]
      }
      for (let j = 0; j < L; j++) {
        const k = vectorAt(first + j, KEY, head, A, D)
        const dscore = softmax[i * L + j] * (dsoftmax[j] - rowSum)
        for (let d = 0; d < D; d++) {
          dqkv[q + d] += dscore * scale * qkv[k + d]
          dqkv[k + d] += dscore * scale * qkv[q + d]
        }
      }
    }
  }
  return { dqkv }
}
