import { describe, expect, test } from 'vitest'
import {
  epochOf,
  painted,
  phaseLine,
  plain,
  summaryOf,
  type TrainingView,
  trainingLines,
} from '../../src/cli/display.ts'

const view: TrainingView = {
  step: 1234,
  maxSteps: 3000,
  epoch: 1.234,
  loss: 0.43125,
  learningRate: 3.21e-5,
  gradNorm: 1.2345,
  tokensPerSecond: 12_345.6,
  secondsLeft: 83,
  evaluation: {
    eval_loss: 0.35123,
    eval_accuracy: 0.91234,
    eval_f1: 0.9,
    eval_runtime: 3,
    eval_samples: 9,
    epoch: 1,
    step: 1000,
  },
}
const rows = (width: number, changes: Partial<TrainingView> = {}) =>
  trainingLines({ ...view, ...changes }, width).map(plain)

describe('the lines of a training run', () => {
  test('at 80 columns', () => {
    expect(rows(79)).toEqual([
      'epoch 2/3  ███████░░░░░░░░░░░░░░░░░░░░░░░   23%  step 1,234/3,000     1:23 left',
      'loss 0.4313  lr 3.21e-5  12,346 tokens/s  grad norm 1.234',
      'last evaluation:  loss 0.3512  accuracy 0.9123  f1 0.9',
    ])
  })

  test('at fewer columns than everything needs', () => {
    expect(rows(60)[0]).toBe('epoch 2/3  ██░░░░░░░░░   23%  step 1,234/3,000     1:23 left')
    expect(rows(50)).toEqual([
      'epoch 2/3   23%  step 1,234/3,000     1:23 left',
      'loss 0.4313  lr 3.21e-5  12,346 tokens/s',
      'last evaluation:  loss 0.3512  accuracy 0.9123',
    ])
    expect(rows(7)).toEqual(['epoch 2', 'loss 0.', 'last ev'])
  })

  test('never exceed the width, at any width and with any numbers', () => {
    const numbers = [0, 1e-9, 0.5, 99_999, 1e9, 1e300, Number.NaN, Number.POSITIVE_INFINITY]
    for (let width = 1; width <= 200; width++)
      for (const n of numbers) {
        const changes = { loss: n, learningRate: n, gradNorm: n, tokensPerSecond: n, secondsLeft: n, epoch: n }
        for (const line of [
          ...rows(width, changes),
          plain(phaseLine({ label: 'tokenising', done: n, total: 5, seconds: 1 }, width)),
        ])
          expect(line.length).toBeLessThanOrEqual(width)
      }
  })

  test('have the bar keep its width while numbers grow', () => {
    const bars = [1, 999, 1000, 3000].map(
      (step) => /[█░]+/.exec(rows(79, { step, epoch: step / 1000, secondsLeft: 4 * step })[0])?.[0].length,
    )
    expect(new Set(bars).size).toBe(1)
  })

  test('are painted without changing what they say', () => {
    for (const line of trainingLines(view, 79)) {
      expect(painted(line)).not.toBe(plain(line))
      // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
      expect(painted(line).replaceAll(/\x1b\[\d+m/g, '')).toBe(plain(line))
    }
  })

  test('show steps alone where nobody knows the length of an epoch', () => {
    expect(rows(79, { epoch: Number.NaN, step: 1500 })[0]).toBe(
      'step 1,500/3,000  ███████████████░░░░░░░░░░░░░░░     1:23 left',
    )
  })
})

describe('epochOf', () => {
  test.each([
    [{ step: 1, maxSteps: 300, epoch: 0.01 }, 1, 3, 0.01],
    [{ step: 100, maxSteps: 300, epoch: 1 }, 1, 3, 1],
    [{ step: 101, maxSteps: 300, epoch: 1.01 }, 2, 3, 0.01],
    [{ step: 300, maxSteps: 300, epoch: 3 }, 3, 3, 1],
    // a run that ends within an epoch: its bar is full at the end
    [{ step: 5, maxSteps: 10, epoch: 0.05 }, 1, 1, 0.5],
    [{ step: 125, maxSteps: 150, epoch: 1.25 }, 2, 2, 0.5],
    [{ step: 150, maxSteps: 150, epoch: 1.5 }, 2, 2, 1],
    // 7/3 * 3 is not 7
    [{ step: 7, maxSteps: 7, epoch: 7 / 3 }, 3, 3, 1],
  ])('%j is epoch %i of %i', (state, current, whole, fraction) => {
    const found = epochOf(state)
    expect([found.current, found.whole]).toEqual([current, whole])
    expect(found.fraction).toBeCloseTo(fraction, 6)
  })
})

describe('phaseLine', () => {
  const phase = (done: number, total?: number, width = 79) =>
    plain(phaseLine({ label: 'tokenising', done, total, seconds: 10 }, width))

  test('with and without a total', () => {
    expect(phase(2500, 10_000)).toBe('tokenising  ███████░░░░░░░░░░░░░░░░░░░░░░░   25%   2,500/10,000     0:30 left')
    expect(phase(1_234_567)).toBe('tokenising  1,234,567')
  })

  test('at its start and where there is nothing to do', () => {
    expect(phase(0, 10)).toMatch(/ 0% {3}0\/10 +-:-- left$/)
    expect(phase(0, 0)).toMatch(/100%/)
  })
})

describe('summaryOf', () => {
  const metrics = {
    eval_loss: 0.35123,
    eval_accuracy: 0.91234,
    eval_f1_macro: 0.87654,
    eval_matthews: 0.81,
    eval_runtime: 2,
  }
  const evaluate = { type: 'evaluate', step: 1000, epoch: 1, metrics, isBest: true } as const

  test('is one line in a file, and breaks between items on a terminal', () => {
    const line = 'epoch 1.00  step 1,000  eval_loss 0.3512  eval_accuracy 0.9123  eval_f1_macro 0.8765'
    expect(summaryOf(evaluate)).toBe(`${line}  eval_matthews 0.81  (best)`)
    expect(summaryOf(evaluate, 85)).toBe(`${line}\n    eval_matthews 0.81  (best)`)
    expect(summaryOf(evaluate, 20)?.split('\n')).toEqual([
      'epoch 1.00',
      '    step 1,000',
      '    eval_loss 0.3512',
      '    eval_accuracy 0.9123',
      '    eval_f1_macro 0.8765',
      '    eval_matthews 0.81',
      '    (best)',
    ])
  })

  test('leaves a path whole', () => {
    const save = { type: 'save', step: 10, epoch: 0.5, checkpoint: 'a folder/checkpoint-10' } as const
    expect(summaryOf(save, 10)).toBe('epoch 0.50  step 10  saved a folder/checkpoint-10')
  })

  test('says nothing of a step', () => {
    const step = {
      type: 'step',
      step: 1,
      maxSteps: 2,
      epoch: 1,
      loss: 1,
      gradNorm: 1,
      learningRate: 1,
      tokens: 1,
      seconds: 1,
    } as const
    expect(summaryOf(step)).toBeUndefined()
  })
})
