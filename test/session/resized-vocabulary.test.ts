// A model that is to know more words than its folder, or fewer: the words that both have keep what was learnt of them.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WeightsError } from '../../src/errors.ts'
import { BertForMaskedLM, BertModel } from '../../src/session/models.ts'
import { sameBits, tinyConfig } from './tiny.ts'

const WORDS = 53
const TABLE = 'bert.embeddings.word_embeddings.weight'
const BIAS = 'cls.predictions.bias'

let root: string
const folder = (tied: boolean) => path.join(root, tied ? 'tied' : 'untied')
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-words-'))
  for (const tied of [true, false]) {
    using model = new BertForMaskedLM(tinyConfig({ tieWordEmbeddings: tied }), { seed: 5 })
    const bias = Float32Array.from({ length: WORDS }, (_, i) => i)
    await model.loadStateDict(new Map([[BIAS, { data: bias, shape: [WORDS] }]]), { strict: false })
    await model.savePretrained(folder(tied))
  }
})
afterAll(() => fs.rm(root, { recursive: true }))

describe.each([true, false])('a decoder that is tied: %s', (tied) => {
  it.each([WORDS + 1, 300, 20])('%i words', async (vocabSize) => {
    using small = await BertForMaskedLM.fromPretrained(folder(tied))
    using model = await BertForMaskedLM.fromPretrained(folder(tied), { vocabSize })
    expect(model.config.vocabSize).toBe(vocabSize)
    expect(model.loadReport).toEqual({ missing: [], unexpected: [], mismatched: [] })
    const [before, after] = [await small.stateDict(), await model.stateDict()]
    const tables = [TABLE, BIAS, ...(tied ? [] : ['cls.predictions.decoder.weight', 'cls.predictions.decoder.bias'])]
    for (const [name, { data, shape }] of after) {
      const old = before.get(name)!
      if (!tables.includes(name)) {
        expect(sameBits(data, old.data), name).toBe(true)
        continue
      }
      const width = shape[1] ?? 1
      const kept = Math.min(vocabSize, WORDS) * width
      expect(shape[0]).toBe(vocabSize)
      expect(sameBits(data.subarray(0, kept), old.data.subarray(0, kept)), name).toBe(true)
      const mean = Array.from({ length: width }, (_, i) => {
        let sum = 0
        for (let row = 0; row < WORDS; row++) sum += old.data[row * width + i]
        return sum / WORDS
      })
      for (let i = kept; i < data.length; i++) expect(Math.abs(data[i] - mean[i % width])).toBeLessThan(1e-6)
    }
    const word = vocabSize - 1
    const { logits } = await model.forward({ inputIds: [[word]] })
    expect(logits.shape).toEqual([1, vocabSize])
    expect(logits.data.every(Number.isFinite)).toBe(true)
  })
})

it('is a mistake where nobody asks for it', async () => {
  const config = path.join(folder(true), 'config.json')
  const text = await fs.readFile(config, 'utf8')
  await fs.writeFile(config, JSON.stringify({ ...JSON.parse(text), vocab_size: WORDS + 1 }))
  await expect(BertModel.fromPretrained(folder(true))).rejects.toThrow(WeightsError)
  await fs.writeFile(config, text)
})
