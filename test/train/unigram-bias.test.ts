import { expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { AbortedError, ArgumentError } from '../../src/errors.ts'
import { BertForMaskedLM, BertForSequenceClassification } from '../../src/session/models.ts'
import type { Example, StreamedDataset } from '../../src/train/types.ts'
import { initializeUnigramBias } from '../../src/train/unigram-bias.ts'
import { tinyConfig } from '../session/tiny.ts'

const VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'rain', 'fell', 'on', 'the', 'hills']
const tokenizer = BertTokenizer.fromVocab(VOCABULARY)
const data: Example[] = ['the rain fell on the hills', 'on the hills the rain'].map((text) => {
  const { inputIds } = tokenizer.encode(text)
  return { inputIds }
})
const COUNTS = [0, 0, 0, 0, 0, 2, 1, 2, 4, 2]

/** Every epoch in one pass, `passes` epochs in all. */
const streamOf = (passes: number): StreamedDataset => ({
  length: data.length,
  async *examples() {
    for (let pass = 0; pass < passes; pass++) yield* data
  },
})

const newModel = () => new BertForMaskedLM(tinyConfig({ vocabSize: VOCABULARY.length }), { seed: 3 })

test.each([
  ['examples', data, 1],
  ['a stream', streamOf(3), 3],
])('each token of %s is scored by how frequent it is', async (_, examples, times) => {
  using model = newModel()
  await initializeUnigramBias(model, { data: examples }, tokenizer)
  const bias = (await model.stateDict()).get('cls.predictions.bias')!
  const smoothed = COUNTS.map((count) => count * times + 0.5)
  const sum = smoothed.reduce((total, count) => total + count)
  const softmax = [...bias.data].map(Math.exp)
  softmax.forEach((weight, id) => {
    expect(weight / VOCABULARY.length).toBeCloseTo(smoothed[id] / sum, 6)
  })
})

test('the other weights stay as the seed makes them', async () => {
  using model = newModel()
  using other = newModel()
  await initializeUnigramBias(model, { data }, tokenizer)
  const [state, expected] = [await model.stateDict(), await other.stateDict()]
  const differing = [...state].filter(([name, { data }]) =>
    Buffer.compare(bytes(data), bytes(expected.get(name)!.data)),
  )
  expect(differing.map(([name]) => name)).toEqual(['cls.predictions.bias'])
})

const bytes = (values: ArrayLike<number>): Buffer => Buffer.from(Float32Array.from(values).buffer)

test('a model that scores no vocabulary is refused', async () => {
  using model = new BertForSequenceClassification(tinyConfig())
  const refused = initializeUnigramBias(model, { data }, tokenizer)
  await expect(refused).rejects.toThrow(ArgumentError)
  await expect(refused).rejects.toThrow(/cls\.predictions\.bias.*BertForSequenceClassification/)
})

test('it can be stopped while it counts', async () => {
  using model = newModel()
  const signal = AbortSignal.abort()
  const endless = streamOf(Number.POSITIVE_INFINITY)
  await expect(initializeUnigramBias(model, { data: endless }, tokenizer, { signal })).rejects.toThrow(AbortedError)
})
