// What the caller brings to a Trainer: streams, collators, callbacks, metrics, and calls at the same time.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertForSequenceClassification } from '../../src/session/models.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { collate } from '../../src/train/dataset.ts'
import { Trainer, type TrainerOptions } from '../../src/train/trainer.ts'
import type { ComputeMetrics, DataCollator, Example, ModelBatch } from '../../src/train/types.ts'
import { tinyConfig } from '../session/tiny.ts'
import { FakeModel, FakeOptimizer, fakeExamples } from './fake-model.ts'

let outputDir: string
beforeEach(() => {
  outputDir = mkdtempSync(join(tmpdir(), 'bertkit-batches-'))
})
afterEach(() => rmSync(outputDir, { recursive: true, force: true }))

function build(args: TrainingArgumentsInput = {}, options: Partial<TrainerOptions> = {}) {
  const model = new FakeModel()
  const optimizer = new FakeOptimizer(model)
  const own = { perDeviceTrainBatchSize: 4, perDeviceEvalBatchSize: 4, saveStrategy: 'no', loggingSteps: 1 } as const
  const trainer = new Trainer({
    model,
    optimizer,
    trainDataset: fakeExamples(8),
    evalDataset: fakeExamples(6),
    ...options,
    args: { outputDir, numTrainEpochs: 1, learningRate: 0.1, ...own, ...args },
  })
  return { model, optimizer, trainer }
}

/** A padded batch, as collators for PyTorch make them. */
const padded: DataCollator = (examples) => {
  const width = Math.max(...examples.map(({ inputIds }) => inputIds.length))
  const rows = examples.flatMap(({ inputIds }) =>
    Array.from({ length: width }, (_, i) => (inputIds as number[])[i] ?? 0),
  )
  const shape = [examples.length, width]
  const labels = { data: examples.map(({ labels: label }) => label as number), shape: [examples.length] }
  return { inputIds: { data: rows, shape }, labels } as unknown as ModelBatch
}

describe('a stream', () => {
  const streamOf = (examples: readonly Example[], length = examples.length) => ({
    length,
    async *examples() {
      yield* examples
      if (length > examples.length) await new Promise(() => {}) // a socket that nobody writes to any longer
    },
  })

  test.each<[string, (examples: Example[]) => unknown[], RegExp]>([
    [
      'a mask that the first lacks',
      ([first, ...rest]) => [first, ...rest.map((each) => ({ ...each, attentionMask: [1] }))],
      /attentionMask but example 1 has them/,
    ],
    [
      'a name of Python',
      (examples) => examples.map((each) => ({ ...each, attention_mask: [1] })),
      /attentionMask instead of attention_mask/,
    ],
    ['what is no example', () => ['text'], /the streamed data\[0\] to be an example with inputIds/],
  ])('is refused for %s', async (_name, of, message) => {
    const { trainer } = build(
      { perDeviceTrainBatchSize: 2 },
      { trainDataset: streamOf(of(fakeExamples(4)) as Example[]) },
    )
    const error = await trainer.train().then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(ArgumentError)
    expect(String(error)).toMatch(message)
  })

  test('that waits for what never comes ends at the signal, with a checkpoint', async () => {
    const stop = new AbortController()
    const { trainer } = build({}, { trainDataset: streamOf(fakeExamples(6), 100), signal: stop.signal })
    setTimeout(() => stop.abort(), 100)
    await expect(trainer.train()).rejects.toMatchObject({ step: 1, checkpoint: join(outputDir, 'checkpoint-1') })
  })

  test('that waits for what never comes can be left', async () => {
    const { trainer } = build({}, { trainDataset: streamOf(fakeExamples(6), 100) })
    for await (const event of trainer.train()) if (event.type === 'step') break
  })
})

describe('a collator', () => {
  const model = () =>
    new BertForSequenceClassification(
      tinyConfig({ vocabSize: 7, numLabels: 3, problemType: 'single_label_classification' }),
      {
        seed: 3,
      },
    )

  test('may pad, and may take its time', async () => {
    const losses: number[] = []
    for (const dataCollator of [collate, padded, async (...given: Parameters<DataCollator>) => padded(...given)]) {
      using own = model()
      const examples = fakeExamples(8).map(({ inputIds, labels }) => ({ inputIds, labels }))
      const { trainer } = build(
        { maxSteps: 2 },
        { model: own, optimizer: new AdamW(own), trainDataset: examples, evalDataset: examples, dataCollator },
      )
      const { logHistory } = await trainer.train()
      expect(logHistory).toHaveLength(3)
      losses.push((await trainer.evaluate()).eval_loss)
    }
    // with padding that is not hidden another model, but the same of both
    expect(losses[2]).toBe(losses[1])
    expect(losses.every(Number.isFinite)).toBe(true)
  })

  test('whose batch cannot be counted changes nothing', async () => {
    const wrong: DataCollator = (examples) => ({ ...collate(examples), inputIds: 5 as never })
    const { optimizer, trainer } = build({}, { dataCollator: wrong })
    await expect(trainer.train()).rejects.toThrow()
    expect(optimizer.steps).toBe(0)
  })
})

