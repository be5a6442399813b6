import { describe, expect, test } from 'vitest'
import { CurveRecorder, classScores, confusedPairs, confusionOf, worstExamples } from '../../src/cli/report-data.ts'
import { ArgumentError } from '../../src/errors.ts'
import { confusionFrom } from './fixtures.ts'

describe('confusionOf', () => {
  test('counts the pairs that occur, and leaves out what has no label', () => {
    const confusion = confusionOf([0, 1, 1, 2, 0, 1], [0, 1, 2, 2, 0, -100], 4)
    expect(confusion.pairs).toEqual([
      { label: 0, predicted: 0, count: 2 },
      { label: 1, predicted: 1, count: 1 },
      { label: 2, predicted: 1, count: 1 },
      { label: 2, predicted: 2, count: 1 },
    ])
    expect(Array.from(confusion.labelled)).toEqual([2, 1, 2, 0])
    expect(Array.from(confusion.predicted)).toEqual([2, 2, 1, 0])
  })

  test('costs what its examples cost, however many classes there are', () => {
    const classes = 200_000
    const confusion = confusionOf([7, 8, 8], [7, 7, 8], classes)
    expect(confusion.pairs).toHaveLength(3)
    expect(classScores(confusion)[8]).toEqual({ index: 8, count: 1, precision: 0.5, recall: 1, f1: 2 / 3 })
    expect(confusedPairs(confusion, 9)).toEqual([{ label: 7, predicted: 8, count: 1, share: 0.5 }])
  })

  test('refuses lengths and classes that do not fit', () => {
    expect(() => confusionOf([0], [0, 1], 2)).toThrow(ArgumentError)
    expect(() => confusionOf([2], [0], 2)).toThrow('label 0 and prediction 2 at 0')
    expect(() => confusionOf([-1], [0], 2)).toThrow('label 0 and prediction -1 at 0')
    expect(() => confusionOf([0], [2], 2)).toThrow(ArgumentError)
  })
})

test('scores of classes and confused pairs, counted by hand', () => {
  const confusion = confusionFrom([
    [6, 2, 0, 0],
    [1, 2, 1, 0],
    [0, 0, 0, 0],
    [4, 0, 0, 0],
  ])
  expect(classScores(confusion)).toEqual([
    { index: 0, count: 8, precision: 6 / 11, recall: 0.75, f1: 12 / 19 },
    { index: 1, count: 4, precision: 0.5, recall: 0.5, f1: 0.5 },
    { index: 2, count: 0, precision: 0, recall: Number.NaN, f1: 0 },
    { index: 3, count: 4, precision: Number.NaN, recall: 0, f1: 0 },
  ])
  expect(confusedPairs(confusion, 3)).toEqual([
    { label: 3, predicted: 0, count: 4, share: 1 },
    { label: 0, predicted: 1, count: 2, share: 0.25 },
    { label: 1, predicted: 0, count: 1, share: 0.25 },
  ])
})

describe('worstExamples', () => {
  const names = ['a', 'b', 'c']

  test('orders by cross-entropy', () => {
    // softmax of [ln 1, ln 2, ln 7] is 0.1, 0.2, 0.7
    const logits = [0, Math.log(2), Math.log(7), 5, 5, 5, 1000, 0, 0]
    const found = worstExamples(['one', 'two', 'three'], [0, 1, 1], logits, names)
    expect(found.map(({ text, label, predicted }) => [text, label, predicted])).toEqual([
      ['three', 'b', 'a'],
      ['one', 'a', 'c'],
      ['two', 'b', 'a'],
    ])
    const expected = [
      [1, 1000],
      [0.7, Math.log(10)],
      [1 / 3, Math.log(3)],
    ]
    for (const [i, [score, loss]] of expected.entries()) {
      expect(found[i].score).toBeCloseTo(score, 12)
      expect(found[i].loss).toBeCloseTo(loss, 12)
    }
    expect(worstExamples(['one', 'two', 'three'], [0, 1, 1], logits, names, 1)).toEqual(found.slice(0, 1))
  })

  test('puts what is not finite first', () => {
    const found = worstExamples(['fine', 'broken'], [0, 0], [1, 0, 0, Number.NaN, 0, 0], names)
    expect(found.map(({ text }) => text)).toEqual(['broken', 'fine'])
  })

  test('refuses logits of another shape', () => {
    expect(() => worstExamples(['a'], [0], [1, 2], names)).toThrow(
      'Expected 1 labels and 3 logits but received 1 and 2',
    )
  })
})

describe('CurveRecorder', () => {
  const record = (count: number, limit: number) => {
    const recorder = new CurveRecorder(limit)
    for (let step = 1; step <= count; step++)
      recorder.add({ step, loss: step, learningRate: 10 * step, gradNorm: -step })
    return recorder.points
  }

  test('keeps every step until it is full', () => {
    expect(record(3, 4).map(({ step, loss }) => [step, loss])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ])
  })

  test.each([
    [4, 4, [2, 4]],
    [5, 4, [2, 4, 5]],
    [9, 4, [4, 8, 9]],
    // an odd limit
    [5, 5, [2, 4, 5]],
    [7, 5, [2, 4, 6, 7]],
  ])('%i steps in %i points end at steps %j', (count, limit, steps) => {
    const points = record(count, limit)
    expect(points.map(({ step }) => step)).toEqual(steps)
    for (const [i, { gradNorm, learningRate, loss, step }] of points.entries()) {
      const first = (steps[i - 1] ?? 0) + 1
      expect([loss, gradNorm, learningRate]).toEqual([(first + step) / 2, -(first + step) / 2, 10 * step])
    }
  })

  test('never exceeds its limit, and its parts are means of neighbours of like number', () => {
    for (const limit of [2, 3, 7, 100])
      for (const count of [1, 50, 1000]) {
        const points = record(count, limit)
        expect(points.length).toBeLessThanOrEqual(limit)
        expect(points.at(-1)?.step).toBe(count)
        for (const [i, { loss, step }] of points.entries())
          expect(loss).toBe(((points[i - 1]?.step ?? 0) + 1 + step) / 2)
      }
    expect(() => new CurveRecorder(1)).toThrow(ArgumentError)
  })
})
