import { describe, expect, test } from 'vitest'
import { philox4x32, RandomStream } from '../src/random.ts'
import { philox4x32 as reference } from './reference/philox.ts'

// The known answers that Random123 publishes for philox4x32-10 (its tests/kat_vectors).
test('Philox gives its known answers', () => {
  const most = 0xffffffff
  expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
  expect(philox4x32([most, most, most, most], [most, most])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
  expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
  ])
})

describe('a stream', () => {
  const words = (stream: RandomStream, count: number) => Array.from({ length: count }, () => stream.word())

  test('is the blocks of Philox, keyed by all 53 bits of the seed, counted under its names', () => {
    const seed = 5 * 2 ** 32 + 7
    const blocks = [0, 1, 2].flatMap((block) => reference([block, 11, 0xffffffff, 13], [7, 5]))
    expect(words(new RandomStream(seed, 11, 0xffffffff, 13), 12)).toEqual(blocks)
    expect(words(new RandomStream(3), 4)).toEqual(reference([0, 0, 0, 0], [3, 0]))
  })

  test('is another one for another seed or name', () => {
    const names = [[1], [1 + 2 ** 32], [1, 1], [1, 0, 1], [1, 0, 0, 1], [2]] as const
    const firsts = names.map(([seed, ...stream]) => new RandomStream(seed, ...stream).word())
    expect(new Set(firsts).size).toBe(names.length)
  })

  test('has uniform numbers in [0, 1)', () => {
    const stream = new RandomStream(1)
    const numbers = Array.from({ length: 20_000 }, () => stream.uniform())
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...numbers)).toBeLessThan(1)
    const bins = new Array<number>(10).fill(0)
    for (const number of numbers) bins[Math.floor(number * 10)]++
    const chiSquare = bins.reduce((sum, count) => sum + (count - 2000) ** 2 / 2000, 0)
    // 9 degrees of freedom: 27.9 is exceeded with probability 0.001; the seed is fixed
    expect(chiSquare).toBeLessThan(27.9)
  })

  test.each([1, 2, 3, 7, 1000, 2 ** 31 + 1, 2 ** 32 - 1])('has integers below %i, equally likely', (bound) => {
    const stream = new RandomStream(2, bound)
    const numbers = Array.from({ length: 20_000 }, () => stream.below(bound))
    expect(numbers.every((number) => Number.isInteger(number) && number >= 0 && number < bound)).toBe(true)
    // the mean of 20,000 is within four standard errors of (bound - 1) / 2
    const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length
    expect(Math.abs(mean - (bound - 1) / 2)).toBeLessThanOrEqual((4 * bound) / Math.sqrt(12 * 20_000))
  })

  test('rejects the words that would make some integers likelier', () => {
    // 2^32 words on 3 * 2^30 values: without rejection every third value would have two words, the others one
    const bound = 3 * 2 ** 30
    const stream = new RandomStream(4)
    const counts = [0, 0, 0]
    for (let i = 0; i < 30_000; i++) counts[stream.below(bound) % 3]++
    const chiSquare = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0)
    // 2 degrees of freedom: 13.8 is exceeded with probability 0.001
    expect(chiSquare).toBeLessThan(13.8)
  })
})
