// transformers.js loads an exported folder without options and says what bertkit's model says.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { env, pipeline } from '@huggingface/transformers'
import { afterAll, describe, expect, test } from 'vitest'
import { BertTokenizer, type Encoding } from '../../src/data/tokenizer/tokenizer.ts'
import type { Architecture } from '../../src/export/onnx/architectures.ts'
import { exportOnnx } from '../../src/export/onnx.ts'
import type { BertConfigFields } from '../../src/model/config.ts'
import type { Tensor } from '../../src/tensor.ts'
import { type Batch, classOf, type Outputs, ownOutputs, runOnnx, smallConfig, writeFolder } from './folders.ts'

const scratch = mkdtempSync(path.join(tmpdir(), 'bertkit-transformers-js-'))
afterAll(() => rmSync(scratch, { recursive: true }))
env.allowRemoteModels = false
env.allowLocalModels = true
env.localModelPath = scratch

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const WORDS = [
  'red',
  'green',
  'blue',
  'car',
  'house',
  'sky',
  'apple',
  'is',
  'the',
  'a',
  '##s',
  '##ish',
  'what',
  '.',
  '?',
]
const tokenizer = BertTokenizer.fromVocab([...SPECIAL, ...WORDS], { doLowerCase: true })
const TEXT = 'The greenish house is a car.'

/** Exports a random model of a class as `<name>/output`, and gives back how bertkit's model answers a text. */
async function prepare(
  name: string,
  architecture: Architecture,
  fields: Partial<BertConfigFields> = {},
  threshold?: number,
) {
  const folder = path.join(scratch, name)
  const output = path.join(folder, 'output')
  await writeFolder(folder, architecture, smallConfig({ vocabSize: SPECIAL.length + WORDS.length, ...fields }), 11)
  await tokenizer.savePretrained(folder)
  const { files } = await exportOnnx(folder, output, { externalDataThreshold: threshold })
  expect(files).toEqual(expect.arrayContaining(['tokenizer.json', 'tokenizer_config.json', 'vocab.txt']))
  return async ({ inputIds, tokenTypeIds }: Encoding): Promise<Outputs> => {
    const row = (data: ArrayLike<number>) => ({ data: Int32Array.from(data), shape: [1, data.length] })
    const batch: Batch = {
      inputIds: row(inputIds),
      attentionMask: row(inputIds.map(() => 1)),
      tokenTypeIds: row(tokenTypeIds),
    }
    const Class = classOf(architecture)
    // without a class of bertkit's own, this checks folder, tokenizer and pipeline, and onnx.test.ts the numbers
    if (Class === undefined) return runOnnx(output, batch)
    const model = await Class.fromPretrained(folder)
    try {
      return await ownOutputs(model, batch)
    } finally {
      model.dispose()
    }
  }
}

function softmax(logits: ArrayLike<number>): number[] {
  const largest = Math.max(...Array.from(logits))
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / sum)
}

/** Row `i` of a [1, rows, width] tensor. */
const rowOf = ({ data, shape }: Tensor, i: number): Float32Array => data.subarray(i * shape[2], (i + 1) * shape[2])

const argMax = (values: readonly number[]): number => values.indexOf(Math.max(...values))

/** Expects the same text and other fields, and scores within 1e-5. */
function expectSame<Item extends { score: number }>(found: unknown, expected: readonly Item[]): void {
  const items = (Array.isArray(found) ? found.flat() : [found]) as { score: number }[]
  const plain = (list: readonly { score: number }[]) => list.map(({ score: _, ...rest }) => rest)
  expect(plain(items)).toEqual(plain(expected))
  for (const [i, { score }] of expected.entries()) expect(Math.abs(items[i].score - score)).toBeLessThan(1e-5)
}

