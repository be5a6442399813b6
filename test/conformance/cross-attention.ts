// Attention of queries over keys of their own, its gradient, and its probabilities.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import type { FloatType } from '../../src/graph/graph.ts'
import { Row } from '../../src/graph/op-table.ts'
import { crossAttentionBackward, crossAttention as reference } from '../reference/attention.ts'
import { philoxKeep } from '../reference/philox.ts'
import { expectClose, expectSame, type Open, Random, runRecord, stored } from './harness.ts'

interface Shape {
  /** Queries and keys of each sequence. */
  readonly lengths: readonly (readonly [number, number])[]
  readonly A: number
  readonly D: number
  readonly causal?: boolean
  readonly p?: number
  readonly mask?: boolean
}

/** One query, none, more queries than keys, and the blocks of queries and of keys with their neighbours. */
const EDGES = [
  ...[1, 2, 7, 8, 15, 16, 17, 33, 64].map((keys) => [1, keys] as const),
  [0, 1],
  [0, 20],
  [41, 3],
  [42, 48],
  [43, 1],
  [47, 31],
  [48, 49],
  [49, 97],
  [97, 48],
] as const
const p = Math.fround(0.1)

const SHAPES: Shape[] = [
  ...[1, 5, 20, 64].flatMap((D): Shape[] => [
    { lengths: EDGES, A: 2, D },
    { lengths: EDGES, A: 1, D, mask: true, p },
    { lengths: EDGES, A: 3, D, causal: true },
  ]),
  { lengths: [[3, 300]], A: 2, D: 32, causal: true, mask: true, p },
]

const KEY = { seed: 7, step: 2 ** 31, microStep: 1 }
const SITE = -12345
const TOLERANCE = { float32: 2e-6, bfloat16: 1e-2 } // as of attention

async function check(backend: Backend, shape: Shape, seed: number, type: FloatType) {
  const { lengths, A, D, causal = false, p = 0, mask = false } = shape
  const random = new Random(seed)
  const borders = (which: 0 | 1) => {
    const cu = new Int32Array(lengths.length + 1)
    for (const [b, pair] of lengths.entries()) cu[b + 1] = cu[b] + pair[which]
    return cu
  }
  const [cuQueries, cuKeys] = [borders(0), borders(1)]
  const rows = cuQueries[lengths.length]
  const keys = cuKeys[lengths.length]
  const keyPairs = lengths.reduce((sum, [queries, count]) => sum + queries * count, 0)
  // every key of the eighth sequence is hidden too
  const keyMask = mask
    ? Int32Array.from({ length: keys }, (_, row) => (row >= cuKeys[7] && row < cuKeys[8] ? 0 : random.below(3)))
    : undefined
  const [q, kv, dcontext] = [
    random.reals(rows * A * D, 2),
    random.reals(keys * 2 * A * D, 2),
    random.reals(rows * A * D),
  ].map((values) => stored(values, type))
  const tolerance = TOLERANCE[type]
  const options = { q, kv, cuQueries, cuKeys, keyMask, A, D, causal, p, keep: philoxKeep({ ...KEY, site: SITE }, p) }
  const want = reference(options)
  const lse = want.lse.map((value) =>
    Math.fround(value === Number.NEGATIVE_INFINITY ? Number.POSITIVE_INFINITY : value),
  )
  const gradient = crossAttentionBackward({ ...options, dcontext })
  const run = { type, rows: { tokens: rows, keys, sequences: lengths.length, keyPairs }, scalars: { ...KEY } }
  const attributes = {
    rows: Row.tokens,
    keys: Row.keys,
    seqs: Row.sequences,
    pairs: Row.keyPairs,
    A,
    D,
    causal,
    p,
    site: SITE,
  }
  const operands = { q, kv, cuQueries, cuKeys, keyMask }
  const what = `cross_attention ${type} ${JSON.stringify({ ...shape, lengths: lengths.length })}`

  const got = await runRecord(backend, { ...run, op: 'crossAttention', operands, attributes })
  expectClose(`${what}: context`, got.context, want.context, tolerance)
  const infinite = (values: ArrayLike<number>) => Array.from(values, (value) => value === Number.POSITIVE_INFINITY)
  expect(infinite(got.lse)).toEqual(infinite(lse))
  const finite = (values: ArrayLike<number>) => Array.from(values, (value) => (Number.isFinite(value) ? value : 0))
  expectClose(`${what}: lse`, finite(got.lse), finite(lse), TOLERANCE.float32)

  const backward = {
    ...run,
    op: 'crossAttentionBackward' as const,
    operands: { ...operands, dcontext, context: stored(want.context.map(Math.fround), type), lse },
    attributes,
  }
  const { dq, dkv } = await runRecord(backend, backward)
  expectClose(`${what}: dq`, dq, gradient.dq, tolerance)
  expectClose(`${what}: dkv`, dkv, gradient.dkv, tolerance)
  const [onlyQ, onlyKv] = await Promise.all([
    runRecord(backend, { ...backward, absent: ['dkv'] }),
    runRecord(backend, { ...backward, absent: ['dq'] }),
  ])
  expectSame(`${what}: dq alone`, onlyQ.dq, dq)
  expectSame(`${what}: dkv alone`, onlyKv.dkv, dkv)

  const { probs } = await runRecord(backend, {
    ...run,
    op: 'crossAttentionProbs',
    operands: { ...operands, lse },
    attributes,
  })
  expectClose(`${what}: probs`, probs, want.probs, TOLERANCE.float32)
}

export function crossAttention(open: Open): void {
  describe('cross_attention', () => {
    const backend = open()

    it('is the softmax of each query over the keys of its sequence, of each head', async () => {
      let seed = 500
      for (const shape of SHAPES) await check(backend, shape, seed++, 'float32')
    })

    it('is that in bfloat16 within its roundings', async () => {
      let seed = 500
      for (const shape of SHAPES) await check(backend, shape, seed++, 'bfloat16')
    })

    it('gives the bits of attention where every row is a query and a key', async () => {
      const [A, D, rows] = [3, 20, 60]
      const random = new Random(77)
      const qkv = random.reals(rows * 3 * A * D)
      const part = (first: number, last: number) =>
        qkv.filter((_, i) => i % (3 * A * D) >= first * A * D && i % (3 * A * D) < last * A * D)
      const cu = Int32Array.of(0, 1, 43, rows)
      const counts = { rows: { tokens: rows, keys: rows, sequences: 3 }, scalars: { ...KEY } }
      const attributes = { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: true, p, site: SITE }
      const self = await runRecord(backend, {
        ...counts,
        op: 'attention',
        operands: { qkv, cuSeqlens: cu },
        attributes,
      })
      const cross = await runRecord(backend, {
        ...counts,
        op: 'crossAttention',
        operands: { q: part(0, 1), kv: part(1, 3), cuQueries: cu, cuKeys: cu },
        attributes: { ...attributes, keys: Row.keys },
      })
      expectSame('context', cross.context, self.context)
      expectSame('lse', cross.lse, self.lse)
    })
  })
}
