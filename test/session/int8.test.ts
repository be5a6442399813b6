// Models with int8 weights: what they compute, what they keep, and what they refuse.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { AdamW, BertModel, type Tensor } from '../../src/index.ts'
import { BertForMaskedLM, BertForSequenceClassification } from '../../src/session/models.ts'
import { sameBits, sequences, tinyClassifier, tinyConfig } from './tiny.ts'

const INT8 = { dtype: 'int8' } as const
const cases = path.join(import.meta.dirname, '..', 'golden', 'cases')
const inputs = { inputIds: sequences([5, 1, 9, 16]) }

const cosine = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((sum, v, i) => sum + v * y[i], 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

/** A matrix of more than a few rows is within half a step of what it was, and not the same; any other tensor has the same bits. */
function expectRounded(name: string, got: Tensor, want: Tensor): void {
  const [rows, columns] = want.shape
  const isMatrix = want.shape.length === 2 && !/position_embeddings|token_type/.test(name) && rows > 3
  for (let n = 0; n < (isMatrix ? rows : 0); n++) {
    const row = want.data.subarray(n * columns, (n + 1) * columns)
    const step = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127
    const worst = row.reduce((most, v, k) => Math.max(most, Math.abs(v - got.data[n * columns + k])), 0)
    expect(worst, name).toBeLessThanOrEqual(0.5001 * step)
    if (step > 0) expect(worst, name).toBeGreaterThan(0) // the padding row is zeros
  }
  if (!isMatrix) expect(sameBits(got.data, want.data), name).toBe(true)
}

describe('a model of dtype int8', () => {
  test('keeps matrices rounded by rows, stacked ones too, and everything else as it was', async () => {
    // hidden sizes of whole panels and not: parts of a stack then share panels
    for (const hiddenSize of [16, 20, 36]) {
      using plain = tinyClassifier({ hiddenSize })
      using int8 = tinyClassifier({ hiddenSize }, INT8)
      const [want, got] = [await plain.stateDict(), await int8.stateDict()]
      expect([...got.keys()]).toEqual([...want.keys()])
      for (const [name, tensor] of want) expectRounded(name, got.get(name)!, tensor)
      expect(int8.dtype).toBe('int8')
      expect(int8.parameters().every(({ trainable }) => !trainable)).toBe(true)
      expect(int8.runtime.layout.gradientBytes).toBe(0)
    }
  })

  test('computes what a float32 model with its weights does, but for the rounding of activations', async () => {
    using int8 = tinyClassifier({}, INT8).eval()
    using plain = tinyClassifier().eval()
    await plain.loadStateDict(await int8.stateDict())
    const [a, b] = [await plain.forward(inputs), await int8.forward(inputs)]
    expect(cosine(a.logits.data, b.logits.data)).toBeGreaterThan(0.999)
    const scores = { ...inputs, labels: [0, 1, 2, 1] }
    expect(Math.abs((await plain.forward(scores)).loss! - (await int8.forward(scores)).loss!)).toBeLessThan(0.05)
  })

  test('gives a sequence the same bits alone and in a batch, on any number of threads, packed or not', async () => {
    using one = tinyClassifier({}, { ...INT8, threads: 1 }).eval()
    using three = tinyClassifier({}, { ...INT8, threads: 3 }).eval()
    const { data } = (await one.forward(inputs)).logits
    for (let again = 0; again < 2; again++) expect(sameBits((await three.forward(inputs)).logits.data, data)).toBe(true)
    for (const [i, ids] of inputs.inputIds.entries())
      expect(sameBits((await three.forward({ inputIds: [ids] })).logits.data, data.slice(3 * i, 3 * i + 3))).toBe(true)
  })

  test.each(['model', 'model_relu', 'masked_lm', 'masked_lm_untied', 'token_classification'])(
    'is close to float32 on the golden case %s, a tied decoder too',
    async (name) => {
      const folder = path.join(cases, name)
      const load = (options: object): Promise<BertModel | BertForMaskedLM> =>
        name.startsWith('masked_lm')
          ? BertForMaskedLM.fromPretrained(folder, options)
          : BertModel.fromPretrained(folder, options)
      using plain = await load({})
      using int8 = await load(INT8)
      const [want, got] = [await plain.forward(inputs), await int8.forward(inputs)]
      for (const [output, { data, shape }] of Object.entries(want as object as Record<string, Tensor | null>).filter(
        (entry): entry is [string, Tensor] => !!entry[1],
      )) {
        const tensor = (got as object as Record<string, Tensor>)[output]
        expect(tensor.shape, output).toEqual(shape)
        expect(cosine(tensor.data, data), output).toBeGreaterThan(0.995)
      }
    },
  )

  test('takes a state, whole or some tensors of a stack', async () => {
    using plain = tinyClassifier({}, { seed: 7 })
    using int8 = tinyClassifier({}, INT8)
    const before = await int8.stateDict()
    const state = await plain.stateDict()
    const key = 'bert.encoder.layer.0.attention.self.key.weight'
    await int8.loadStateDict(new Map([[key, state.get(key)!]]), { strict: false })
    const after = await int8.stateDict()
    for (const [name, { data }] of before)
      if (name !== key) expect(sameBits(after.get(name)!.data, data), name).toBe(true)
    expectRounded(key, after.get(key)!, state.get(key)!)
    await int8.loadStateDict(state)
    for (const [name, tensor] of await int8.stateDict()) expectRounded(name, tensor, state.get(name)!)
  })

  test('keeps no float32 copy of a matrix: its arena is little more than the bytes of the rows', () => {
    const config = tinyConfig({ hiddenSize: 64, intermediateSize: 256, vocabSize: 2000 })
    using plain = new BertModel(config)
    using int8 = new BertModel(config, INT8)
    const bytes = int8.parameters().reduce((sum, { shape, size }) => sum + (shape.length === 2 ? size : 4 * size), 0)
    expect(int8.runtime.layout.weightBytes).toBeLessThan(1.1 * bytes)
    expect(int8.runtime.layout.weightBytes).toBeLessThan(0.3 * plain.runtime.layout.weightBytes)
  })

  test('refuses gradients, optimisers and saving, and says why', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-int8-'))
    try {
      using model = tinyClassifier({}, INT8)
      const why = /dtype int8, which only predicts; load it with dtype float32/
      await expect(model.gradients({ ...inputs, labels: [0, 1, 2, 1] })).rejects.toThrow(ArgumentError)
      await expect(model.gradients({ ...inputs, labels: [0, 1, 2, 1] })).rejects.toThrow(why)
      expect(() => new AdamW(model)).toThrow(why)
      await expect(model.savePretrained(folder)).rejects.toThrow(why)
      expect(fs.readdirSync(folder)).toEqual([])
      model.freeze(/embeddings/).unfreeze()
      expect((await model.forward(inputs)).logits.shape).toEqual([4, 3])
      expect(() => new BertForSequenceClassification(tinyConfig(), { dtype: 'int4' as 'int8' })).toThrow(/int8 or auto/)
    } finally {
      fs.rmSync(folder, { recursive: true })
    }
  })
})
