import { describe, expect, it } from 'vitest'
import { philox4x32, philoxDraw, philoxKeep } from './philox.ts'

describe('philox4x32', () => {
  const ones = 0xffffffff
  // The known answers that Random123 publishes for philox4x32-10 (its file kat_vectors).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [ones, ones, ones, ones],
      [ones, ones],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('of counter %j and key %j', (counter, key, want) => {
    expect(philox4x32(counter, key)).toEqual(want)
  })
})

describe('philoxDraw', () => {
  const key = { seed: 42, step: 7, microStep: 3, site: 11 }

  it.each([
    [0, 0, 0, 0],
    [15, 15, 0, 0],
    [16, 0, 1, 0],
    [47, 15, 2, 0],
    [63, 15, 3, 0],
    [64, 0, 0, 16],
    [64 + 33, 1, 2, 16],
    [128, 16, 0, 0],
    [3 * 64 + 50, 16 + 2, 3, 16],
  ])('column %i is 16 bits of word %3$i of counter %2$i, from bit %4$i on', (column, group, word, bit) => {
    expect(philoxDraw(key, 5, column)).toBe((philox4x32([group, 5, 7, 3], [42, 11])[word] >>> bit) & 0xffff)
  })

  it('uses half a counter word for one element only', () => {
    const draws = new Set<number>()
    for (let column = 0; column < 400; column++) draws.add(philoxDraw(key, 0, column))
    expect(draws.size).toBeGreaterThan(390) // of 65,536, so that a few meet
  })

  it.each(['seed', 'step', 'microStep', 'site'] as const)('changes with %s', (name) => {
    expect(philoxDraw({ ...key, [name]: key[name] + 1 }, 5, 9)).not.toBe(philoxDraw(key, 5, 9))
  })

  it('takes a negative and a large seed by their low 32 bits', () => {
    expect(philoxDraw({ ...key, seed: -1 }, 5, 9)).toBe(philoxDraw({ ...key, seed: 2 ** 33 - 1 }, 5, 9))
  })
})

describe('philoxKeep', () => {
  const key = { seed: 1, step: 2, microStep: 0, site: 3 }

  it.each([0.1, 0.25, 0.5, 0.9])('drops a fraction %f of the elements', (p) => {
    const keep = philoxKeep(key, p)
    const [rows, columns] = [50, 400]
    let dropped = 0
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) if (!keep(row, column)) dropped++
    // Five standard deviations of a binomial.
    const N = rows * columns
    expect(Math.abs(dropped - N * p)).toBeLessThan(5 * Math.sqrt(N * p * (1 - p)))
  })

  it('keeps an element exactly when its draw reaches the threshold of p as float32', () => {
    const draw = philoxDraw(key, 4, 70)
    const at = draw / 2 ** 16
    expect(philoxKeep(key, at - 2 ** -16)(4, 70)).toBe(true)
    expect(philoxKeep(key, at)(4, 70)).toBe(true)
    expect(philoxKeep(key, at + 2 ** -17)(4, 70)).toBe(true)
    expect(philoxKeep(key, at + 2 ** -16)(4, 70)).toBe(false)
  })

  it('keeps all at p = 0 and none at p = 1', () => {
    for (let column = 0; column < 200; column++) {
      expect(philoxKeep(key, 0)(0, column)).toBe(true)
      expect(philoxKeep(key, 1)(0, column)).toBe(false)
    }
  })
})
