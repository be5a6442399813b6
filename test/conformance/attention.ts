// attention over ragged batches, its gradient, and its probabilities.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import type { FloatType } from '../../src/graph/graph.ts'
import { Row } from '../../src/graph/op-table.ts'
import { type Attention, attentionBackward, attention as reference } from '../reference/attention.ts'
import { philoxKeep } from '../reference/philox.ts'
import { expectClose, expectSame, norm, type Open, Random, runRecord, stored } from './harness.ts'

interface Shape {
  readonly lengths: readonly number[]
  readonly A: number
  readonly D: number
  readonly causal?: boolean
  readonly p?: number
  /** Hides a third of the keys, and every key of the second sequence. */
  readonly mask?: boolean
}

const upTo70 = Array.from({ length: 70 }, (_, i) => i + 1)
/** One row, primes, and the blocks of queries (42, 48) and of keys (8, 16, 32) with their neighbours. */
const EDGES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 41, 42, 43, 47, 48, 49, 63, 64, 65, 97]
const p = Math.fround(0.1)

/** Blocks of 64 and 128 rows with their neighbours, two and three of 128 among them; more sequences than a warp has lanes. */
const LONG = [127, 129, 1, 128, 63, ...upTo70.slice(0, 26), 65, 300, 64, 200, 191, 256, 193, 257]

const SHAPES: Shape[] = [
  { lengths: upTo70, A: 2, D: 5 },
  { lengths: upTo70, A: 1, D: 20, mask: true },
  { lengths: upTo70, A: 1, D: 5, causal: true, p },
  { lengths: [300], A: 2, D: 20, mask: false },
  { lengths: [300, 1], A: 1, D: 20, mask: true, p },
  { lengths: LONG, A: 2, D: 64 },
  { lengths: LONG, A: 1, D: 64, p },
  ...[1, 5, 20, 64, 65].flatMap((D): Shape[] => [
    { lengths: EDGES, A: 3, D },
    { lengths: EDGES, A: 1, D, mask: true },
    { lengths: EDGES, A: 2, D, causal: true },
    { lengths: EDGES, A: 2, D, causal: true, mask: true, p },
    { lengths: EDGES, A: 1, D, p },
  ]),
  { lengths: [129, 64, 1, 200, 257], A: 2, D: 64, p },
  { lengths: [150, 300], A: 2, D: 64, p: Math.fround(0.9) },
]

const KEY = { seed: 2 ** 32 - 5, step: 12, microStep: 3 }
const SITE = 77

// Softmax and the two products sum some hundred terms of like size; measured at most 4e-7. In bfloat16 the probabilities, what is
// multiplied with them, and the result are rounded, by up to 2^-8 each; measured at most 7.3e-3.
const TOLERANCE = { float32: 2e-6, bfloat16: 1e-2 }

/** Everything of a shape that does not depend on the backend: inputs and what the reference makes of them. */
function prepare(shape: Shape, seed: number, type: FloatType) {
  const { lengths, A, D, causal = false, p = 0, mask = false } = shape
  const random = new Random(seed)
  const cuSeqlens = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))])
  const rows = cuSeqlens[lengths.length]
  const pairs = lengths.reduce((sum, length) => sum + length * length, 0)
  const hidden = lengths.length > 1 ? 1 : -1
  const keyMask = mask
    ? Int32Array.from({ length: rows }, (_, row) =>
        row >= cuSeqlens[hidden] && row < cuSeqlens[hidden + 1] ? 0 : random.below(3),
      )
    : undefined
  const qkv = stored(random.reals(rows * 3 * A * D, 2), type)
  const options: Attention = { qkv, cuSeqlens, keyMask, A, D, causal, p, keep: philoxKeep({ ...KEY, site: SITE }, p) }
  const want = reference(options)
  // a row that sees no key: the kernel's lse is +infinity, so that exp(score - lse) is 0 without a branch
  const lse = want.lse.map((value) =>
    Math.fround(value === Number.NEGATIVE_INFINITY ? Number.POSITIVE_INFINITY : value),
  )
  const dcontext = stored(random.reals(rows * A * D), type)
  const gradient = attentionBackward({ ...options, dcontext }).dqkv
  return {
    run: { type, rows: { tokens: rows, sequences: lengths.length, pairs }, scalars: { ...KEY } },
    attributes: { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal, p, site: SITE },
    inputs: { qkv, cuSeqlens, keyMask },
    saved: { dcontext, context: stored(want.context.map(Math.fround), type), lse },
    want,
    gradient,
    hiddenRows: mask && hidden > 0 ? [cuSeqlens[hidden], cuSeqlens[hidden + 1]] : [0, 0],
  }
}

/** The reference takes most of the time, and is the same for every instruction set. */
const prepared = new Map<string, ReturnType<typeof prepare>>()

