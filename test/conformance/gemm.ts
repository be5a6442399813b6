// linear and its three gradients at the borders of every block: of the micro-kernel (MR 4, 6, 14, 32; NR 8, 16, 32), of a task's rows
// (MC 84, 96, 128) and of the depth (KC 256, 512).
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import type { FloatType } from '../../src/graph/graph.ts'
import { Row } from '../../src/graph/op-table.ts'
import { linear, linearBackward } from '../reference/linear.ts'
import { expectSame, expectWithin, type Open, Random, runRecord, stored, u, uBfloat16 } from './harness.ts'

const ROWS = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 31, 32, 33, 37, 83, 84, 85, 95, 96, 97, 127, 128, 129, 193,
]
const COLUMNS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 127, 128, 129]
const DEPTHS = [1, 2, 3, 5, 16, 31, 64, 101, 255, 256, 257, 512, 513]
const RANDOM_SHAPES = 200
const GREATEST = 500_000

/** (m, n, k) of a product: every length of the lists at least twice, then random ones. */
function* shapes(random: Random): Generator<readonly [number, number, number]> {
  const lists = [ROWS, COLUMNS, DEPTHS] as const
  const filled = (fixed: number, value: number): readonly [number, number, number] => {
    for (;;) {
      const [m, n, k] = lists.map((list, i) => (i === fixed ? value : random.pick(list)))
      if (m * n * k <= GREATEST) return [m, n, k]
    }
  }
  for (let i = 0; i < lists.length; i++)
    for (const value of lists[i]) {
      yield filled(i, value)
      yield filled(i, value)
    }
  for (let i = 0; i < RANDOM_SHAPES; i++) yield [1 + random.below(100), 1 + random.below(70), 1 + random.below(70)]
}

/**
 * Values for a product, and what |error| is bounded by: 2 K u sum |a| |b| for any order of float32 sums (twice the first-order bound of
 * Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1; K counts the addend and the bias too), and the rounding of the
 * result where it is bfloat16. Every other shape has small whole numbers, whose sums below 2^24 are exact in any order: there the result
 * is the rounded sum.
 */
class Product {
  readonly exact: boolean
  constructor(
    readonly random: Random,
    index: number,
    readonly types: Types,
  ) {
    this.exact = index % 2 === 1
  }
  values(count: number): Float64Array {
    return this.exact ? this.random.whole(count, -8, 8) : this.random.reals(count)
  }
  /** What a product of x's type reads of these: of bfloat16 all is rounded, weights too. */
  read(values: Float64Array): Float64Array {
    return stored(values, this.types.type)
  }
  /** Holds a result that is stored in `type`. */
  expect(
    what: string,
    got: Float32Array,
    want: Float64Array,
    type: FloatType,
    terms: number,
    magnitudes: Float64Array,
  ) {
    const rounding = type === 'bfloat16' ? uBfloat16 : 0
    if (this.exact) expectWithin(what, got, stored(want, type), () => 0)
    else
      expectWithin(what, got, want, (i) => {
        const error = 2 * terms * u * magnitudes[i]
        return error + rounding * (Math.abs(want[i]) + error)
      })
  }
}

/** Of x and its gradient, and of y and its. */
interface Types {
  readonly type: FloatType
  readonly to: FloatType
}
const TYPES: readonly Types[] = [
  { type: 'float32', to: 'float32' },
  { type: 'bfloat16', to: 'bfloat16' },
  { type: 'bfloat16', to: 'float32' },
]

const magnitudes = (values: Float64Array): Float64Array => values.map(Math.abs)
const plus = (a: Float64Array, b: Float64Array | undefined): Float64Array => (b ? a.map((value, i) => value + b[i]) : a)

async function forward(backend: Backend, product: Product, rows: number, N: number, K: number, withBias: boolean) {
  const [x, w] = [product.values(rows * K), product.values(N * K)]
  const bias = withBias ? product.values(N) : undefined
  const attributes = { rows: Row.tokens, K, N, act: 'linear' } as const
  const { types } = product
  const run = { op: 'linear', operands: { x, w, bias }, attributes, rows: { tokens: rows }, ...types } as const
  const { y, z } = await runRecord(backend, run)
  const [readX, readW] = [product.read(x), product.read(w)]
  const want = linear({ x: readX, w: readW, bias, rows, K, N })
  const terms = linear({ x: magnitudes(readX), w: magnitudes(readW), bias: bias && magnitudes(bias), rows, K, N })
  const what = `linear ${types.type} ${rows} x ${N} x ${K}`
  product.expect(`${what}: z`, z, want.z, types.to, K + 1, terms.z)
  expectSame(`${what}: y`, y, z)
  const alone = await runRecord(backend, { ...run, absent: ['z'] })
  expectSame(`${what}: y without z`, alone.y, y)
}

async function backwardData(backend: Backend, product: Product, rows: number, K: number, N: number, add: boolean) {
  const [dy, w] = [product.values(rows * N), product.values(N * K)]
  const { types } = product
  const before = add ? stored(product.values(rows * K), types.type) : undefined
  const { dx } = await runRecord(backend, {
    op: 'linearBackwardData',
    operands: { dy, w, dx: before },
    attributes: { rows: Row.labelled, K, N, add },
    rows: { labelled: rows },
    ...types,
  })
  const x = new Float64Array(rows * K)
  const [readDy, readW] = [product.read(dy), product.read(w)]
  const want = linearBackward({ dy: readDy, x, w: readW, rows, K, N }).dx
  const terms = linearBackward({ dy: magnitudes(readDy), x, w: magnitudes(readW), rows, K, N }).dx
  const what = `linear_backward_data ${types.type} ${rows} x ${K} x ${N}, add ${add}`
  product.expect(what, dx, plus(want, before), types.type, N + 1, plus(terms, before && magnitudes(before)))
}

