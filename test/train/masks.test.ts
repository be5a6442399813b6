// Examples that bring a mask and positions of their own.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { BertConfig } from '../../src/model/config.ts'
import { BertForMultipleChoice, BertForSequenceClassification } from '../../src/session/models.ts'
import { countTokens, fingerprintOf, lengthsOf } from '../../src/train/dataset.ts'
import { padBatch } from '../../src/train/parity/padding.ts'
import { Trainer } from '../../src/train/trainer.ts'
import type { Example, ModelBatch } from '../../src/train/types.ts'

const folder = mkdtempSync(join(tmpdir(), 'bertkit-masks-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const config = new BertConfig({
  vocabSize: 50,
  hiddenSize: 16,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  intermediateSize: 32,
  maxPositionEmbeddings: 16,
  initializerRange: 0.2,
  hiddenDropoutProb: 0,
  attentionProbsDropoutProb: 0,
})

const plain: Example[] = [
  { inputIds: [2, 10, 3], labels: 1 },
  { inputIds: [2, 20, 21, 22, 23, 3], labels: 0 },
]
const padded = plain.map((example): Example => {
  const ids = example.inputIds as number[]
  const fill = (values: number[]): number[] => [...values, ...new Array<number>(8 - ids.length).fill(0)]
  return { ...example, inputIds: fill(ids), attentionMask: fill(ids.map(() => 1)) }
})

async function trained(trainDataset: Example[], parity: 'none' | 'hf-5.18' = 'none') {
  using model = new BertForSequenceClassification(config, { seed: 7 })
  const args = { outputDir: folder, saveStrategy: 'no', numTrainEpochs: 3, parity, loggingSteps: 1 } as const
  const trainer = new Trainer({ model, trainDataset, evalDataset: trainDataset, args: { ...args, learningRate: 0.01 } })
  const tokens: number[] = []
  for await (const event of trainer.train()) if (event.type === 'step') tokens.push(event.tokens)
  const { logits } = await trainer.predict(trainDataset)
  const { eval_loss } = await trainer.evaluate()
  return { logits: [...logits.data], loss: eval_loss, tokens }
}

test.each(['none', 'hf-5.18'] as const)('padding that a mask hides changes nothing (parity %s)', async (parity) => {
  const [bare, masked] = [await trained(plain, parity), await trained(padded, parity)]
  expect(masked).toEqual(bare)
  expect(masked.tokens).toEqual([9, 9, 9])
})

test('a collator may make tensors to evaluate', async () => {
  using model = new BertForSequenceClassification(config, { seed: 7 })
  const tensor = (rows: readonly number[][]) => ({ data: Int32Array.from(rows.flat()), shape: [rows.length, 8] })
  const dataCollator = (examples: readonly Example[]) => {
    const field = (name: 'inputIds' | 'attentionMask') => tensor(examples.map((example) => example[name] as number[]))
    const labels = examples.map((example) => example.labels as number)
    return { inputIds: field('inputIds'), attentionMask: field('attentionMask'), labels } as unknown as ModelBatch
  }
  const args = { outputDir: folder }
  const own = await new Trainer({ model, args, evalDataset: padded, dataCollator }).evaluate()
  const usual = await new Trainer({ model, args, evalDataset: plain }).evaluate()
  expect(own.eval_loss).toBeCloseTo(usual.eval_loss, 6)
})

test('positions of an example are those of the model', async () => {
  using model = new BertForSequenceClassification(config, { seed: 7 })
  const trainer = new Trainer({ model, args: { outputDir: folder } })
  const [{ inputIds }] = plain
  const logitsOf = async (positionIds?: number[]) =>
    (await trainer.predict([{ inputIds, ...(positionIds && { positionIds }) }])).logits.data
  expect(await logitsOf([0, 1, 2])).toEqual(await logitsOf())
  const { logits } = await model.eval().forward({ inputIds: [inputIds as number[]], positionIds: [[5, 6, 7]] })
  expect(await logitsOf([5, 6, 7])).toEqual(logits.data)
  expect(await logitsOf([5, 6, 7])).not.toEqual(await logitsOf())
})

test('choices have masks too', async () => {
  using model = new BertForMultipleChoice(config, { seed: 7 })
  const trainer = new Trainer({ model, args: { outputDir: folder } })
  const choices = [
    [2, 10, 3],
    [2, 11, 12, 13, 3],
  ]
  const wide = choices.map((ids) => [...ids, ...new Array<number>(5 - ids.length).fill(0)])
  const example = { inputIds: wide, attentionMask: wide.map((ids) => ids.map((id) => (id === 0 ? 0 : 1))) }
  const [bare, masked] = [await trainer.predict([{ inputIds: choices }]), await trainer.predict([example])]
  expect(masked.logits).toEqual(bare.logits)
  expect([...lengthsOf([{ inputIds: choices }, example])]).toEqual([8, 8])
  expect(countTokens({ inputIds: [wide], attentionMask: [example.attentionMask] })).toBe(8)
})

test('a padded batch has the masks that were given', () => {
  const batch = { inputIds: [[2, 0], [2]], attentionMask: [[1, 0], [1]], positionIds: [[4, 5], [6]] }
  expect(padBatch(batch, 0, false)).toMatchObject({
    attentionMask: { data: Int32Array.of(1, 0, 1, 0), shape: [2, 2] },
    positionIds: { data: Int32Array.of(4, 5, 6, 0), shape: [2, 2] },
  })
})

test('they are part of what tells data apart', () => {
  const inputIds = [2, 10, 3]
  const prints = [{ inputIds }, { inputIds, attentionMask: [1, 1, 0] }, { inputIds, positionIds: [1, 1, 0] }]
  expect(new Set(prints.map((example) => fingerprintOf([example], ''))).size).toBe(3)
})

test.each([
  [{ inputIds: [2, 3], attention_mask: [1, 0] }, 'Expected attentionMask instead of attention_mask'],
  [{ inputIds: [2, 3], token_type_ids: [0, 0] }, 'Expected tokenTypeIds instead of token_type_ids'],
  [{ inputIds: [2, 3], encoderHiddenStates: [] }, 'Expected a loop of your own (AdamW) instead of encoderHiddenStates'],
  [{ inputIds: [2, 3], attentionMask: new Int32Array(2) }, 'Expected trainDataset[0].attentionMask to be a list'],
])('%j is refused', (example, message) => {
  using model = new BertForSequenceClassification(config)
  const making = (): Trainer => new Trainer({ model, trainDataset: [{ ...example, labels: 1 } as never] })
  expect(making).toThrow(ArgumentError)
  expect(making).toThrow(message)
})

test('every example has a mask, or none', () => {
  using model = new BertForSequenceClassification(config)
  expect(() => new Trainer({ model, trainDataset: [padded[0], plain[1]] })).toThrow(
    'Expected every or no example of trainDataset to have attentionMask but example 0 has them and example 1 does not',
  )
})
