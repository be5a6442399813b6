import { describe, expect, it } from 'vitest'
import * as loss from './loss.ts'
import { distance, expectGradient, integers, uniform } from './numerics.ts'

const shapes: [number, number][] = [
  [1, 2],
  [7, 3],
  [5, 13],
]

describe('crossEntropy', () => {
  it('is minus the logarithm of the softmax at the label', () => {
    const { loss: value, lse } = loss.crossEntropy({
      logits: Float64Array.of(0, Math.log(3), 1, 1),
      labels: [1, 0],
      rows: 2,
      C: 2,
      denominator: 4,
    })
    expect(value).toBeCloseTo((-Math.log(0.75) + Math.log(2)) / 4, 14)
    expect(distance(lse, [Math.log(3), Math.log(4 / 3), 1, Math.log(2)])).toBeLessThan(1e-15)
  })

  it('stays finite for large logits', () => {
    const huge = { logits: Float64Array.of(1e4, -1e4), labels: [1], rows: 1, C: 2, denominator: 1 }
    expect(loss.crossEntropy(huge).loss).toBe(2e4)
    expect([...loss.crossEntropyBackward(huge).dlogits]).toEqual([1, -1])
  })

  it.each(shapes)('backward at [%i, %i]', (rows, C) => {
    const options = { logits: uniform(rows * C, 1), labels: integers(rows, C, 2), rows, C, denominator: rows + 2 }
    expectGradient(loss.crossEntropyBackward(options).dlogits, options.logits, () => loss.crossEntropy(options).loss)
  })

  it('leaves out rows labelled -100', () => {
    const [rows, C] = [5, 3]
    const options = { logits: uniform(rows * C, 1), labels: [-100, 2, -100, 0, 1], rows, C, denominator: 3 }
    const { dlogits } = loss.crossEntropyBackward(options)
    expectGradient(dlogits, options.logits, () => loss.crossEntropy(options).loss)
    expect([...dlogits.slice(0, C), ...dlogits.slice(2 * C, 3 * C)]).toEqual(new Array(2 * C).fill(0))
    const kept = [1, 3, 4]
    const logits = Float64Array.from(kept.flatMap((row) => [...options.logits.slice(row * C, (row + 1) * C)]))
    const want = loss.crossEntropy({ logits, labels: [2, 0, 1], rows: 3, C, denominator: 3 }).loss
    expect(loss.crossEntropy(options).loss).toBeCloseTo(want, 14)
  })

  it('of nothing but -100 is 0 with gradient 0', () => {
    const options = { logits: uniform(4, 1), labels: [-100, -100], rows: 2, C: 2, denominator: 0 }
    expect(loss.crossEntropy(options).loss).toBe(0)
    expect([...loss.crossEntropyBackward(options).dlogits]).toEqual([0, 0, 0, 0])
  })
})

describe('label smoothing', () => {
  it('mixes the label with the mean over all classes', () => {
    const options = { logits: uniform(6, 1), labels: [2, 0], rows: 2, C: 3, denominator: 2 }
    const plain = loss.crossEntropy(options).loss
    const uniformly = [0, 1, 2].map((label) => loss.crossEntropy({ ...options, labels: [label, label] }).loss)
    const mean = uniformly.reduce((sum, value) => sum + value / 3, 0)
    expect(loss.crossEntropy({ ...options, smoothing: 0.2 }).loss).toBeCloseTo(0.8 * plain + 0.2 * mean, 14)
  })

  it('backward', () => {
    const options = { logits: uniform(15, 1), labels: [2, -100, 4], rows: 3, C: 5, denominator: 2, smoothing: 0.2 }
    expectGradient(loss.crossEntropyBackward(options).dlogits, options.logits, () => loss.crossEntropy(options).loss)
  })
})

describe('segmentCrossEntropy', () => {
  const options = {
    logits: uniform(14, 3),
    column: 1,
    C: 2,
    cuSegments: [0, 3, 4, 7],
    positions: [2, 0, -100],
    denominator: 3,
  }

  it('takes the rows of a segment as classes', () => {
    const segment = Float64Array.of(options.logits[1], options.logits[3], options.logits[5])
    const of = { logits: segment, labels: [2], rows: 1, C: 3, denominator: 3 }
    expect(loss.segmentCrossEntropy(options).loss).toBeCloseTo(loss.crossEntropy(of).loss, 14)
  })

  it.each([0, 0.2])('backward with smoothing %d', (smoothing) => {
    const smoothed = { ...options, smoothing }
    const { dlogits } = loss.segmentCrossEntropyBackward(smoothed)
    expectGradient(dlogits, options.logits, () => loss.segmentCrossEntropy(smoothed).loss)
    expect([...dlogits].filter((_, i) => i % 2 === 0)).toEqual(new Array(7).fill(0))
  })
})

describe('meanSquaredError', () => {
  it('sums squares over the denominator', () => {
    const options = {
      logits: Float64Array.of(1, 2, 3),
      targets: Float64Array.of(0, 4, 3),
      rows: 3,
      C: 1,
      denominator: 10,
    }
    expect(loss.meanSquaredError(options).loss).toBeCloseTo(0.5, 14)
  })

  it.each(shapes)('backward at [%i, %i]', (rows, C) => {
    const options = { logits: uniform(rows * C, 1), targets: uniform(rows * C, 2), rows, C, denominator: 7 }
    const { dlogits } = loss.meanSquaredErrorBackward(options)
    expectGradient(dlogits, options.logits, () => loss.meanSquaredError(options).loss)
  })
})

describe('binaryCrossEntropy', () => {
  it('is minus the logarithm of the sigmoid of the right sign, also for large logits', () => {
    const one = (logit: number, target: number) =>
      loss.binaryCrossEntropy({
        logits: Float64Array.of(logit),
        targets: Float64Array.of(target),
        rows: 1,
        C: 1,
        denominator: 1,
      }).loss
    expect(one(Math.log(3), 1)).toBeCloseTo(-Math.log(0.75), 14)
    expect(one(Math.log(3), 0)).toBeCloseTo(-Math.log(0.25), 14)
    expect(one(2e3, 0)).toBe(2e3)
    expect(one(-2e3, 0)).toBe(0)
  })

  it.each(shapes)('backward at [%i, %i]', (rows, C) => {
    const targets = uniform(rows * C, 2).map((x) => (x > 0 ? 1 : 0))
    const options = { logits: uniform(rows * C, 1).map((x) => 3 * x), targets, rows, C, denominator: rows * C }
    const { dlogits } = loss.binaryCrossEntropyBackward(options)
    expectGradient(dlogits, options.logits, () => loss.binaryCrossEntropy(options).loss)
  })
})
