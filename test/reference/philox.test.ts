import { describe, expect, it } from 'vitest'
import { drawOf, philox4x32, philoxDraw, philoxKeep, philoxThreshold, type Words4 } from './philox.ts'

describe('philox4x32', () => {
  const ones = 0xffffffff
  const [counter, key] = [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344] as const, [0xa4093822, 0x299f31d0] as const]
  // The known answers that Random123 publishes for philox4x32 (its file kat_vectors).
  it.each([
    [[0, 0, 0, 0], [0, 0], 10, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [[ones, ones, ones, ones], [ones, ones], 10, [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [counter, key, 10, [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]],
    [[0, 0, 0, 0], [0, 0], 7, [0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48]],
    [[ones, ones, ones, ones], [ones, ones], 7, [0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662]],
    [counter, key, 7, [0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a]],
  ] as const)('of counter %j and key %j after %i rounds', (counter, key, rounds, want) => {
    expect(philox4x32(counter, key, rounds)).toEqual(want)
  })
})

describe('philoxDraw', () => {
  const key = { seed: 42, step: 7, microStep: 3, site: 11 }

  it.each([
    [0, 0, 0],
    [1, 0, 8],
    [2, 1, 0],
    [7, 3, 8],
    [8, 0, 16],
    [15, 3, 24],
    [16, 0, 1],
    [35, 1, 10],
    [63, 3, 27],
    [64, 0, 4],
    [127, 3, 31],
    [128, 4, 0],
    [3 * 128 + 45, 12 + 2, 26],
  ])('column %i is of counter %i, bit %i', (column, group, bit) => {
    const words = philox4x32([group, 5, 7, 3], [42, 11], 7)
    const own = words.reduce((bits, word, i) => bits | (((word >>> bit) & 1) << i), 0)
    expect(philoxDraw(key, 5, column) >> 3).toBe(own)
  })

  it('is what Python makes of the same mapping', () => {
    const columns = [0, 1, 8, 13, 16, 35, 58, 63, 64, 127, 128, 200, 1000]
    const draws = [36, 11, 2, 122, 14, 57, 48, 60, 22, 46, 87, 117, 63]
    expect(columns.map((column) => philoxDraw(key, 5, column))).toEqual(draws)
    const rows = Array.from({ length: 12 }, (_, row) => philoxThreshold(key, 0.1, row))
    expect(rows).toEqual([13, 12, 13, 13, 12, 13, 13, 13, 13, 12, 13, 13])
  })

  it.each(['seed', 'step', 'microStep', 'site'] as const)('changes with %s', (name) => {
    expect(philoxDraw({ ...key, [name]: key[name] + 1 }, 5, 9)).not.toBe(philoxDraw(key, 5, 9))
  })

  it('takes a negative and a large seed by their low 32 bits', () => {
    expect(philoxDraw({ ...key, seed: -1 }, 5, 9)).toBe(philoxDraw({ ...key, seed: 2 ** 33 - 1 }, 5, 9))
  })
})

/** The 32 columns of the first group. */
const GROUP = Array.from({ length: 32 }, (_, i) => (i >> 1) * 8 + (i & 1))
const PAIRS = GROUP.flatMap((a, i) => GROUP.slice(i + 1).map((b) => [a, b] as const))

/** The rank over GF(2) of vectors of at most 31 bits. */
function rank(vectors: readonly number[]): number {
  const basis: number[] = []
  for (let vector of vectors) {
    for (const other of basis) vector = Math.min(vector, vector ^ other)
    if (vector > 0) basis.push(vector)
  }
  return basis.length
}

describe('the draws of a group', () => {
  const units = Array.from({ length: 128 }, (_, bit) =>
    [0, 1, 2, 3].map((word) => (word === bit >> 5 ? (1 << (bit & 31)) >>> 0 : 0)),
  ) as unknown as Words4[]

  it('have a bit of each word for one element alone, above those of others', () => {
    const owners = units.map((words) => GROUP.filter((column) => drawOf(words, column) >= 8).length)
    expect(owners).toEqual(units.map(() => 1))
  })

  // the draws are linear in the words' bits: where those are independent, so are bits of draws that no sum over GF(2) makes 0
  it('are independent in pairs', () => {
    for (const [a, b] of PAIRS)
      expect(rank(units.map((words) => drawOf(words, a) * 2 ** 7 + drawOf(words, b))), `${a}, ${b}`).toBe(14)
  })
})

describe('philoxThreshold', () => {
  const key = { seed: 1, step: 2, microStep: 0, site: 3 }
  const ROWS = 4096

  it('takes a negative and a large seed, site and row by their low 32 bits', () => {
    const negative = { seed: -5, step: -1, microStep: 0, site: -7 }
    const large = { seed: 2 ** 32 - 5, step: 2 ** 32 - 1, microStep: 0, site: 2 ** 32 - 7 }
    const rows = Array.from({ length: 64 }, (_, row) => row - 32)
    const of = (key: typeof negative, row: number) => philoxThreshold(key, 0.3, row)
    expect(rows.map((row) => of(negative, row))).toEqual(rows.map((row) => of(large, row + 2 ** 32)))
  })

  it.each([0.004, 0.1, 0.25, 0.3, 0.9])('is p * 128 on the average over rows, steps and sites, at %f', (p) => {
    const thresholds = (of: (i: number) => number) => Array.from({ length: ROWS }, (_, i) => of(i))
    for (const of of [
      (row: number) => philoxThreshold(key, p, row),
      (step: number) => philoxThreshold({ ...key, step }, p, 5),
      (site: number) => philoxThreshold({ ...key, site }, p, 5),
      (seed: number) => philoxThreshold({ ...key, seed }, p, 5),
    ]) {
      const all = thresholds(of)
      expect(Math.max(...all) - Math.min(...all)).toBeLessThanOrEqual(1)
      expect(Math.abs(all.reduce((sum, t) => sum + t) / ROWS - Math.fround(p) * 128)).toBeLessThan(0.02)
    }
  })
})

describe('philoxKeep', () => {
  const key = { seed: 1, step: 2, microStep: 0, site: 3 }
  const [rows, columns] = [1024, 1024]
  const N = rows * columns
  const draws = Int32Array.from({ length: N }, (_, i) => philoxDraw(key, Math.floor(i / columns), i % columns))
  const FRACTIONS = [0.004, 0.1, 0.25, 0.3, 0.5, 0.9]

  it('is by the draw and its row', () => {
    const keep = philoxKeep(key, 0.3)
    for (let i = 0; i < N; i += 997) {
      const row = Math.floor(i / columns)
      expect(keep(row, i % columns)).toBe(draws[i] >= philoxThreshold(key, 0.3, row))
    }
  })

  it.each(FRACTIONS)('drops a fraction %f of a million elements', (p) => {
    const thresholds = Array.from({ length: rows }, (_, row) => philoxThreshold(key, p, row))
    const dropped = draws.reduce((count, draw, i) => count + Number(draw < thresholds[Math.floor(i / columns)]), 0)
    // four standard deviations of a binomial
    expect(Math.abs(dropped - N * p)).toBeLessThan(4 * Math.sqrt(N * p * (1 - p)))
  })

  it.each(FRACTIONS)('at %f, does not tell from one column of a group about another', (p) => {
    const threshold = Math.round(p * 128)
    const q = threshold / 128
    const groups = N / 32
    let worst = 0
    for (const [a, b] of PAIRS) {
      let covariance = 0
      for (let first = 0; first < N; first += 128)
        for (let at = first; at < first + 8; at += 2)
          covariance += (Number(draws[at + a] < threshold) - q) * (Number(draws[at + b] < threshold) - q)
      worst = Math.max(worst, Math.abs(covariance / groups / (q * (1 - q))))
    }
    // the largest of 496 correlations, each with a standard error of groups^-1/2
    expect(worst).toBeLessThan(5 / Math.sqrt(groups))
  })

  it('keeps an element exactly when its draw reaches the threshold of its row', () => {
    const at = philoxDraw(key, 4, 70) / 128
    expect(philoxKeep(key, at - 2 ** -7)(4, 70)).toBe(true)
    expect(philoxKeep(key, at)(4, 70)).toBe(true)
    expect(philoxKeep(key, at + 2 ** -7)(4, 70)).toBe(false)
  })

  it('keeps all at p = 0', () => {
    for (let column = 0; column < 200; column++) expect(philoxKeep(key, 0)(0, column)).toBe(true)
  })
})
