import { expect, test } from 'vitest'
import { epochOrder } from '../../src/train/shuffle.ts'

test('the order of a seed is pinned: another release resumes in the middle of an epoch', async () => {
  expect(await epochOrder(12, 42, 3)).toEqual(Uint32Array.of(7, 0, 4, 6, 2, 1, 8, 9, 10, 5, 11, 3))
  expect(await epochOrder(12, 2 ** 40 + 5, 1)).toEqual(Uint32Array.of(7, 6, 11, 3, 10, 5, 1, 9, 4, 2, 8, 0))
})

test.each([1, 2, 3, 31, 1000])('an order of %i examples is a permutation', async (size) => {
  const order = await epochOrder(size, 42, 0)
  expect([...order].sort((a, b) => a - b)).toEqual([...order.keys()])
})

test('depends on seed and epoch, and on nothing else', async () => {
  const order = await epochOrder(100, 42, 1)
  expect(await epochOrder(100, 42, 1)).toEqual(order)
  for (const other of [epochOrder(100, 43, 1), epochOrder(100, 42, 2), epochOrder(100, 42 + 2 ** 32, 1)]) {
    expect(await other).not.toEqual(order)
  }
})

test('every order is equally likely', async () => {
  const counts = new Map<string, number>()
  const trials = 6000
  for (let seed = 0; seed < trials; seed++) {
    const key = (await epochOrder(3, seed, 0)).join('')
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  expect(counts.size).toBe(6)
  const expected = trials / 6
  const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  // 5 degrees of freedom: 20.5 is exceeded with probability 0.001; the seeds are fixed, so this cannot flicker.
  expect(chiSquare).toBeLessThan(20.5)
})

test('a large order leaves the event loop its turns', async () => {
  let turns = 0
  const timer = setInterval(() => turns++, 0)
  await epochOrder(2_000_000, 1, 0)
  clearInterval(timer)
  expect(turns).toBeGreaterThan(5)
})
