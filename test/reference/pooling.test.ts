import { describe, expect, it } from 'vitest'
import { dot, expectGradient, uniform } from './numerics.ts'
import { gatherRows, gatherRowsBackward } from './pooling.ts'

describe('gatherRows', () => {
  it('picks rows, and its backward adds where a row was picked twice', () => {
    const [from, H] = [7, 3]
    const index = [0, 4, 4, 6]
    const x = uniform(from * H, 1)
    const dy = uniform(index.length * H, 2)
    expect([...gatherRows({ x, index: [2], H }).y]).toEqual([...x.subarray(2 * H, 3 * H)])
    expectGradient(gatherRowsBackward({ dy, index, from, H }).dx, x, () => dot(dy, gatherRows({ x, index, H }).y))
  })
})
