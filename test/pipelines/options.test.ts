// Options: what those of Transformers mean when they stand alone, and which are refused instead of ignored.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import * as bertkit from '../../src/index.ts'
import { ArgumentError, BertModel, BertTokenizer, pipeline } from '../../src/index.ts'
import { writeModels } from './cases.mjs'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-options-'))
const folder = (name: string) => path.join(root, name)
beforeAll(() => writeModels(bertkit, root))
afterAll(() => fs.rmSync(root, { recursive: true }))

const LONG = 'good film '.repeat(50)

describe('maxLength without truncation cuts, as in Transformers', () => {
  test('in text-classification', async () => {
    using classify = await pipeline('text-classification', folder('classes'))
    const cut = await classify([LONG], { maxLength: 8 })
    expect(cut).toEqual(await classify([LONG], { maxLength: 8, truncation: true }))
    expect(cut).toEqual(await classify(['good film '.repeat(3)]))
    const whole = await classify(['good film '.repeat(4)], { maxLength: 8, truncation: false })
    expect(whole).toEqual(await classify(['good film '.repeat(4)]))
    expect(whole).not.toEqual(cut)
  })

  test('in fill-mask', async () => {
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    const [best] = (await fill(`[MASK] ${LONG}`, { tokenizerKwargs: { maxLength: 5 } })) as bertkit.FilledMask[]
    expect(best.sequence).toBe(`${best.tokenStr} good film`)
  })

  test('in feature-extraction, with pooling and without', async () => {
    using extract = await pipeline('feature-extraction', folder('sentences'))
    expect((await extract(LONG, { tokenizeKwargs: { maxLength: 5 } })).shape).toEqual([1, 5, 32])
    const pooled = await extract(LONG, { pooling: 'lasttoken', tokenizeKwargs: { maxLength: 5 } })
    expect(pooled).toEqual(await extract('good film good', { pooling: 'lasttoken' }))
  })
})

test('an option inside an option is as good as absent where it is undefined', async () => {
  using extract = await pipeline('feature-extraction', folder('sentences'))
  const nothing = { maxLength: undefined, truncation: undefined }
  expect((await extract('good film', { tokenizeKwargs: nothing })).shape).toEqual([1, 4, 32])
  // cut, as without the option
  expect((await extract(LONG, { pooling: 'mean', tokenizeKwargs: nothing })).shape).toEqual([1, 32])
  await expect(extract(LONG, { tokenizeKwargs: nothing })).rejects.toThrow('Expected at most 64 tokens')
  using fill = await pipeline('fill-mask', folder('masked-lm'))
  expect(await fill('[MASK]', { tokenizerKwargs: nothing })).toHaveLength(5)
  await expect(fill('[MASK]', { tokenizerKwargs: { padding: undefined } as object })).rejects.toThrow(
    'expected tokenizerKwargs to be an object with truncation or maxLength',
  )
})

describe('beside a model that is loaded', () => {
  test('options of how a model is run are refused', async () => {
    using model = await BertModel.fromPretrained(folder('sentences'))
    const tokenizer = await BertTokenizer.fromPretrained(folder('sentences'))
    for (const option of [{ backend: 'cuda' }, { dtype: 'int8' }, { threads: 1 }, { wasm: {} }] as const) {
      const [name] = Object.keys(option)
      const message = `Expected no ${name} for feature-extraction beside a model that is loaded`
      for (const given of [tokenizer, folder('sentences')]) {
        const opened = pipeline('feature-extraction', model, { tokenizer: given, ...option })
        await expect(opened).rejects.toThrow(message)
        await expect(opened).rejects.toThrow(ArgumentError)
      }
    }
    await pipeline('feature-extraction', model, { tokenizer, dtype: undefined, revision: undefined, batchSize: 2 })
  })

  test('options of how files are had are for its tokenizer', async () => {
    using model = await BertModel.fromPretrained(folder('sentences'))
    const tokenizer = await BertTokenizer.fromPretrained(folder('sentences'))
    await pipeline('feature-extraction', model, { tokenizer: folder('sentences'), localFilesOnly: true })
    await expect(
      pipeline('feature-extraction', model, { tokenizer, revision: 'v2', localFilesOnly: true }),
    ).rejects.toThrow('Expected no revision, localFilesOnly for feature-extraction beside a model that is loaded')
    using _ = await pipeline('feature-extraction', folder('sentences'), { tokenizer, localFilesOnly: true, threads: 1 })
  })
})