async function check(backend: Backend, shape: Shape, seed: number, type: FloatType) {
  const known = prepared.get(`${type} ${seed}`) ?? prepare(shape, seed, type)
  prepared.set(`${type} ${seed}`, known)
  const tolerance = TOLERANCE[type]
  const { run, attributes, inputs, saved, want, gradient, hiddenRows } = known
  const { A, D } = attributes
  const { lse } = saved
  const what = `attention ${type} ${JSON.stringify({ ...shape, lengths: shape.lengths.length })}`

  const got = await runRecord(backend, { ...run, op: 'attention', operands: inputs, attributes })
  expectClose(`${what}: context`, got.context, want.context, tolerance)
  const seen = lse.map((value) => (value === Number.POSITIVE_INFINITY ? 0 : value))
  expect(
    [...got.lse].findIndex(
      (value, i) => (value === Number.POSITIVE_INFINITY) !== (lse[i] === Number.POSITIVE_INFINITY),
    ),
  ).toBe(-1)
  expectClose(
    `${what}: lse`,
    got.lse.map((value) => (value === Number.POSITIVE_INFINITY ? 0 : value)),
    seen,
    TOLERANCE.float32,
  )

  const { dqkv } = await runRecord(backend, {
    ...run,
    op: 'attentionBackward',
    operands: { ...inputs, ...saved },
    attributes,
  })
  expectClose(`${what}: dqkv`, dqkv, gradient, tolerance)
  // of the queries and keys alone too, which a sequence of one row leaves at 0: relative to the whole
  const part = (values: ArrayLike<number>, which: number): Float64Array =>
    Float64Array.from(values).filter((_, i) => Math.floor(i / (A * D)) % 3 === which)
  for (const which of [0, 1, 2])
    expectClose(`${what}: part ${which}`, part(dqkv, which), part(gradient, which), tolerance, norm(gradient) / 3)

  const { probs } = await runRecord(backend, {
    ...run,
    op: 'attentionProbs',
    operands: { ...inputs, lse },
    attributes,
  })
  expectClose(`${what}: probs`, probs, want.probs, TOLERANCE.float32)
  const zero = (values: Float32Array, width: number) =>
    values.subarray(hiddenRows[0] * width, hiddenRows[1] * width).every((value) => value === 0)
  expect(zero(got.context, A * D) && zero(dqkv, 3 * A * D), `${what}: a sequence without a visible key`).toBe(true)
}

export function attention(open: Open): void {
  describe('attention', () => {
    const backend = open()

    it('is the softmax of each sequence, of each head, at every length to 70 and at 300', async () => {
      let seed = 100
      for (const shape of SHAPES) await check(backend, shape, seed++, 'float32')
    })

    it('is that in bfloat16 within its roundings, with sums and statistics of float32', async () => {
      let seed = 100
      for (const shape of SHAPES) await check(backend, shape, seed++, 'bfloat16')
    })

    it('gives a sequence the same bits alone and beside sequences of NaN', async () => {
      const [A, D] = [2, 64]
      const lengths = [200, 77, 129, 70, 1]
      const random = new Random(11)
      const attributes = { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: false, p: 0, site: 0 }
      const run = async (type: FloatType, sequences: readonly Float64Array[], gradients: readonly Float64Array[]) => {
        const counts = sequences.map((qkv) => qkv.length / (3 * A * D))
        const cuSeqlens = Int32Array.from([0, ...counts.map((_, i) => counts.slice(0, i + 1).reduce((a, b) => a + b))])
        const join = (parts: readonly Float64Array[]) => Float64Array.from(parts.flatMap((part) => [...part]))
        const common = { type, attributes, rows: { tokens: cuSeqlens[counts.length], sequences: counts.length } }
        const operands = { qkv: join(sequences), cuSeqlens }
        const { context, lse } = await runRecord(backend, { ...common, op: 'attention', operands })
        const { dqkv } = await runRecord(backend, {
          ...common,
          op: 'attentionBackward',
          operands: {
            ...operands,
            dcontext: join(gradients),
            context: Float64Array.from(context),
            lse: Float64Array.from(lse),
          },
        })
        return { context, lse, dqkv, cuSeqlens }
      }
      for (const type of ['float32', 'bfloat16'] as const) {
        const sequences = lengths.map((length) => stored(random.reals(length * 3 * A * D), type))
        const gradients = lengths.map((length) => stored(random.reals(length * A * D), type))
        const real = (i: number) => i % 2 === 0
        const nan = (parts: readonly Float64Array[]) =>
          parts.map((part, i) => (real(i) ? part : part.map(() => Number.NaN)))
        const all = await run(type, nan(sequences), nan(gradients))
        for (const i of lengths.keys()) {
          if (!real(i)) continue
          const alone = await run(type, [sequences[i]], [gradients[i]])
          for (const [name, width] of [
            ['context', A * D],
            ['lse', A],
            ['dqkv', 3 * A * D],
          ] as const) {
            const part = all[name].subarray(all.cuSeqlens[i] * width, all.cuSeqlens[i + 1] * width)
            expectSame(`${type}: ${name} of sequence ${i}`, part, alone[name])
          }
        }
      }
    })

    it('survives scores whose exponentials overflow', async () => {
      const [rows, A, D] = [4, 1, 3]
      const qkv = new Random(9).reals(rows * 3 * A * D, 300)
      const cuSeqlens = Int32Array.of(0, rows)
      const want = reference({ qkv, cuSeqlens, A, D })
      const got = await runRecord(backend, {
        op: 'attention',
        operands: { qkv, cuSeqlens },
        attributes: { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: false, p: 0, site: 0 },
        rows: { tokens: rows, sequences: 1 },
      })
      expectClose('context', got.context, want.context, 1e-3)
      expectClose('lse', got.lse, want.lse, 1e-6)
    })
  })
}
