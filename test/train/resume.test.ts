// A run that is resumed from any of its checkpoints ends with the bits of the unbroken one, and with its log: with dropout, shuffling,
// masks drawn for every batch, accumulation, a schedule, evaluation and early stopping.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createMasking } from '../../src/data/collators/masked-lm.ts'
import type { SequenceExample } from '../../src/data/features/example.ts'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { BertConfig } from '../../src/model/config.ts'
import { BertForMaskedLM } from '../../src/session/models.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { collate } from '../../src/train/dataset.ts'
import type { LogRecord } from '../../src/train/events.ts'
import { Trainer } from '../../src/train/trainer.ts'
import type { DataCollator, StreamedDataset } from '../../src/train/types.ts'

const WORDS = Array.from({ length: 40 }, (_, i) => `w${i}`)
const tokenizer = BertTokenizer.fromVocab(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...WORDS])
const config = new BertConfig({
  vocabSize: tokenizer.vocabSize,
  hiddenSize: 32,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  intermediateSize: 64,
  maxPositionEmbeddings: 16,
})
const examples = Array.from({ length: 22 }, (_, i) => ({
  inputIds: [2, ...Array.from({ length: 4 + ((i * 5) % 8) }, (_, j) => 5 + ((i * 7 + j * j * 3) % WORDS.length)), 3],
}))
const streamed: StreamedDataset = {
  length: examples.length,
  async *examples({ epoch, skip }) {
    const order = examples.map((_, i) => (i * 5 + epoch * 3) % examples.length)
    for (const i of order.slice(skip)) yield examples[i]
  },
}
const mask = createMasking(tokenizer, { mlmProbability: 0.3 })
const collator: DataCollator = (rows, randoms) =>
  collate(rows.map((row, i) => mask(row as SequenceExample, randoms[i])))

let root: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'bertkit-resume-'))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

const timeless = (lines: readonly LogRecord[]): LogRecord[] =>
  lines.map((line) => Object.fromEntries(Object.entries(line).filter(([name]) => !/_(runtime|per_second)$/.test(name))))

async function run(outputDir: string, stream: boolean, args: TrainingArgumentsInput = {}) {
  using model = new BertForMaskedLM(config, { seed: 7 })
  const trainer = new Trainer({
    model,
    trainDataset: stream ? streamed : examples,
    evalDataset: examples.slice(0, 5),
    dataCollator: collator,
    args: {
      outputDir,
      perDeviceTrainBatchSize: 3,
      gradientAccumulationSteps: 2,
      numTrainEpochs: 2,
      learningRate: 1e-3,
      warmupSteps: 3,
      weightDecay: 0.1,
      layerwiseLrDecay: 0.8,
      lrSchedulerType: 'cosine',
      saveStrategy: 'steps',
      saveSteps: 1,
      evalStrategy: 'steps',
      evalSteps: 3,
      loggingSteps: 2,
      metricForBestModel: 'loss',
      earlyStoppingPatience: 3,
      seed: 5,
      ...args,
    },
  })
  const output = await trainer.train()
  const state = await model.stateDict()
  return { output, weights: new Map(Array.from(state, ([name, { data }]) => [name, Buffer.from(data.slice().buffer)])) }
}

describe.each([
  ['in memory', false],
  ['streamed', true],
])('a run over data %s', (_, stream) => {
  test('is the same from each of its steps on', async () => {
    const folder = join(root, `whole-${stream}`)
    const whole = await run(folder, stream)
    const steps = readdirSync(folder).length
    expect(whole.output.globalStep).toBe(8)
    expect(steps).toBe(8)
    const losses = timeless(whole.output.logHistory).flatMap((line) => ('loss' in line ? [line.loss] : []))
    expect(new Set(losses).size).toBe(4)
    for (let step = 1; step <= steps; step++) {
      const part = await run(join(root, `part-${stream}-${step}`), stream, {
        resumeFromCheckpoint: join(folder, `checkpoint-${step}`),
      })
      expect(timeless(part.output.logHistory), `from step ${step}`).toEqual(
        // the last line sums up the call
        timeless(whole.output.logHistory),
      )
      for (const [name, bytes] of whole.weights) expect(part.weights.get(name)?.equals(bytes), name).toBe(true)
      if (step < steps) {
        const last = (of: string) => readFileSync(join(of, `checkpoint-${steps}`, 'optimizer.safetensors'))
        expect(last(join(root, `part-${stream}-${step}`)).equals(last(folder))).toBe(true)
      }
    }
  })
})

test('early stopping is remembered by a checkpoint', async () => {
  const stop = { evalSteps: 1, earlyStoppingPatience: 2, learningRate: 0, numTrainEpochs: 3 } as const
  const whole = await run(join(root, 'stopped'), false, stop)
  expect(whole.output.globalStep).toBe(3) // the first is the best, and the two after it are no better
  const resumed = await run(join(root, 'stopped-again'), false, {
    ...stop,
    resumeFromCheckpoint: join(root, 'stopped', 'checkpoint-2'),
  })
  expect(resumed.output.globalStep).toBe(3)
  const ended = await run(join(root, 'stopped-ended'), false, {
    ...stop,
    resumeFromCheckpoint: join(root, 'stopped', 'checkpoint-3'),
  })
  expect(ended.output.globalStep).toBe(3)
})
