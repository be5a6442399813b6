import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { type GenerateOptions, resolveOptions } from '../../src/generation/options.ts'
import {
  keepTopK,
  keepTopP,
  penalizeRepetition,
  processScores,
  warpTemperature,
} from '../../src/generation/processors.ts'
import { Draws } from '../../src/generation/random.ts'
import { logSoftmax, sampleSoftmax, topIndices } from '../../src/generation/select.ts'
import { argmax } from '../../src/scores.ts'
import { uniform } from './weights.ts'

interface Processed {
  readonly options: GenerateOptions
  readonly grid: number
  readonly promptLength: number
  readonly kept: number[]
}
const file = path.join(import.meta.dirname, 'generation.json')
const reference: Processed[] = JSON.parse(fs.readFileSync(file, 'utf8')).processed

const never = Number.NEGATIVE_INFINITY
const kept = (scores: Float32Array) => [...scores.keys()].filter((i) => scores[i] !== never)

/** Rounds halves to even, as numpy does. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x)
  if (x - floor !== 0.5) return Math.round(x)
  return floor % 2 === 0 ? floor : floor + 1
}

describe('processScores', () => {
  test.each(reference.map((each, i) => [JSON.stringify(each.options), each.grid, i, each] as const))(
    'keeps the tokens that Transformers keeps: %s, scores on a grid of %s',
    (_, grid, index, { options, promptLength, kept: expected }) => {
      let scores = uniform(index, 'scores', 101).map((value) => value * 6)
      if (grid > 0) scores = scores.map((score) => roundHalfEven(Math.fround(score / grid)) * grid)
      const given = scores.slice()
      const ids = Array.from(uniform(index, 'ids', 10), (value) => Math.floor(((value + 1) / 2) * 101))
      processScores(scores, ids, promptLength, resolveOptions({ doSample: true, ...options }, 101))
      const left = kept(scores)
      if (grid === 0) expect(left).toEqual(expected)
      // torch.sort leaves the order of equal scores open: as many of each score, then
      const sorted = (ids: number[]) => ids.map((id) => given[id]).sort((a, b) => a - b)
      expect(sorted(left)).toEqual(sorted(expected))
    },
  )

  test('leaves greedy scores to the penalty and the length alone', () => {
    const scores = Float32Array.of(4, -1, 2, 3)
    const settings = resolveOptions({ topK: 1, topP: 0.1, temperature: 9, repetitionPenalty: 2, minLength: 4 }, 4)
    processScores(scores, [0, 1, 0], 2, settings)
    expect([...scores]).toEqual([2, -2, 2, 3])
    processScores(scores, [0, 1, 0], 2, resolveOptions({ eosTokenId: [2], minNewTokens: 2 }, 4))
    expect([...scores]).toEqual([2, -2, never, 3])
    processScores(scores, [0, 1, 0], 2, resolveOptions({ eosTokenId: 3, minNewTokens: 1 }, 4))
    expect([...scores]).toEqual([2, -2, never, 3])
  })

  test('counts what minNewTokens says even where minLength says more', () => {
    const scores = Float32Array.of(1, 2)
    processScores(scores, [0, 0], 1, resolveOptions({ eosTokenId: 1, minNewTokens: 1, minLength: 9 }, 2))
    expect([...scores]).toEqual([1, 2])
    processScores(scores, [0, 0], 1, resolveOptions({ eosTokenId: 1, minLength: 3 }, 2))
    expect([...scores]).toEqual([1, never])
  })
})

describe('each processor', () => {
  test('penalizeRepetition penalises a token once, however often it was there', () => {
    const scores = Float32Array.of(3, -3, 3, 0)
    penalizeRepetition(scores, [0, 1, 1, 0, 3], 1.5)
    expect([...scores]).toEqual([2, -4.5, 3, 0])
  })

  test('warpTemperature divides', () => {
    const scores = Float32Array.of(1, never, -3)
    warpTemperature(scores, 2)
    expect([...scores]).toEqual([0.5, never, -1.5])
  })

  test('keepTopK keeps what equals the last', () => {
    const scores = Float32Array.of(1, 5, 3, 3, 2)
    keepTopK(scores, 2)
    expect(kept(scores)).toEqual([1, 2, 3])
    keepTopK(scores, 9)
    expect(kept(scores)).toEqual([1, 2, 3])
  })

  test('keepTopP keeps the fewest tokens that reach p, at least as many as asked', () => {
    const scores = () => Float32Array.of(0.1, 0.5, 0.15, 0.25).map(Math.log)
    const keptFor = (p: number, least: number) => {
      const left = scores()
      keepTopP(left, p, least)
      return kept(left)
    }
    expect(keptFor(0.45, 1)).toEqual([1])
    expect(keptFor(0.55, 1)).toEqual([1, 3])
    expect(keptFor(0.8, 1)).toEqual([1, 2, 3])
    expect(keptFor(0.95, 1)).toEqual([0, 1, 2, 3])
    expect(keptFor(0, 1)).toEqual([1])
    expect(keptFor(0, 3)).toEqual([1, 2, 3])
  })

  test('keepTopP takes the lower index first among equals', () => {
    const scores = Float32Array.of(0, 0, never, 0, 0)
    keepTopP(scores, 0.6, 1)
    expect(kept(scores)).toEqual([1, 3, 4])
  })
})

describe('selection', () => {
  test('argmax and topIndices take the lower index of equal values', () => {
    expect(argmax(Float32Array.of(1, 3, 3, 2))).toBe(1)
    expect(topIndices(Float32Array.of(1, 3, 0, 3, 1, 3), 5)).toEqual([1, 3, 5, 0, 4])
  })

  test.each([1, 2, 7, 64, 300])('topIndices of %i agrees with a sort', (count) => {
    const values = uniform(count, 'values', 300).map((value) => Math.round(value * 40))
    const sorted = [...values.keys()].sort((a, b) => values[b] - values[a] || a - b)
    expect(topIndices(values, count)).toEqual(sorted.slice(0, count))
  })

  test('logSoftmax gives log-probabilities, of huge logits too', () => {
    const values = Float32Array.of(1000, 1001, never)
    logSoftmax(values)
    expect(values[1]).toBeCloseTo(-Math.log(1 + Math.exp(-1)), 6)
    expect(values[0]).toBeCloseTo(values[1] - 1, 4)
    expect(values[2]).toBe(never)
  })

  test('sampleSoftmax inverts the cumulative distribution', () => {
    const values = Float32Array.of(0.25, 0, 0.5, 0.25).map(Math.log)
    const at = (u: number) => sampleSoftmax(values, u)
    expect([0, 0.24, 0.26, 0.74, 0.76, 1 - 2 ** -53].map(at)).toEqual([0, 0, 2, 2, 3, 3])
  })
})

describe('random numbers', () => {
  test('are pinned: another release gives the same for a seed', () => {
    const draws = new Draws(42, [1, 2, 3], 0)
    expect([0, 1].map((step) => draws.uniform(step).toFixed(12))).toMatchInlineSnapshot(`
      [
        "0.850181266929",
        "0.460256304076",
      ]
    `)
    expect(draws.gumbel(3, 5).toFixed(12)).toMatchInlineSnapshot(`"-0.723146658555"`)
  })

  test('depend on the seed, the prompt, the sequence and the step', () => {
    const first = new Draws(1, [5, 6], 0).uniform(0)
    expect(new Draws(1, [5, 6], 0).uniform(0)).toBe(first)
    const others = [new Draws(2, [5, 6], 0), new Draws(1, [6, 5], 0), new Draws(1, [5, 6], 1)].map((d) => d.uniform(0))
    const all = [first, ...others, new Draws(1, [5, 6], 0).uniform(1)]
    expect(new Set(all).size).toBe(all.length)
  })

  test('gumbel has the mean and the spread of its distribution', () => {
    const draws = new Draws(7, [1], 0)
    const values = Array.from({ length: 20_000 }, (_, i) => draws.gumbel(i >> 8, i & 255))
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    // Euler's constant and pi^2 / 6, within four standard errors
    expect(Math.abs(mean - 0.5772157)).toBeLessThan(0.037)
    expect(Math.abs(variance - Math.PI ** 2 / 6)).toBeLessThan(0.13)
  })
})
