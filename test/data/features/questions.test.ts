import { describe, expect, test } from 'vitest'
import { encodeQuestion, type QuestionWindow } from '../../../src/data/features/questions.ts'
import { ArgumentError } from '../../../src/errors.ts'
import { reference, tokenizer, tokensOf } from './reference.ts'

/** UTF-16 units of the first `count` code points of `text`. */
const units = (text: string, count: number) => [...text].slice(0, count).join('').length

/** What the tokens of the answer cover. */
function answerIn(context: string, { inputs, offsets }: QuestionWindow): string {
  const start = offsets[inputs.startPositions ?? 0]
  const end = offsets[inputs.endPositions ?? 0]
  return start && end ? context.slice(start[0], end[1]) : ''
}

describe('encodeQuestion', () => {
  test.each(reference.questions)('is as run_qa.py: $question in windows of $max_length', (want) => {
    const { question, context, answer, answer_start: start } = want
    const answers = answer === null || start === null ? [] : [{ text: answer, answerStart: units(context, start) }]
    const options = { maxLength: want.max_length, docStride: want.stride }
    const windows = encodeQuestion({ question, context, answers }, 3, tokenizer, options)
    expect(windows.map((window) => window.inputs)).toEqual(
      want.windows.map(({ input_ids: inputIds, first_type: first, start, end }) => ({
        inputIds,
        tokenTypeIds: inputIds.map((_, i) => (i < first ? 0 : 1)),
        startPositions: start,
        endPositions: end,
      })),
    )
    windows.forEach(({ inputs, offsets, example }, i) => {
      expect(example).toBe(3)
      expect(offsets.length).toBe(inputs.inputIds.length)
      const inContext = offsets.flatMap((offset) => offset ?? [])
      expect(inContext).toEqual(want.windows[i].offsets.map((count) => units(context, count)))
    })
  })

  test('the reference has answers inside, outside and at the end of windows', () => {
    const windows = reference.questions.flatMap((each) => (each.answer === null ? [] : each.windows))
    expect(windows.filter(({ start }) => start === 0).length).toBeGreaterThan(20)
    expect(windows.filter(({ start }) => start > 0).length).toBeGreaterThan(20)
    expect(windows.filter(({ corrected }) => corrected).length).toBeGreaterThan(3)
  })

  test('finds answers behind characters of two units', () => {
    const context = '\u{1f600}\u{1f600} The museum holds \u{1f30a} fish .'
    const answers = [{ text: 'fish', answerStart: context.indexOf('fish') }]
    const [window] = encodeQuestion({ question: 'What ?', context, answers }, 0, tokenizer, {
      maxLength: 32,
      docStride: 8,
    })
    expect(answerIn(context, window)).toBe('fish')
  })

  test('takes an empty context', () => {
    const [{ inputs, offsets }, ...others] = encodeQuestion({ question: 'a', context: '', answers: [] }, 0, tokenizer, {
      maxLength: 8,
      docStride: 2,
    })
    expect(others).toEqual([])
    expect(tokensOf(inputs.inputIds)).toEqual(['[CLS]', 'a', '[SEP]', '[SEP]'])
    expect(offsets).toEqual([null, null, null, null])
    expect(inputs).toMatchObject({ startPositions: 0, endPositions: 0 })
  })

  test('has no labels where none were asked for', () => {
    const [{ inputs }] = encodeQuestion({ question: 'a', context: 'e' }, 0, tokenizer, { maxLength: 8, docStride: 2 })
    expect(Object.keys(inputs)).toEqual(['inputIds', 'tokenTypeIds'])
  })

  test.each([
    ['', 0],
    ['museum', 500],
  ])('takes the answer %j at %i for none', (text, answerStart) => {
    const example = { question: 'a', context: 'The museum', answers: [{ text, answerStart }] }
    const [{ inputs }] = encodeQuestion(example, 0, tokenizer, { maxLength: 16, docStride: 2 })
    expect([inputs.startPositions, inputs.endPositions]).toEqual([0, 0])
  })

  test.each([
    // no room for the context; room but no progress; as much stride as there is room
    { maxLength: 16, docStride: 4, length: 40 },
    { maxLength: 16, docStride: 12, length: 5 },
    { maxLength: 64, docStride: 128, length: 10 },
    { maxLength: 5, docStride: 0, length: 3 },
    { maxLength: 6, docStride: 500, length: 500 },
    { maxLength: 384, docStride: 128, length: 300 },
  ])('cuts a question of $length tokens for windows of $maxLength with stride $docStride', (given) => {
    const question = 'a '.repeat(given.length)
    const context = 'The museum holds fish and fog. '.repeat(30)
    const answers = [{ text: 'fish', answerStart: context.lastIndexOf('fish') }]
    const windows = encodeQuestion({ question, context, answers }, 0, tokenizer, given)
    const a = reference.vocabulary.indexOf('a')
    const seen = new Set<number>()
    for (const { inputs, offsets } of windows) {
      expect(inputs.inputIds.length).toBeLessThanOrEqual(given.maxLength)
      expect(inputs.inputIds.indexOf(a)).toBe(1)
      expect(inputs.inputIds.lastIndexOf(a)).toBeLessThanOrEqual(64)
      for (const offset of offsets) if (offset !== null) seen.add(offset[0])
    }
    // all of the context is in some window
    expect(seen.size).toBe(tokenizer.tokenize(context).length)
    expect(windows.map((window) => answerIn(context, window))).toContain('fish')
  })

  test.each([
    [384, 20, 20, 128],
    [384, 125, 125, 128],
    // half of what the question leaves
    [384, 200, 200, 90],
    [128, 20, 20, 52],
    [64, 40, 40, 10],
    // what it leaves is less than a quarter: it is cut
    [64, 50, 30, 15],
    [5, 1, 1, 0],
  ])(
    'by default windows of %i with a question of %i tokens keep %i, and share %i',
    (maxLength, length, kept, shared) => {
      const context = 'a '.repeat(1000)
      const [first, second] = encodeQuestion({ question: 'e '.repeat(length), context }, 0, tokenizer, { maxLength })
      expect(first.offsets.findIndex((offset) => offset !== null) - 2).toBe(kept)
      const end = Math.max(...first.offsets.map((offset) => offset?.[1] ?? 0))
      expect(second.offsets.filter((offset) => offset !== null && offset[0] < end).length).toBe(shared)
    },
  )

  test('keeps a long question whole where the context is short', () => {
    const question = 'a '.repeat(70)
    const [window, ...others] = encodeQuestion({ question, context: 'The museum' }, 0, tokenizer, {
      maxLength: 80,
      docStride: 40,
    })
    expect(others).toEqual([])
    expect(tokensOf(window.inputs.inputIds).filter((token) => token === 'a').length).toBe(70)
  })

  test.each([
    [{ maxLength: 4, docStride: 0 }, 'Expected maxLength to be an integer of at least 5 but received 4'],
    [{ maxLength: 8, docStride: -1 }, 'Expected docStride to be an integer of at least 0 but received -1'],
    [
      { maxLength: 8, docStride: 1, maxQuestionLength: 0 },
      'Expected maxQuestionLength to be an integer of at least 1 but received 0',
    ],
  ])('refuses %j', (options, message) => {
    expect(() => encodeQuestion({ question: 'a', context: 'e' }, 0, tokenizer, options)).toThrow(
      new ArgumentError(message),
    )
  })
})
