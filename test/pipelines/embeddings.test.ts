// One vector of a text: what a folder of sentence-transformers says, and what a caller asks for.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as bertkit from '../../src/index.ts'
import { ConfigError, pipeline, type Tensor } from '../../src/index.ts'
import { writeModels } from './cases.mjs'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-embeddings-'))
const plain = path.join(root, 'sentences')
const TEXTS = ['', 'good film', 'a river in the north of 北京, 😀!', 'good '.repeat(20)]

beforeAll(() => writeModels(bertkit, root))
afterAll(() => fs.rmSync(root, { recursive: true }))

/** The plain model as sentence-transformers saves it. */
function sentenceTransformer(name: string, modules: string[], pooling: object, maxSeqLength: number): string {
  const folder = path.join(root, name)
  fs.cpSync(plain, folder, { recursive: true })
  const write = (file: string, json: unknown) => {
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    fs.writeFileSync(path.join(folder, file), JSON.stringify(json))
  }
  const path_ = (type: string, i: number) => (i === 0 ? '' : `${i}_${type}`)
  write(
    'modules.json',
    modules.map((type, i) => ({
      idx: i,
      name: `${i}`,
      path: path_(type, i),
      type: `sentence_transformers.models.${type}`,
    })),
  )
  write('1_Pooling/config.json', { word_embedding_dimension: 32, ...pooling })
  write('sentence_bert_config.json', { max_seq_length: maxSeqLength, do_lower_case: false })
  return folder
}

/** Rows of the hidden state of a text that was cut to `limit` tokens. */
async function hiddenStates(text: string, limit: number): Promise<number[][]> {
  using extract = await pipeline('feature-extraction', plain)
  const { data, shape } = await extract(text, { tokenizeKwargs: { truncation: true, maxLength: limit } })
  const [, length, width] = shape
  return Array.from({ length }, (_, t) => [...data.subarray(t * width, (t + 1) * width)])
}

/** sentence_transformers/models/Pooling.py, for rows without padding. */
const POOLED: Record<string, (rows: number[][]) => number[]> = {
  cls: (rows) => rows[0],
  lasttoken: (rows) => rows[rows.length - 1],
  max: (rows) => rows[0].map((_, i) => Math.max(...rows.map((row) => row[i]))),
  mean: (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length),
  mean_sqrt_len: (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / Math.sqrt(rows.length)),
  weightedmean: (rows) => {
    const weights = rows.map((_, t) => t + 1)
    const total = weights.reduce((a, b) => a + b, 0)
    return rows[0].map((_, i) => rows.reduce((sum, row, t) => sum + weights[t] * row[i], 0) / total)
  },
}
const unit = (vector: number[]) => vector.map((value) => value / Math.hypot(...vector))

function expectClose({ data, shape }: Tensor, expected: number[]): void {
  expect(shape).toEqual([1, expected.length])
  const worst = Math.max(...expected.map((value, i) => Math.abs(value - data[i]) / Math.max(1, Math.abs(value))))
  expect(worst).toBeLessThan(1e-6)
}

