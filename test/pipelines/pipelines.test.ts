// What pipelines do beside their numbers: shapes of outputs, errors, models that are given, and types.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest'
import * as bertkit from '../../src/index.ts'
import {
  AbortedError,
  ArgumentError,
  BertForSequenceClassification,
  BertModel,
  BertTokenizer,
  ConfigError,
  DisposedError,
  pipeline,
  WeightsError,
} from '../../src/index.ts'
import { writeModels } from './cases.mjs'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-pipelines-'))
const folder = (name: string) => path.join(root, name)
beforeAll(() => writeModels(bertkit, root))
afterAll(() => fs.rmSync(root, { recursive: true }))

const LONG = 'good '.repeat(100)

describe('pipeline()', () => {
  test('gives what Transformers gives for one input and for lists', async () => {
    using classify = await pipeline('sentiment-analysis', folder('classes'))
    const [one] = await classify('good')
    expectTypeOf(one).toEqualTypeOf<bertkit.Classification>()
    expect(Object.keys(one)).toEqual(['label', 'score'])
    expect(await classify({ text: 'good' })).toEqual(one)
    expect(await classify(['good', { text: 'good', textPair: '' }])).toEqual([one, one])
    expect(await classify([])).toEqual([])
    const top = await classify('good', { topK: 2 })
    expectTypeOf(top).toEqualTypeOf<bertkit.Classification[]>()
    expect(top).toHaveLength(2)
    expect(top[0]).toEqual(one)
    expect(await classify(['good'], { topK: 2 })).toEqual([top])
    const all = await classify('good', { topK: null })
    expect(all.map(({ score }) => score)).toEqual(all.map(({ score }) => score).sort((a, b) => b - a))
    expect(all.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 6)
  })

  test('takes options of the task as the defaults of its calls', async () => {
    using classify = await pipeline('text-classification', folder('classes'), { topK: 2, threads: 1, batchSize: 3 })
    const given = await classify('good')
    expectTypeOf(given).toEqualTypeOf<bertkit.Classification[][]>()
    // a list around, as Transformers has it: topK was not in the call
    expect(given).toEqual([await classify('good', { topK: 2 })])
    using find = await pipeline('ner', folder('tokens'), { aggregationStrategy: 'simple' })
    const groups = await find('Anna was in London')
    expectTypeOf(groups).toEqualTypeOf<bertkit.EntityGroup[]>()
    expect(groups.length).toBeGreaterThan(0)
    for (const group of groups) expect(Object.keys(group)).toEqual(['entityGroup', 'score', 'word', 'start', 'end'])
    const tokens = await find(['Anna was in London'], { aggregationStrategy: 'none' })
    expectTypeOf(tokens).toEqualTypeOf<bertkit.TokenEntity[][]>()
    expect(Object.keys(tokens[0][0])).toEqual(['entity', 'score', 'index', 'word', 'start', 'end'])
    expect(find.task).toBe('token-classification')
  })

  test('takes a list of words as a list with one input', async () => {
    using find = await pipeline('token-classification', folder('tokens'))
    const words = ['Anna', 'was', 'in', 'London']
    const one = await find(words, { isSplitIntoWords: true })
    expect(one).toHaveLength(1)
    expect(await find([words, words], { isSplitIntoWords: true })).toEqual([one[0], one[0]])
    async function* source() {
      yield words
    }
    for await (const found of find(source(), { isSplitIntoWords: true })) expect(found).toEqual(one[0])
    await expect(find('Anna', { isSplitIntoWords: true })).rejects.toThrow(
      'The input: Expected a list of words but received a string',
    )
    await expect(find([words])).rejects.toThrow('inputs[0]: Expected a text (with isSplitIntoWords a list of words)')
  })

  test('counts offsets in the unit that is asked for', async () => {
    using find = await pipeline('token-classification', folder('tokens'), { ignoreLabels: [] })
    using answer = await pipeline('question-answering', folder('answers'))
    const text = '😀 Anna 𠀀 was 👩‍👩‍👧 in London'
    const units = await find(text)
    const points = await find(text, { offsetUnit: 'codepoint' })
    expect(units.map(({ start, end }) => text.slice(start, end))).toEqual(
      points.map(({ start, end }) => [...text].slice(start, end).join('')),
    )
    expect(units.at(-1)?.end).toBe(text.length)
    expect(points.at(-1)?.end).toBe([...text].length)
    const answers = await answer({ question: 'who?', context: text }, { topK: 20 })
    expectTypeOf(answers).toEqualTypeOf<bertkit.Answer[]>()
    for (const { start, end, answer } of answers) expect(text.slice(start, end)).toBe(answer)
    const codePoints = await answer({ question: 'who?', context: text }, { topK: 20, offsetUnit: 'codepoint' })
    expect(codePoints.map(({ start, end }) => [...text].slice(start, end).join(''))).toEqual(
      answers.map(({ answer }) => answer),
    )
    expect(codePoints).not.toEqual(answers)
  })

  test('answers with nothing where a context has no token', async () => {
    using answer = await pipeline('question-answering', folder('answers'))
    expect(await answer({ question: 'who?', context: ' ' })).toEqual({ score: 0, start: 0, end: 0, answer: '' })
    expect(await answer([{ question: 'who?', context: ' ' }], { topK: 3 })).toEqual([[]])
  })

  test('fills what a target stands for', async () => {
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    const [best] = await fill('[MASK] film', { targets: 'watering' })
    expect(best).toMatchObject({ tokenStr: 'water', sequence: 'water film' })
    await expect(fill('[MASK]', { targets: [] })).rejects.toThrow('Expected targets to be one or more words')
    await expect(fill(['[MASK]', 'film'])).rejects.toThrow('inputs[1]: Expected a text with [MASK] but it has none')
  })
})

