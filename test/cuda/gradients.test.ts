// Gradients of linear layers in bfloat16, of whole numbers, whose sums are exact: added to what is there, in turns of columns; and of
// the weight, where the rows are split and the parts beside each other share the sums of the bias.
import { describe, it } from 'vitest'
import { Row } from '../../src/graph/op-table.ts'
import { expectSame, Random, runRecord, stored } from '../conformance/harness.ts'
import { linearBackward } from '../reference/linear.ts'
import { missing, openCuda } from './library.ts'

const types = { type: 'bfloat16', to: 'bfloat16' } as const
const plus = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value + b[i])

describe.skipIf(missing)(`gradients${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()

  it.each([
    [250, 504, 310],
    [450, 504, 300],
  ])('of the data are added to, of %i x %i x %i', async (rows, K, N) => {
    const random = new Random(rows)
    const whole = (count: number) => random.whole(count, -3, 3)
    const [dy, w, before] = [whole(rows * N), whole(N * K), whole(rows * K)]
    const { dx } = await runRecord(backend, {
      op: 'linearBackwardData',
      operands: { dy, w, dx: before },
      attributes: { rows: Row.tokens, K, N, add: true },
      rows: { tokens: rows },
      ...types,
    })
    const want = linearBackward({ dy, x: new Float64Array(rows * K), w, rows, K, N }).dx
    expectSame('dx', dx, Float32Array.from(stored(plus(want, before), 'bfloat16')))
  })

  const counts = [0, 1, 60, 100, 4096]
  it.each([264, 265].flatMap((K) => counts.map((rows) => [K, rows] as const)))(
    'of a weight of %i columns, of which room is for 4096 rows, over %i',
    async (K, rows) => {
      const N = 64
      const random = new Random(rows + K)
      const whole = (count: number) => random.whole(count, -3, 3)
      const [dy, x, before] = [whole(rows * N), whole(rows * K), { dw: whole(N * K), dbias: whole(N) }]
      const want = linearBackward({ dy, x, w: new Float64Array(N * K), rows, K, N })
      for (const accumulate of [false, true]) {
        const { dw, dbias } = await runRecord(backend, {
          op: 'linearBackwardWeight',
          operands: { dy, x, ...(accumulate ? before : {}) },
          attributes: { rows: Row.tokens, K, N, T: N, first: 0, accumulate },
          rows: { tokens: rows },
          capacity: { tokens: 4096 },
          ...types,
        })
        const of = (name: 'dw' | 'dbias') => Float32Array.from(accumulate ? plus(want[name], before[name]) : want[name])
        expectSame(`dw, accumulate ${accumulate}`, dw, of('dw'))
        expectSame(`dbias, accumulate ${accumulate}`, dbias, of('dbias'))
      }
    },
  )
})