describe('zero-shot-classification', () => {
  test('has no advice about options that it has not', async () => {
    using choose = await pipeline('zero-shot-classification', folder('inference'))
    const candidateLabels = ['good', 'bad '.repeat(70)]
    const error: unknown = await choose('a film', { candidateLabels }).catch((reason) => reason)
    expect(error).toBeInstanceOf(ArgumentError)
    expect(String(error)).toMatch(
      /The input: Expected at most 64 tokens but received \d+: the hypothesis "This example /,
    )
    expect(String(error)).not.toContain('truncation')
  })

  test('warns once of a model that has no entailment', async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    try {
      using known = await pipeline('zero-shot-classification', folder('inference'))
      await known('a film', { candidateLabels: ['good', 'bad'] })
      expect(warn).not.toHaveBeenCalled()
      using choose = await pipeline('zero-shot-classification', folder('classes'))
      for (const text of ['a film', 'a good film']) await choose(text, { candidateLabels: ['good', 'bad'] })
      expect(warn).toHaveBeenCalledOnce()
      expect(warn.mock.lastCall?.[0]).toMatch(
        /takes the last of the model's labels, "__proto__", for entailment, because none of \["bad","good","so so",/,
      )
    } finally {
      warn.mockRestore()
    }
  })

  test('takes a template with one place for the label', async () => {
    using choose = await pipeline('zero-shot-classification', folder('inference'))
    for (const hypothesisTemplate of ['a {} or {}', '{}{}', 'none'])
      await expect(choose('a film', { candidateLabels: 'good', hypothesisTemplate })).rejects.toThrow(
        `expected hypothesisTemplate to be a text with one {}, the place of the label, but received "${hypothesisTemplate}"`,
      )
    // what a label has is no place
    const odd = await choose('a film', { candidateLabels: ['$& {}'], hypothesisTemplate: '{} film' })
    expect(odd.labels).toEqual(['$& {}'])
  })
})

describe('question-answering', () => {
  const question = 'who is it '.repeat(25)
  const context = 'anna was in london. '.repeat(20)

  test('has defaults that fit a short window and a long question', async () => {
    using answer = await pipeline('question-answering', folder('answers'))
    // 61 tokens for both: half of them, and windows that share half of the rest
    expect(await answer({ question, context })).toEqual(
      await answer({ question, context }, { maxQuestionLen: 30, docStride: 15 }),
    )
    // 40 of 61: a stride of 32, half of the window, would leave no progress
    const short = 'film '.repeat(40)
    expect(await answer({ question: short, context })).toEqual(
      await answer({ question: short, context }, { docStride: 10 }),
    )
  })

  test('keeps to what the caller gave, or says that it cannot be', async () => {
    using answer = await pipeline('question-answering', folder('answers'))
    await expect(answer({ question, context }, { maxQuestionLen: 40, docStride: 21 })).rejects.toThrow(
      'Expected docStride below 21, the tokens that the question leaves to a window, but received 21',
    )
    await expect(answer({ question, context }, { maxQuestionLen: 61 })).rejects.toThrow(
      'Expected maxSeqLen to leave room beside 61 tokens of the question and 3 special ones but received 64',
    )
    await expect(answer({ question, context }, { docStride: 61 })).rejects.toThrow(
      'Expected docStride below 61, maxSeqLen less 3 special tokens, but received 61',
    )
    await expect(answer({ question, context }, { maxSeqLen: 4 })).rejects.toThrow('Expected maxSeqLen to leave room')
    expect(await answer({ question, context }, { maxSeqLen: 5 })).toHaveProperty('answer')
  })
})

test('a delimiter is for words', async () => {
  using find = await pipeline('ner', folder('tokens'), { ignoreLabels: [] })
  const refused = 'Expected isSplitIntoWords beside delimiter'
  await expect(find('anna', { delimiter: '-' })).rejects.toThrow(refused)
  const words = { isSplitIntoWords: true, delimiter: '-' }
  const [[, second]] = await find(['anna', 'was'], words)
  expect([second.start, second.end]).toEqual([5, 8])
  // a call may leave the words of a pipeline's options
  using ofWords = await pipeline('ner', folder('tokens'), words)
  expect(await ofWords('anna', { isSplitIntoWords: false, ignoreLabels: [] })).toHaveLength(1)
})
