import { describe, expect, test } from 'vitest'
import { type AnswerWindow, bestAnswer } from '../../src/train/answers.ts'
import { references } from './metrics/references.ts'

// [CLS] question [SEP] ab cd ef [SEP]
const context = 'ab cd ef'
const offsets: AnswerWindow['offsets'] = [null, null, null, [0, 2], [3, 5], [6, 8], null]
const window = (startLogits: number[], endLogits: number[]): AnswerWindow => ({ startLogits, endLogits, offsets })

describe('bestAnswer', () => {
  test("is what Transformers' postprocess_qa_predictions gives", () => {
    const cases = references('answer')
    expect(cases.filter(({ answer }) => answer.text === '').length).toBeGreaterThan(2)
    for (const { context, options, answer, windows } of cases) {
      const got = bestAnswer(
        context,
        windows.map(([startLogits, endLogits, offsets]) => ({ startLogits, endLogits, offsets })),
        {
          nBestSize: options.n_best_size,
          maxAnswerLength: options.max_answer_length,
          versionTwoWithNegative: options.version_2,
          nullScoreDiffThreshold: options.threshold,
        },
      )
      expect(got).toEqual({ ...answer, score: expect.closeTo(answer.score, 10) })
    }
  })

  test('keeps 20 of each and answers of 30 tokens, unless told otherwise', () => {
    const words = Array.from({ length: 40 }, (_, i): [number, number] => [2 * i, 2 * i + 1])
    const text = 'x '.repeat(40)
    const at = (...positions: number[]) => words.map((_, i) => (positions.includes(i) ? 9 : -i))
    const answerOf = (start: number, end: number) =>
      bestAnswer(text, [{ startLogits: [0, ...at(start)], endLogits: [0, ...at(end)], offsets: [null, ...words] }])
    expect(answerOf(3, 32)).toMatchObject({ start: 6, end: 65 })
    // one token more is too long: the best pair with one of the two, of which the other is among the best 20
    expect(answerOf(3, 33)).toMatchObject({ start: 6, end: 7 })
    // starts are the best 20 of all: [CLS], position 39, and positions 0 to 17, from which 39 is too far but from 10 on
    expect(answerOf(39, 39)).toMatchObject({ start: 78, end: 79 })
  })

  test('of equals the earlier start, the earlier end and the earlier window win', () => {
    const flat = [0, 0, 0, 0, 0, 0, 0]
    expect(bestAnswer(context, [window(flat, flat)])).toMatchObject({ text: 'ab', start: 0, end: 2 })
    const first = window([0, 0, 0, 0, 5, 0, 0], [0, 0, 0, 0, 5, 0, 0])
    const second = window([0, 0, 0, 0, 0, 5, 0], [0, 0, 0, 0, 0, 5, 0])
    expect(bestAnswer(context, [first, second]).text).toBe('cd')
    expect(bestAnswer(context, [second, first]).text).toBe('ef')
  })

  test('no answer: when it scores more than the best, by more than the threshold, in every window', () => {
    const sure = window([6, 0, 0, 0, 5, 0, 0], [6, 0, 0, 0, 5, 0, 0])
    const unsure = window([4, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0])
    const options = { versionTwoWithNegative: true }
    expect(bestAnswer(context, [sure])).toMatchObject({ text: 'cd' })
    expect(bestAnswer(context, [sure])).not.toHaveProperty('nullScore')
    expect(bestAnswer(context, [sure], options)).toMatchObject({ text: '', start: 0, end: 0, nullScore: 12 })
    expect(bestAnswer(context, [sure], { ...options, nullScoreDiffThreshold: 2 })).toMatchObject({ text: 'cd' })
    expect(bestAnswer(context, [sure], { ...options, nullScoreDiffThreshold: 1.9 })).toMatchObject({ text: '' })
    expect(bestAnswer(context, [sure, unsure], options)).toMatchObject({ text: 'cd', nullScore: 8 })
  })

  test('no answer that is no better than the last of the best is added to them', () => {
    // three spans and no answer, all alike: utils_qa.py drops the last of four and adds it back
    const one = { startLogits: [0, 0, 0], endLogits: [0, 0, 0], offsets: offsets.slice(2, 5) }
    const got = bestAnswer(context, [one], { nBestSize: 3, versionTwoWithNegative: true })
    expect(got).toEqual({ text: 'ab', start: 0, end: 2, score: 0.25, nullScore: 0 })
  })

  test('where no span is allowed there is no answer', () => {
    const logits = [3, 2, 1, 0, 0, 0, 0]
    const options = { nBestSize: 3 }
    expect(bestAnswer(context, [window(logits, logits)], options)).toEqual({ text: '', start: 0, end: 0, score: 0 })
    const negative = { ...options, versionTwoWithNegative: true, nullScoreDiffThreshold: 100 }
    expect(bestAnswer(context, [window(logits, logits)], negative)).toEqual({
      text: '',
      start: 0,
      end: 0,
      score: 1,
      nullScore: 6,
    })
  })

  test('are found among more candidates than a call takes arguments', () => {
    const count = 400
    const spans = Array.from({ length: count }, (_, i): [number, number] => [i, i + 1])
    const logits = Array.from({ length: count }, (_, i) => (i === 7 ? 90 : 0))
    const window = { startLogits: logits, endLogits: logits, offsets: spans }
    const options = { nBestSize: 200_000, maxAnswerLength: 500 }
    const found = bestAnswer('x'.repeat(count), [window, window], options)
    expect(found).toMatchObject({ start: 7, end: 8, score: expect.closeTo(0.5, 10) })
  })

  test('counts UTF-16 units', () => {
    const offsets: AnswerWindow['offsets'] = [null, [0, 2], [3, 5]]
    const got = bestAnswer('😀 𠀀', [{ startLogits: [0, 0, 1], endLogits: [0, 0, 1], offsets }])
    expect(got).toMatchObject({ text: '𠀀', start: 3, end: 5 })
  })
})
