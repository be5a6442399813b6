// int8 weights: products and lookups against the reference, whose every rounding is the kernels', so that results are the same bits.
import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { Row } from '../../src/graph/op-table.ts'
import { embeddingInt8, int8Matrix, int8Words, linearInt8 } from '../reference/linear-int8.ts'
import { expectSame, expectWithin, type Open, Random, runRecord, u } from './harness.ts'

/** [N, K] at the borders of panels (16), of fours of columns and of blocks (64). */
const SHAPES = [
  [1, 1],
  [7, 3],
  [15, 4],
  [16, 63],
  [17, 64],
  [32, 65],
  [33, 127],
  [65, 130],
  [300, 70],
] as const
/** At the borders of strips (2, 4, 6, 14) and of blocks of rows (84, 96). */
const ROWS = [1, 2, 3, 5, 7, 13, 15, 33, 83, 97, 200]

export function int8(open: Open): void {
  describe('int8 weights', () => {
    const backend = open()

    it('give the products of the rounded values, bit for bit', async () => {
      const random = new Random(51)
      for (const [i, [N, K]] of SHAPES.entries()) {
        const w = int8Matrix(random.reals(N * K), N, K)
        const words = int8Words(w, N, K)
        for (const rows of i % 3 === 0 ? ROWS : [1, 5, 15]) {
          const x = random.reals(rows * K, 3)
          x.fill(0, 0, Math.min(K, 64)) // a block of zeros
          const bias = rows % 2 ? random.reals(N) : undefined
          const { y } = await runRecord(backend, {
            op: 'linearInt8',
            operands: { x, w: words, scale: w.scales, bias },
            attributes: { rows: Row.tokens, K, N, words: words.length, act: 'linear' },
            rows: { tokens: rows },
          })
          expectSame(`${rows} x ${N} x ${K}`, y, Float32Array.from(linearInt8({ x, w, bias, rows, K, N }).y))
        }
      }
    })

    it('reach the greatest sums exactly', async () => {
      const [rows, N, K] = [3, 17, 1024]
      const w = int8Matrix(new Float64Array(N * K).fill(-127), N, K)
      const words = int8Words(w, N, K)
      const x = new Float64Array(rows * K).fill(127)
      const { y } = await runRecord(backend, {
        op: 'linearInt8',
        operands: { x, w: words, scale: w.scales },
        attributes: { rows: Row.tokens, K, N, words: words.length, act: 'linear' },
        rows: { tokens: rows },
      })
      expect([...y].every((value) => value === -127 * 127 * K)).toBe(true)
    })

    it('take the activation', async () => {
      const [rows, N, K] = [9, 40, 70]
      const random = new Random(52)
      const w = int8Matrix(random.reals(N * K), N, K)
      const words = int8Words(w, N, K)
      const [x, bias] = [random.reals(rows * K), random.reals(N)]
      for (const act of ['gelu', 'tanh', 'relu'] as const) {
        const { y } = await runRecord(backend, {
          op: 'linearInt8',
          operands: { x, w: words, scale: w.scales, bias },
          attributes: { rows: Row.tokens, K, N, words: words.length, act },
          rows: { tokens: rows },
        })
        const want = linearInt8({ x, w, bias, rows, K, N, act }).y
        expectWithin(act, y, want, (i) => 8 * u * (Math.abs(want[i]) + 0.1))
      }
    })

    it('give NaN for a row with what is not finite, and leave the others alone', async () => {
      const [N, K] = [20, 70]
      const random = new Random(53)
      const w = int8Matrix(random.reals(N * K), N, K)
      const words = int8Words(w, N, K)
      const x = random.reals(3 * K)
      const run = (values: Float64Array) =>
        runRecord(backend, {
          op: 'linearInt8',
          operands: { x: values, w: words, scale: w.scales },
          attributes: { rows: Row.tokens, K, N, words: words.length, act: 'linear' },
          rows: { tokens: 3 },
        })
      const plain = await run(x)
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const { y } = await run(x.with(K + 66, bad))
        expect([...y.subarray(N, 2 * N)].every(Number.isNaN)).toBe(true)
        expectSame('the first row', y.slice(0, N), plain.y.slice(0, N))
        expectSame('the last row', y.slice(2 * N), plain.y.slice(2 * N))
      }
    })

    it('are looked up by words', async () => {
      const random = new Random(54)
      for (const [V, H] of SHAPES) {
        const rows = 13
        const word = int8Matrix(random.reals(V * H), V, H)
        const words = int8Words(word, V, H)
        const inputs = {
          ids: random.integers(rows, V),
          typeIds: random.integers(rows, 2),
          positionIds: random.integers(rows, 9),
          type: random.reals(2 * H),
          position: random.reals(9 * H),
        }
        const { y } = await runRecord(backend, {
          op: 'embeddingInt8',
          operands: { ...inputs, word: words, scale: word.scales },
          attributes: { rows: Row.tokens, H, V, Y: 2, P: 9, words: words.length },
          rows: { tokens: rows },
        })
        expectWithin(`${V} x ${H}`, y, embeddingInt8({ ...inputs, word, rows, H }).y, () => 5 * u)
      }
    })

    it('are rounded as the reference does it, a stretch of rows at a time, and leave the other rows as they were', async () => {
      const random = new Random(55)
      for (const [N, K] of SHAPES)
        for (const [first, rows] of [
          [0, N],
          [N - 1, 1],
          [Math.floor(N / 3), Math.ceil(N / 2)],
        ]) {
          const w = random.reals(N * K)
          w.fill(0, first * K, (first + 1) * K)
          const before = int8Matrix(random.reals(N * K), N, K)
          const rounded = int8Matrix(w, N, K)
          const inside = (n: number) => n >= first && n < first + rows
          const want = {
            whole: before.whole.map((value, i) => (inside(Math.floor(i / K)) ? rounded.whole[i] : value)),
            scales: before.scales.map((value, n) => (inside(n) ? rounded.scales[n] : value)),
          }
          const words = int8Words(before, N, K)
          const got = await runRecord(backend, {
            op: 'quantizeRows',
            operands: { x: w.subarray(first * K, (first + rows) * K), w: words, scale: before.scales },
            attributes: { rows: Row.tokens, N, K, words: words.length, first },
            rows: { tokens: rows },
          })
          expectSame(`scales of ${N} x ${K}`, got.scale, Float32Array.from(want.scales))
          expect(new Int32Array(got.w.slice().buffer)).toEqual(int8Words(want, N, K))
        }
    })

    it('have a scale of NaN for a row that is not finite, and are refused rows outside of the weight', async () => {
      const [N, K] = [20, 6]
      const run = (
        x: Float64Array,
        first: number,
        words = int8Words(int8Matrix(new Float64Array(N * K), N, K), N, K),
      ) =>
        runRecord(backend, {
          op: 'quantizeRows',
          operands: { x, w: words, scale: new Float64Array(N) },
          attributes: { rows: Row.tokens, N, K, words: words.length, first },
          rows: { tokens: x.length / K },
        })
      const x = new Random(57).reals(3 * K)
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const { scale } = await run(x.with(K + 5, bad), 4)
        expect([...scale].map(Number.isNaN)).toEqual(Array.from({ length: N }, (_, n) => n === 5))
      }
      for (const first of [-1, N - 2, 2 ** 31 - 1]) await expect(run(x, first)).rejects.toThrow(/first/)
      await expect(run(x, 0, new Int32Array(63))).rejects.toThrow(/\bw\b/)
    })

    it('are refused where words are missing, and so are ids outside the table', async () => {
      const [N, K, rows] = [20, 12, 2]
      const w = int8Matrix(new Random(56).reals(N * K), N, K)
      const words = int8Words(w, N, K)
      const short = runRecord(backend, {
        op: 'linearInt8',
        operands: { x: new Float64Array(rows * K), w: words.slice(1), scale: w.scales },
        attributes: { rows: Row.tokens, K, N, words: words.length - 1, act: 'linear' },
        rows: { tokens: rows },
      })
      await expect(short).rejects.toThrow(ArgumentError)
      await expect(short).rejects.toThrow(/\bw\b/)
      const lookUp = (ids: Int32Array, table: Int32Array) =>
        runRecord(backend, {
          op: 'embeddingInt8',
          operands: {
            ids,
            typeIds: new Int32Array(rows),
            positionIds: new Int32Array(rows),
            word: table,
            scale: w.scales,
            type: new Float64Array(K),
            position: new Float64Array(K),
          },
          attributes: { rows: Row.tokens, H: K, V: N, Y: 1, P: 1, words: table.length },
          rows: { tokens: rows },
        })
      for (const bad of [-1, N, 2 ** 31 - 1]) await expect(lookUp(Int32Array.of(0, bad), words)).rejects.toThrow(/ids/)
      await expect(lookUp(Int32Array.of(0, 1), words.slice(1))).rejects.toThrow(/word/)
    })
  })
}