async function backwardWeight(backend: Backend, product: Product, N: number, K: number, rows: number, variant: number) {
  const { types } = product
  const [dy, x, w] = [stored(product.values(rows * N), types.to), product.values(rows * K), new Float64Array(N * K)]
  const always = (variant & 1) === 1
  const later = (variant & 2) === 2
  const add = always || later
  const dbias = (variant & 4) === 4
  const before = { dw: product.values(N * K), dbias: dbias ? product.values(N) : undefined }
  // alone, or as some columns of a wider one
  const [T, first] = later ? [N + 5, 2] : [N, 0]
  const wide = product.values(rows * T)
  for (let r = 0; r < rows; r++) wide.set(dy.subarray(r * N, (r + 1) * N), r * T + first)
  const got = await runRecord(backend, {
    op: 'linearBackwardWeight',
    operands: { dy: wide, x, ...(add ? before : {}) },
    attributes: { rows: Row.tokens, K, N, T, first, accumulate: always },
    rows: { tokens: rows },
    scalars: { accumulate: later ? 1 : 0 },
    absent: dbias ? [] : ['dbias'],
    ...types,
  })
  const [readDy, readX] = [product.read(dy), product.read(x)]
  const want = linearBackward({ dy: readDy, x: readX, w, rows, K, N })
  const terms = linearBackward({ dy: magnitudes(readDy), x: magnitudes(readX), w, rows, K, N })
  // the bias sums dy as it is stored
  const sums = linearBackward({ dy, x, w, rows, K, N }).dbias
  const sizes = linearBackward({ dy: magnitudes(dy), x, w, rows, K, N }).dbias
  const what = `linear_backward_weight ${types.type} ${N} x ${K} x ${rows}, variant ${variant}`
  const of = (values: Float64Array, old: Float64Array | undefined) => plus(values, add ? old : undefined)
  const old = (values: Float64Array | undefined) => values && magnitudes(values)
  product.expect(what, got.dw, of(want.dw, before.dw), 'float32', rows + 1, of(terms.dw, old(before.dw)))
  if (dbias)
    product.expect(
      `${what}: dbias`,
      got.dbias,
      of(sums, before.dbias),
      'float32',
      rows + 1,
      of(sizes, old(before.dbias)),
    )
}

export function gemm(open: Open): void {
  describe('linear', () => {
    const backend = open()

    it.each(TYPES)(
      'is x w^T + bias within 2 K u sum |x| |w|, exactly for whole numbers: $type to $to',
      async (types) => {
        const random = new Random(1)
        let index = 0
        for (const [rows, N, K] of shapes(random))
          await forward(backend, new Product(random, index, types), rows, N, K, index++ % 3 !== 0)
      },
    )

    it.each(TYPES)('gives dy w for the data, overwriting or adding: $type to $to', async (types) => {
      const random = new Random(2)
      let index = 0
      for (const [rows, K, N] of shapes(random))
        await backwardData(backend, new Product(random, index, types), rows, K, N, index++ % 4 >= 2)
    })

    it.each(TYPES)('gives dy^T x for the weight and the sums of dy for the bias: $type to $to', async (types) => {
      const random = new Random(3)
      let index = 0
      for (const [N, K, rows] of shapes(random))
        await backwardWeight(backend, new Product(random, index, types), N, K, rows, (index++ >> 1) % 8)
    })

    // 0x7fffffff is what a GPU's arithmetic makes
    it.each(TYPES)('gives NaN for a NaN of any bits: $type to $to', async (types) => {
      const random = new Random(5)
      const N = 9
      for (const K of [1, 32, 33, 100])
        for (const bits of [0x7fffffff, -1, 0x7fc00000, 0x7f800001, -0x7fffff]) {
          const w = new Int32Array(Float32Array.from(random.reals(N * K)).buffer)
          w[4 * K + random.below(K)] = bits
          const operands = { x: random.reals(3 * K), w }
          const attributes = { rows: Row.tokens, K, N, act: 'linear' } as const
          const { y } = await runRecord(backend, { op: 'linear', operands, attributes, rows: { tokens: 3 }, ...types })
          expect([...y].map(Number.isNaN)).toEqual(Array.from({ length: 3 * N }, (_, i) => i % N === 4))
        }
    })

    it('without a row writes nothing forward, zeros for a first gradient of the weight, and adds nothing later', async () => {
      const none = new Float64Array(0)
      const [K, N] = [5, 7]
      const w = new Random(4).reals(N * K)
      const { y } = await runRecord(backend, {
        op: 'linear',
        operands: { x: none, w },
        attributes: { rows: Row.labelled, K, N, act: 'gelu' },
      })
      const { dx } = await runRecord(backend, {
        op: 'linearBackwardData',
        operands: { dy: none, w },
        attributes: { rows: Row.labelled, K, N, add: false },
      })
      expect([y.length, dx.length]).toEqual([0, 0])
      const weight = {
        op: 'linearBackwardWeight',
        attributes: { rows: Row.labelled, K, N, T: N, first: 0, accumulate: 0 },
      } as const
      const first = await runRecord(backend, { ...weight, operands: { dy: none, x: none } })
      expect([...first.dw, ...first.dbias].every((value) => value === 0)).toBe(true)
      const operands = { dy: none, x: none, dw: w, dbias: w.slice(0, N) }
      const later = await runRecord(backend, { ...weight, operands, scalars: { accumulate: 1 } })
      expectSame('dw', later.dw, Float32Array.from(w))
      expectSame('dbias', later.dbias, Float32Array.from(w.slice(0, N)))
    })
  })
}
