// What a decoder does with its cache of keys and values: rows written and rows copied, by index.
import { describe, expect, it } from 'vitest'
import { Row } from '../../src/graph/op-table.ts'
import { expectSame, type Open, Random, runRecord } from './harness.ts'

const WIDTHS = [1, 2, 7, 8, 9, 16, 33, 128]

/** Rows of a matrix of `width` columns as an array of arrays. */
const rowsOf = (values: ArrayLike<number>, width: number): number[][] =>
  Array.from({ length: values.length / width }, (_, r) =>
    Array.from({ length: width }, (_, c) => values[r * width + c]),
  )

export function caching(open: Open): void {
  describe('store_rows and copy_rows', () => {
    const backend = open()
    const store = (index: Int32Array, { T = 5, H = 3, first = 1, to = 6 } = {}) => ({
      op: 'storeRows' as const,
      operands: { x: new Random(1).reals(index.length * T), index, y: new Float64Array(to * H) },
      attributes: { rows: Row.tokens, to: Row.cached, T, H, first },
      rows: { tokens: index.length, cached: to },
    })
    const copy = (from: Int32Array, target: Int32Array, { H = 3, of = 8 } = {}) => ({
      op: 'copyRows' as const,
      operands: { from, target, y: new Random(2).reals(of * H) },
      attributes: { rows: Row.tokens, of: Row.cached, H },
      rows: { tokens: from.length, cached: of },
    })

    it('write the columns that are asked for into the rows that are named, and leave the others', async () => {
      const random = new Random(3)
      for (const H of WIDTHS)
        for (const rows of [1, 2, 5, 40]) {
          const [T, to] = [H + random.below(9), rows + random.below(9)]
          const first = random.below(T - H + 1)
          const index = Int32Array.from({ length: rows }, (_, r) => r + (to - rows))
          const [x, y] = [random.reals(rows * T), random.reals(to * H)]
          const got = await runRecord(backend, { ...store(index, { T, H, first, to }), operands: { x, index, y } })
          const want = rowsOf(y, H)
          for (const [r, row] of rowsOf(x, T).entries()) want[index[r]] = row.slice(first, first + H)
          expectSame(`${rows} x ${H}`, got.y, Float32Array.from(want.flat()))
        }
    })

    it('copy rows onto others', async () => {
      const random = new Random(4)
      for (const H of WIDTHS) {
        const [from, target] = [Int32Array.of(7, 0, 7, 5), Int32Array.of(1, 2, 4, 6)]
        const y = random.reals(8 * H)
        const got = await runRecord(backend, { ...copy(from, target, { H }), operands: { from, target, y } })
        const want = rowsOf(y, H)
        for (const [i, at] of target.entries()) want[at] = rowsOf(y, H)[from[i]]
        expectSame(`width ${H}`, got.y, Float32Array.from(want.flat()))
      }
    })

    it.each([
      ['an index beyond the rows', store(Int32Array.of(0, 6)), /index\[1\] is 6/],
      ['a negative index', store(Int32Array.of(-1)), /index\[0\] is -1/],
      ['an index twice', store(Int32Array.of(2, 2)), /index\[1\] is 2/],
      ['columns beyond the last', store(Int32Array.of(0), { first: 3 }), /first\[0\] is 3/],
      ['a source beyond the rows', copy(Int32Array.of(8), Int32Array.of(1)), /from\[0\] is 8/],
      ['targets that descend', copy(Int32Array.of(0, 0), Int32Array.of(3, 1)), /target\[1\] is 1/],
      ['a row that is both', copy(Int32Array.of(0, 3), Int32Array.of(2, 3)), /from\[1\] is 3/],
    ])('refuse %s', async (_name, record, text) => {
      await expect(runRecord<'storeRows' | 'copyRows'>(backend, record as never)).rejects.toThrow(text)
    })
  })
}