describe('a model that is given', () => {
  test('stays its owner’s, in its mode, and is run without dropout', async () => {
    const tokenizer = await BertTokenizer.fromPretrained(folder('classes'))
    using model = await BertForSequenceClassification.fromPretrained(folder('classes'))
    using loaded = await pipeline('text-classification', folder('classes'))
    model.train()
    const classify = await pipeline('text-classification', model, { tokenizer })
    expect(classify.model).toBe(model)
    expect(await classify('good')).toEqual(await loaded('good'))
    expect(model.training).toBe(true)
    classify.dispose()
    expect(await classify('good')).toEqual(await loaded('good'))
  })

  test('needs a tokenizer', async () => {
    using model = await BertForSequenceClassification.fromPretrained(folder('classes'))
    await expect(pipeline('text-classification', model)).rejects.toThrow(
      new ArgumentError('Expected the option tokenizer beside a model that is loaded'),
    )
    const classify = await pipeline('text-classification', model, { tokenizer: folder('classes') })
    expect(classify.tokenizer.modelMaxLength).toBe(64)
  })

  test('has the class of the task', async () => {
    using model = await BertModel.fromPretrained(folder('features'))
    // @ts-expect-error
    await expect(pipeline('fill-mask', model, { tokenizer: folder('features') })).rejects.toThrow(
      new ArgumentError('Expected a folder, a Hub id or a BertForMaskedLM for fill-mask but received a BertModel'),
    )
  })
})