describe.each([
  ['everything in one file', undefined],
  ['external data', 0],
])('%s', (kind, threshold) => {
  const nameOf = (task: string) => `${task}-${kind.replaceAll(' ', '-')}`

  test('text-classification', async () => {
    const labels = { id2label: { 0: 'cold', 1: 'mild', 2: 'warm' } }
    const name = nameOf('text-classification')
    const forward = await prepare(name, 'BertForSequenceClassification', { numLabels: 3, ...labels }, threshold)
    const scores = softmax((await forward(tokenizer.encode(TEXT))).logits.data)
    const expected = scores.map((score, i) => ({ label: ['cold', 'mild', 'warm'][i], score }))
    const classify = await pipeline('text-classification', `${name}/output`)
    expectSame(
      await classify(TEXT, { top_k: null as unknown as number }),
      expected.sort((a, b) => b.score - a.score),
    )
    await classify.dispose()
  })

  test('feature-extraction', async () => {
    const name = nameOf('feature-extraction')
    const forward = await prepare(name, 'BertModel', {}, threshold)
    const { last_hidden_state: expected } = await forward(tokenizer.encode(TEXT))
    const extract = await pipeline('feature-extraction', `${name}/output`)
    const found = await extract(TEXT)
    expect(found.dims).toEqual(expected.shape)
    for (const [i, value] of expected.data.entries()) expect(Math.abs(Number(found.data[i]) - value)).toBeLessThan(1e-5)
    await extract.dispose()
  })

  test('fill-mask', async () => {
    const name = nameOf('fill-mask')
    const text = 'the [MASK] is red'
    const encoding = tokenizer.encode(text)
    const forward = await prepare(name, 'BertForMaskedLM', {}, threshold)
    const scores = softmax(rowOf((await forward(encoding)).logits, encoding.inputIds.indexOf(tokenizer.maskTokenId)))
    const best = scores.map((score, token) => ({ score, token })).sort((a, b) => b.score - a.score)
    const fill = await pipeline('fill-mask', `${name}/output`)
    const found = (await fill(text)) as { score: number; token: number; token_str: string }[]
    expectSame(
      found.map(({ score, token, token_str }) => ({ score, token, token_str })),
      best.slice(0, 5).map(({ score, token }) => ({ score, token, token_str: tokenizer.decode([token]) })),
    )
    await fill.dispose()
  })

  test('token-classification', async () => {
    const name = nameOf('token-classification')
    const encoding = tokenizer.encode(TEXT)
    const forward = await prepare(name, 'BertForTokenClassification', { numLabels: 4 }, threshold)
    const { logits } = await forward(encoding)
    const expected = encoding.inputIds.flatMap((id, index) => {
      const scores = softmax(rowOf(logits, index))
      const label = argMax(scores)
      const word = tokenizer.decode([id], { skipSpecialTokens: true })
      return word === '' ? [] : [{ entity: `LABEL_${label}`, score: scores[label], index, word }]
    })
    expect(expected.length).toBeGreaterThan(6)
    const tag = await pipeline('token-classification', `${name}/output`)
    expectSame(await tag(TEXT), expected)
    await tag.dispose()
  })

  test('question-answering', async () => {
    const name = nameOf('question-answering')
    const [question, context] = ['what is red?', 'the house is a red car. the sky is blue.']
    const encoding = tokenizer.encode(question, context)
    const forward = await prepare(name, 'BertForQuestionAnswering', {}, threshold)
    const outputs = await forward(encoding)
    // only tokens of the context, and [CLS] in the denominator
    const last = encoding.inputIds.length - 1
    const inContext = (i: number) => encoding.tokenTypeIds[i] === 1 && i !== last
    const probabilities = ({ data }: Tensor) =>
      softmax(Array.from(data, (logit, i) => (i === 0 || inContext(i) ? logit : Number.NEGATIVE_INFINITY)))
    const [starts, ends] = [probabilities(outputs.start_logits), probabilities(outputs.end_logits)]
    let best = { score: -1, start: 0, end: 0 }
    for (let start = 1; start < last; start++)
      for (let end = start; end < last; end++)
        if (starts[start] * ends[end] > best.score) best = { score: starts[start] * ends[end], start, end }
    const answer = tokenizer.decode(encoding.inputIds.slice(best.start, best.end + 1), { skipSpecialTokens: true })
    const ask = await pipeline('question-answering', `${name}/output`)
    expectSame(await ask(question, context), [{ answer, score: best.score }])
    await ask.dispose()
  })
})

const reference = process.env.BERTKIT_REFERENCE_DIR
const because = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

test.skipIf(because)(`a real checkpoint has the sentence embeddings of PyTorch${because}`, async () => {
  const weights = path.join(reference!, 'data', 'weights', 'all-MiniLM-L6-v2')
  await exportOnnx(weights, path.join(scratch, 'minilm'))
  const file = path.join(reference!, 'golden', 'minilm', 'embeddings.json')
  const stored: { sentences: string[]; input_ids: number[][]; embeddings: number[][] } = JSON.parse(
    readFileSync(file, 'utf8'),
  )
  // the reference cut its longest sentence at 256 tokens
  const cut = stored.input_ids.findIndex((ids) => ids.length === 256)
  const whole = <Item>(items: readonly Item[]): Item[] => items.filter((_, i) => i !== cut)
  const [sentences, embeddings] = [whole(stored.sentences), whole(stored.embeddings)]
  const extract = await pipeline('feature-extraction', 'minilm')
  const found = (await extract(sentences, { pooling: 'mean', normalize: true })).tolist() as number[][]
  expect(found.length).toBe(9)
  const errors = embeddings.map((row, i) => Math.max(...row.map((value, j) => Math.abs(found[i][j] - value))))
  expect(Math.max(...errors)).toBeLessThan(2e-6)
  await extract.dispose()
})