describe('feature-extraction', () => {
  test.each(Object.keys(POOLED))('pooling %s', async (mode) => {
    const pooling = mode as 'mean'
    using extract = await pipeline('feature-extraction', plain, { pooling })
    const outputs = await extract(TEXTS)
    for (const [i, text] of TEXTS.entries()) expectClose(outputs[i], POOLED[mode](await hiddenStates(text, 64)))
    const scaled = await extract(TEXTS, { normalize: true })
    for (const [i, text] of TEXTS.entries()) expectClose(scaled[i], unit(POOLED[mode](await hiddenStates(text, 64))))
  })

  test('as the folder says: modes joined in their order, scaled, cut to max_seq_length', async () => {
    const flags = { pooling_mode_mean_tokens: true, pooling_mode_cls_token: true }
    const folder = sentenceTransformer('joined', ['Transformer', 'Pooling', 'Normalize'], flags, 9)
    using extract = await pipeline('feature-extraction', folder)
    for (const text of [...TEXTS, 'good '.repeat(100)]) {
      const rows = await hiddenStates(text, 9)
      expect(rows.length).toBeLessThanOrEqual(9)
      expectClose(await extract(text), unit([...POOLED.cls(rows), ...POOLED.mean(rows)]))
    }
    const raw = await extract(TEXTS[2], { normalize: false })
    const rows = await hiddenStates(TEXTS[2], 9)
    expectClose(raw, [...POOLED.cls(rows), ...POOLED.mean(rows)])
    expect((await extract('good film', { pooling: 'none' })).shape).toEqual([1, 4, 32])
    await expect(extract('good '.repeat(100), { pooling: 'none' })).rejects.toThrow('Expected at most 64 tokens')
  })

  test('each row is scaled where no vector is made of them', async () => {
    using extract = await pipeline('feature-extraction', plain)
    const { data, shape } = await extract('good film', { normalize: true })
    expect(shape).toEqual([1, 4, 32])
    for (let t = 0; t < 4; t++) expect(Math.hypot(...data.subarray(t * 32, (t + 1) * 32))).toBeCloseTo(1, 6)
  })

  test('a module that cannot be computed is an error, unless the caller says how to pool', async () => {
    const flags = { pooling_mode_mean_tokens: true }
    const folder = sentenceTransformer('dense', ['Transformer', 'Pooling', 'Dense'], flags, 9)
    using extract = await pipeline('feature-extraction', folder)
    await expect(extract('good')).rejects.toThrow(ConfigError)
    await expect(extract('good')).rejects.toThrow('modules.json: the module Dense is not supported')
    expect((await extract('good', { pooling: 'mean' })).shape).toEqual([1, 32])
  })
})

describe('sentence-similarity', () => {
  const cosine = (a: number[], b: number[]) => unit(a).reduce((sum, value, i) => sum + value * unit(b)[i], 0)

  test('pools as the folder says', async () => {
    const folder = sentenceTransformer('first', ['Transformer', 'Pooling'], { pooling_mode: 'max' }, 9)
    using compare = await pipeline('sentence-similarity', folder)
    const [source, ...sentences] = TEXTS
    const scores = await compare({ sourceSentence: source, sentences })
    const vectors = await Promise.all(TEXTS.map(async (text) => POOLED.max(await hiddenStates(text, 9))))
    expect(scores).toHaveLength(3)
    for (const [i, score] of scores.entries()) expect(score).toBeCloseTo(cosine(vectors[0], vectors[i + 1]), 6)
  })
})

const reference = process.env.BERTKIT_REFERENCE_DIR
const reason = reference === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''

interface Golden {
  sentences: string[]
  embeddings: number[][]
}

describe.skipIf(reference === undefined)(`all-MiniLM-L6-v2${reason}`, () => {
  const checkpoint = path.join(reference ?? '', 'data', 'weights', 'all-MiniLM-L6-v2')
  const read = () =>
    JSON.parse(fs.readFileSync(path.join(reference ?? '', 'golden', 'minilm', 'embeddings.json'), 'utf8'))

  test('feature-extraction gives the embeddings of sentence-transformers', async () => {
    const { sentences, embeddings }: Golden = read()
    using extract = await pipeline('feature-extraction', checkpoint)
    const outputs = await extract(sentences)
    let worst = 0
    for (const [i, { data, shape }] of outputs.entries()) {
      expect(shape).toEqual([1, 384])
      for (const [k, value] of embeddings[i].entries()) worst = Math.max(worst, Math.abs(value - data[k]))
    }
    expect(outputs.length).toBeGreaterThan(5)
    expect(worst).toBeLessThan(2e-6)
  })

  test('sentence-similarity is the cosine of the embeddings', async () => {
    const { sentences, embeddings }: Golden = read()
    using compare = await pipeline('sentence-similarity', checkpoint)
    const scores = await compare({ sourceSentence: sentences[0], sentences })
    for (const [i, score] of scores.entries()) {
      const expected = embeddings[0].reduce(
        (sum: number, value: number, k: number) => sum + value * embeddings[i][k],
        0,
      )
      expect(Math.abs(score - expected)).toBeLessThan(5e-6)
    }
  })
})