describe('computeMetrics', () => {
  const labelsGiven = async (options: Partial<TrainerOptions>) => {
    let given: unknown
    const computeMetrics: ComputeMetrics = ({ labels }) => {
      given = labels
      return { eval_seen: labels.length, found: 1 }
    }
    const { trainer } = build({}, { ...options, computeMetrics })
    return { metrics: await trainer.evaluate(), given }
  }

  test('has the labels that a collator made, and names with the prefix keep it', async () => {
    const examples = fakeExamples(6)
    const wanted = examples.map(({ labels }) => labels)
    const evalDataset = examples.map(({ inputIds }) => ({ inputIds }))
    const dataCollator: DataCollator = (batch) => ({
      inputIds: batch.map(({ inputIds }) => inputIds as number[]),
      labels: batch.map((one) => wanted[evalDataset.indexOf(one as (typeof evalDataset)[number])] as number),
    })
    const { given, metrics } = await labelsGiven({ evalDataset, dataCollator })
    expect(given).toEqual(wanted)
    expect(metrics).toMatchObject({ eval_seen: 6, eval_found: 1 })
    expect(Object.keys(metrics)).not.toContain('eval_eval_seen')
  })

  test('has a start and an end of every question', async () => {
    const evalDataset = fakeExamples(5).map(({ inputIds }, i) => ({ inputIds, startPositions: i, endPositions: i + 1 }))
    const dataCollator: DataCollator = (batch) => ({ ...collate(batch), labels: undefined })
    const model = new FakeModel()
    const answering = Object.assign(model, {
      forward: async (batch: ModelBatch) => ({
        loss: 1,
        startLogits: { data: new Float32Array(batch.inputIds.length), shape: [batch.inputIds.length] },
      }),
    })
    const { given } = await labelsGiven({ model: answering, evalDataset, dataCollator })
    expect(given).toEqual(evalDataset.map(({ startPositions, endPositions }) => [startPositions, endPositions]))
  })
})

test('outputs whose widths differ from batch to batch are one row of numbers', async () => {
  const widths = [3, 2]
  const model = Object.assign(new FakeModel(), {
    forward: async ({ inputIds }: ModelBatch) => {
      const shape = [inputIds.length, widths.shift()!]
      return { logits: { data: new Float32Array(shape[0] * shape[1]).fill(1), shape } }
    },
  })
  const { trainer } = build({}, { model })
  const { logits } = await trainer.predict(fakeExamples(6))
  expect(logits.shape).toEqual([4 * 3 + 2 * 2])
  expect(logits.data).toHaveLength(16)
})

test('an evaluation beside a training is without dropout', async () => {
  const modes: boolean[] = []
  class Watched extends FakeModel {
    override async forward(...given: Parameters<FakeModel['forward']>) {
      modes.push(this.training)
      return super.forward(...given)
    }
  }
  const model = new Watched()
  const optimizer = new FakeOptimizer(model)
  const { trainer } = build({ numTrainEpochs: 3 }, { model, optimizer })
  const run = trainer.train().then((output) => output)
  for (let i = 0; i < 3; i++) await trainer.evaluate()
  await run
  expect(modes.length).toBeGreaterThan(4)
  expect(modes.every((training) => !training)).toBe(true)
})

describe('a callback', () => {
  test('may add to the logs that it is given', async () => {
    const callback = {
      onLog({ logs }: { logs?: Record<string, unknown> }) {
        logs!.note = 'a text'
      },
    }
    const saving = { saveStrategy: 'epoch', evalStrategy: 'epoch' } as const
    const { trainer } = build(saving, { callbacks: [callback] })
    await trainer.train()
    const state = readFileSync(join(outputDir, 'checkpoint-2', 'trainer_state.json'), 'utf8')
    expect(state).not.toContain('a text')
    await build({ ...saving, numTrainEpochs: 1, resumeFromCheckpoint: true }).trainer.train()
  })

  test('with a state has a name', () => {
    const callbacks = [{ saveState: () => 1, loadState() {} }]
    expect(() => build({}, { callbacks })).toThrow(/callback with saveState to have a name/)
  })
})

test('evalOnStart wants something to evaluate', () => {
  expect(() => build({ evalOnStart: true }, { evalDataset: undefined })).toThrow(
    /evalDataset because evalOnStart is true but received none/,
  )
})

test('token ids may be 64-bit integers', async () => {
  using model = new BertForSequenceClassification(tinyConfig({ vocabSize: 7, numLabels: 3 }), { seed: 3 })
  const trainDataset = fakeExamples(4).map(({ inputIds, labels }) => ({
    inputIds: (inputIds as number[]).map(BigInt) as never,
    labels,
  }))
  const { trainer } = build({}, { model, optimizer: new AdamW(model), trainDataset })
  expect((await trainer.train()).globalStep).toBe(1)
})

test('a dtype that the backend decides is known when training begins', async () => {
  using model = new BertForSequenceClassification(tinyConfig({ vocabSize: 7, numLabels: 3 }), { dtype: 'auto' })
  const { trainer } = build({}, { model, optimizer: undefined, trainDataset: fakeExamples(4) })
  expect((await trainer.train()).globalStep).toBe(1)
})

test('who awaits a run gets its warnings', async () => {
  const callback = {
    onStepEnd({ warn }: { warn(message: string): void }) {
      warn('odd')
    },
  }
  const { warnings } = await build({}, { callbacks: [callback] }).trainer.train()
  expect(warnings).toEqual(['odd', 'odd'])
})
