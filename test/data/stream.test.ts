import { describe, expect, it } from 'vitest'
import { type ShuffleOptions, shuffleStream } from '../../src/data/stream.ts'
import { listOf } from './reading.ts'

async function* count(size: number): AsyncGenerator<number> {
  for (let row = 0; row < size; row++) yield row
}
const orderOf = (size: number, options: Partial<ShuffleOptions> = {}) =>
  listOf(shuffleStream(count(size), { seed: 1, epoch: 0, bufferSize: 10, ...options }))
const sorted = (rows: number[]) => [...rows].sort((a, b) => a - b)

describe('shuffleStream', () => {
  it('gives each row once, whatever the sizes', async () => {
    for (const size of [0, 1, 2, 9, 10, 11, 100])
      for (const bufferSize of [1, 2, 10, 1000])
        expect(sorted(await orderOf(size, { bufferSize }))).toEqual(Array.from({ length: size }, (_, row) => row))
    expect(await orderOf(20, { bufferSize: 1 })).toEqual(Array.from({ length: 20 }, (_, row) => row))
  })

  it('holds no more rows than its buffer and the one that comes', async () => {
    let read = 0
    async function* rows(): AsyncGenerator<number> {
      for (; ; read++) yield read
    }
    let given = 0
    for await (const row of shuffleStream(rows(), { seed: 1, epoch: 0, bufferSize: 50 })) {
      expect(row).toBeLessThanOrEqual(read)
      expect(read - given).toBeLessThanOrEqual(50)
      if (++given === 1000) break
    }
  })

  it('is a function of seed and epoch', async () => {
    const order = await orderOf(200)
    expect(order).not.toEqual(sorted(order))
    expect(await orderOf(200)).toEqual(order)
    for (const options of [{ seed: 2 }, { seed: 1 + 2 ** 32 }, { epoch: 1 }, { bufferSize: 11 }])
      expect(await orderOf(200, options)).not.toEqual(order)
    // pinned: a run that was stopped goes on with another version in the same order
    expect(order.slice(0, 12)).toMatchInlineSnapshot(`
      [
        3,
        10,
        5,
        4,
        11,
        13,
        8,
        16,
        12,
        14,
        19,
        1,
      ]
    `)
  })

  it('goes on from any position', async () => {
    const order = await orderOf(57)
    for (let skip = 0; skip <= 60; skip++) expect(await orderOf(57, { skip })).toEqual(order.slice(skip))
  })

  it('is uniform where all rows fit', async () => {
    const counts = new Map<string, number>()
    const rounds = 2400
    for (let seed = 0; seed < rounds; seed++) {
      const order = (await orderOf(4, { seed })).join('')
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    const expected = rounds / 24
    const chiSquared = [...counts.values()].reduce((sum, found) => sum + (found - expected) ** 2 / expected, 0)
    expect(counts.size).toBe(24)
    // 99.99 % of the distribution with 23 degrees of freedom
    expect(chiSquared).toBeLessThan(56)
  })

  it('gives an error of the rows, and closes them when it is left', async () => {
    async function* broken(): AsyncGenerator<number> {
      yield* count(20)
      throw new Error('broken')
    }
    await expect(listOf(shuffleStream(broken(), { seed: 1, epoch: 0, bufferSize: 5 }))).rejects.toThrow('broken')
    let closed = false
    async function* rows(): AsyncGenerator<number> {
      try {
        yield* count(1e6)
      } finally {
        closed = true
      }
    }
    for await (const _ of shuffleStream(rows(), { seed: 1, epoch: 0, bufferSize: 5 })) break
    expect(closed).toBe(true)
  })
})