describe('errors', () => {
  const refused = async (opened: Promise<unknown>) => {
    const error: unknown = await opened.catch((reason) => reason)
    return error instanceof bertkit.BertkitError ? [error.name, error.message] : error
  }

  test('there is no default model', async () => {
    expect(await refused(pipeline('fill-mask'))).toEqual([
      'ArgumentError',
      'Expected a model for fill-mask but received none: there is no default model',
    ])
  })

  test('a task that there is not', async () => {
    // @ts-expect-error
    const [name, message] = (await refused(pipeline('translation', root))) as string[]
    expect(name).toBe('ArgumentError')
    expect(message).toMatch(/^Expected a task of fill-mask, .* but received "translation"$/)
  })

  test('a folder without the weights of the head', async () => {
    const opened = pipeline('text-classification', folder('masked-lm'))
    await expect(opened).rejects.toThrow(WeightsError)
    await expect(opened).rejects.toThrow(
      `${folder('masked-lm')}: expected a model for text-classification, BertForSequenceClassification, but it has no `,
    )
    await expect(pipeline('question-answering', folder('features'))).rejects.toThrow(/it has no qa_outputs\.weight/)
  })

  test('a folder whose head has the same weights but another meaning', async () => {
    const opened = pipeline('token-classification', folder('classes'))
    await expect(opened).rejects.toThrow(ConfigError)
    await expect(opened).rejects.toThrow(/but its config says that it is a BertForSequenceClassification$/)
  })

  test('a model without a pooler extracts features, which need none', async () => {
    using extract = await pipeline('feature-extraction', folder('masked-lm'))
    expect((await extract('good film')).shape).toEqual([1, 4, 32])
  })

  test('options that there are not, or that hold something else', async () => {
    using classify = await pipeline('text-classification', folder('classes'))
    // @ts-expect-error
    await expect(classify('good', { topk: 2 })).rejects.toThrow(/no option 'topk'; there are .*topK/)
    // @ts-expect-error
    await expect(classify('good', { topK: 'all' })).rejects.toThrow('expected topK to be an integer of at least 1')
    await expect(classify('good', { batchSize: 0 })).rejects.toThrow(
      'expected batchSize to be an integer of at least 1 but received 0',
    )
    await expect(classify('good', { maxLength: 65 })).rejects.toThrow('Expected maxLength to be at most 64')
    // @ts-expect-error
    await expect(pipeline('ner', folder('tokens'), { topK: 1 })).rejects.toThrow("there is no option 'topK'")
    // @ts-expect-error
    expect(() => classify(new Set(['good']), { topk: 2 })).toThrow("there is no option 'topk'")
  })

  test('a text that is longer than the model takes', async () => {
    using classify = await pipeline('text-classification', folder('classes'))
    const tooLong = 'inputs[1]: Expected at most 64 tokens but received 102; truncation: true cuts them'
    await expect(classify(['good', LONG])).rejects.toThrow(new ArgumentError(tooLong))
    expect(await classify(['good', LONG], { truncation: true })).toHaveLength(2)
    using fill = await pipeline('fill-mask', folder('masked-lm'))
    await expect(fill(`[MASK] ${LONG}`)).rejects.toThrow('The input: Expected at most 64 tokens but received 103')
    using extract = await pipeline('feature-extraction', folder('features'))
    async function* source() {
      yield 'good'
      yield LONG
    }
    const outputs = extract(source())
    expect((await outputs.next()).value.shape).toEqual([1, 3, 16])
    await expect(outputs.next()).rejects.toThrow('input 1: Expected at most 64 tokens')
  })

  test('inputs that are no texts', async () => {
    using classify = await pipeline('text-classification', folder('classes'))
    // @ts-expect-error
    await expect(classify([['a', 'b']])).rejects.toThrow('inputs[0]: Expected { text } but received a list')
    // @ts-expect-error
    await expect(classify(['a', 3])).rejects.toThrow('inputs[1]: Expected { text } but received a number')
    using answer = await pipeline('question-answering', folder('answers'))
    // @ts-expect-error
    await expect(answer({ question: 'who?' })).rejects.toThrow('Expected context to be a text but received nothing')
    await expect(answer({ question: '', context: 'x' })).rejects.toThrow('Expected a question but received an empty')
    using compare = await pipeline('sentence-similarity', folder('sentences'))
    // @ts-expect-error
    await expect(compare({ sourceSentence: 'a', sentences: 'b' })).rejects.toThrow('Expected sentences to be a list')
  })

  test('options that do not go together', async () => {
    using find = await pipeline('ner', folder('tokens'))
    await expect(find('good', { stride: 3 })).rejects.toThrow('Expected an aggregationStrategy other than none')
    await expect(find('good', { stride: 62, aggregationStrategy: 'max' })).rejects.toThrow('Expected stride below 62')
    using choose = await pipeline('zero-shot-classification', folder('inference'))
    await expect(choose('good')).rejects.toThrow('Expected candidateLabels to be one or more labels')
    await expect(choose('good', { candidateLabels: ' ,' })).rejects.toThrow('one or more labels but received " ,"')
    await expect(choose('good', { candidateLabels: 'a', hypothesisTemplate: 'no place' })).rejects.toThrow(
      'expected hypothesisTemplate to be a text with one {}',
    )
    await expect(choose('', { candidateLabels: 'a' })).rejects.toThrow('Expected a text but received an empty one')
    using answer = await pipeline('question-answering', folder('answers'))
    const input = { question: 'who is it?', context: LONG }
    await expect(answer(input, { maxSeqLen: 65 })).rejects.toThrow('Expected maxSeqLen to be at most 64')
    await expect(answer(input, { maxSeqLen: 20, docStride: 15 })).rejects.toThrow('The input: Expected docStride below')
  })

  test('a signal stops a call, and what was disposed stays so', async () => {
    const classify = await pipeline('text-classification', folder('classes'))
    await expect(classify('good', { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError)
    const controller = new AbortController()
    const outputs = classify(new Set(['good', 'bad']), { signal: controller.signal, batchSize: 1 })
    await outputs.next()
    controller.abort()
    await expect(outputs.next()).rejects.toThrow(AbortedError)
    classify.dispose()
    await expect(classify('good')).rejects.toThrow(DisposedError)
  })
})
