import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import type { TrainEvent } from '../../src/train/events.ts'
import { epochOrder } from '../../src/train/shuffle.ts'
import { Trainer, type TrainerOptions } from '../../src/train/trainer.ts'
import type { Example } from '../../src/train/types.ts'
import { FakeModel, FakeOptimizer, fakeExamples } from './fake-model.ts'

let outputDir: string
beforeEach(() => {
  outputDir = mkdtempSync(join(tmpdir(), 'bertkit-trainer-'))
})
afterEach(() => rmSync(outputDir, { recursive: true, force: true }))

function build(args: TrainingArgumentsInput = {}, options: Partial<TrainerOptions> = {}) {
  const model = new FakeModel()
  const optimizer = new FakeOptimizer(model, args.learningRate ?? 0.1)
  const trainDataset = (options.trainDataset ?? fakeExamples(10)) as Example[]
  const trainer = new Trainer({
    model,
    optimizer,
    trainDataset,
    evalDataset: fakeExamples(6),
    ...options,
    args: {
      outputDir,
      perDeviceTrainBatchSize: 4,
      numTrainEpochs: 2,
      saveStrategy: 'no',
      loggingSteps: 1,
      learningRate: 0.1,
      ...args,
    },
  })
  return { model, optimizer, trainer, trainDataset }
}

async function collect(trainer: Trainer): Promise<TrainEvent[]> {
  const events: TrainEvent[] = []
  for await (const event of trainer.train()) events.push(event)
  return events
}

const ofType = <Type extends TrainEvent['type']>(events: TrainEvent[], type: Type) =>
  events.filter((event): event is Extract<TrainEvent, { type: Type }> => event.type === type)

describe('batches', () => {
  test('each epoch visits every example once, in the order of its seed', async () => {
    const { optimizer, trainDataset, trainer } = build({ seed: 7 })
    await trainer.train()
    const visited = optimizer.seen.map(([batch]) => batch.inputIds as number[][])
    expect(visited.map((batch) => batch.length)).toEqual([4, 4, 2, 4, 4, 2])
    const orders = [...(await epochOrder(10, 7, 0)), ...(await epochOrder(10, 7, 1))]
    const expected = orders.map((i) => trainDataset[i].inputIds)
    expect(visited.flat()).toEqual(expected)
  })

  test('dataSeed alone changes the order, sequential sampling keeps it', async () => {
    const orders = []
    for (const args of [{ dataSeed: 1 }, { dataSeed: 2 }, { dataSeed: 1, seed: 9 }]) {
      const { optimizer, trainer } = build(args)
      await trainer.train()
      orders.push(optimizer.seen.flat().flatMap((batch) => batch.inputIds as number[][]))
    }
    expect(orders[1]).not.toEqual(orders[0])
    expect(orders[2]).toEqual(orders[0])
    const { optimizer, trainDataset, trainer } = build({ trainSamplingStrategy: 'sequential', numTrainEpochs: 1 })
    await trainer.train()
    expect(optimizer.seen.flat().flatMap((batch) => batch.inputIds as number[][])).toEqual(
      trainDataset.map((row) => row.inputIds),
    )
  })

  test('an update takes gradientAccumulationSteps micro-batches; the last of an epoch takes what is left', async () => {
    const { optimizer, trainer } = build({ perDeviceTrainBatchSize: 2, gradientAccumulationSteps: 2 })
    const { globalStep } = await trainer.train()
    expect(globalStep).toBe(6)
    expect(optimizer.seen.map((batches) => batches.map((batch) => batch.inputIds.length))).toEqual([
      [2, 2],
      [2, 2],
      [2],
      [2, 2],
      [2, 2],
      [2],
    ])
  })

  test('labels and token types stay with their rows', async () => {
    const { optimizer, trainDataset, trainer } = build()
    await trainer.train()
    const wanted = new Map(trainDataset.map((row) => [row.inputIds, row]))
    for (const [batch] of optimizer.seen) {
      batch.inputIds.forEach((ids, i) => {
        expect(batch.labels?.[i]).toBe(wanted.get(ids)?.labels)
        expect(batch.tokenTypeIds?.[i]).toBe(wanted.get(ids)?.tokenTypeIds)
      })
    }
  })
})

describe('schedule and log', () => {
  test('the rate rises over the warm-up, falls to 0, and is logged as it was used', async () => {
    const { optimizer, trainer } = build({ warmupSteps: 2 })
    const events = await collect(trainer)
    const expected = [0, 0.05, 0.1, 0.075, 0.05, 0.025]
    for (const [i, rate] of optimizer.rates.entries()) expect(rate).toBeCloseTo(expected[i], 12)
    expect(ofType(events, 'log').map(({ logs }) => logs.learning_rate)).toEqual(optimizer.rates)
  })

  test('a log line has the mean loss since the one before', async () => {
    const events = await collect(build({ loggingSteps: 4 }).trainer)
    const losses = ofType(events, 'step').map((event) => event.loss)
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
    const logs = ofType(events, 'log').map((event) => event.logs)
    expect(logs.map((line) => [line.step, line.epoch])).toEqual([
      [4, 4 / 3],
      [6, 2],
    ])
    expect(logs[0].loss).toBeCloseTo(mean(losses.slice(0, 4)), 12)
    expect(logs[1].loss).toBeCloseTo(mean(losses.slice(4)), 12)
    const end = ofType(events, 'end')[0].output
    expect(end.trainingLoss).toBeCloseTo(mean(losses), 12)
    expect(end.metrics).toHaveProperty('train_samples_per_second')
  })

  test('loggingFirstStep logs step 1 as well', async () => {
    const events = await collect(build({ loggingSteps: 3, loggingFirstStep: true }).trainer)
    expect(ofType(events, 'log').map((event) => event.step)).toEqual([1, 3, 6])
  })

  test('learning happens', async () => {
    const events = await collect(build({ numTrainEpochs: 30 }).trainer)
    const losses = ofType(events, 'step').map((event) => event.loss)
    expect(losses.at(-1)).toBeLessThan(losses[0] / 2)
  })
})

describe('evaluation', () => {
  const accuracy = ({
    logits,
    labels,
  }: {
    logits: { data: Float32Array; shape: readonly number[] }
    labels: unknown
  }) => {
    const columns = logits.shape[1]
    const hits = (labels as number[]).filter((label, row) => {
      const scores = logits.data.subarray(row * columns, (row + 1) * columns)
      return scores.indexOf(Math.max(...scores)) === label
    })
    return { accuracy: hits.length / (labels as number[]).length }
  }

  test('the loss is the mean over examples, whatever the batch size', async () => {
    const losses = []
    for (const perDeviceEvalBatchSize of [1, 4, 6]) {
      const { eval_loss, eval_samples } = await build({ perDeviceEvalBatchSize }).trainer.evaluate()
      expect(eval_samples).toBe(6)
      losses.push(eval_loss)
    }
    expect(losses[1]).toBeCloseTo(losses[0], 12)
    expect(losses[2]).toBeCloseTo(losses[0], 12)
  })

  test('runs each epoch in evaluation mode; the next step, which FakeOptimizer refuses there, is in training mode', async () => {
    const { trainer } = build({ evalStrategy: 'epoch' }, { computeMetrics: accuracy })
    const evaluated = ofType(await collect(trainer), 'evaluate')
    expect(evaluated.map(({ epoch, step }) => [epoch, step])).toEqual([
      [1, 3],
      [2, 6],
    ])
    expect(evaluated[1].metrics.eval_accuracy).toBeGreaterThanOrEqual(0)
  })

  test('by steps: every evalSteps and at the end', async () => {
    const evaluated = ofType(await collect(build({ evalStrategy: 'steps', evalSteps: 4 }).trainer), 'evaluate')
    expect(evaluated.map((event) => event.step)).toEqual([4, 6])
  })

  test('predict returns every row in order', async () => {
    const { model, trainer } = build({ perDeviceEvalBatchSize: 4 })
    const examples = fakeExamples(9)
    const { logits, labels } = await trainer.predict(examples)
    expect(logits.shape).toEqual([9, 3])
    expect(labels).toEqual(examples.map((row) => row.labels))
    const rows = examples.map((row) => model.logitsOf(row.inputIds))
    for (const [i, value] of rows.flat().entries()) expect(logits.data[i]).toBeCloseTo(value, 6)
  })

  test('an unknown metric for the best model names the known ones', async () => {
    const args = {
      evalStrategy: 'epoch',
      saveStrategy: 'epoch',
      loadBestModelAtEnd: true,
      metricForBestModel: 'f1',
    } as const
    await expect(build(args).trainer.train()).rejects.toThrow(/one of eval_loss,.* but received 'f1'/)
  })
})

describe('bad use', () => {
  test('the run can be awaited after its loop, and knows when it was left early', async () => {
    const whole = build().trainer.train()
    for await (const _ of whole);
    expect((await whole).globalStep).toBe(6)
    const left = build().trainer.train()
    for await (const event of left) if (event.type === 'step') break
    await expect(left).rejects.toThrow(/left before the end/)
  })

  test('data that cannot work is an ArgumentError', () => {
    expect(() => build({}, { trainDataset: [] })).toThrow(/trainDataset to hold at least one example/)
    const mixed = [{ inputIds: [1], labels: 0 }, { inputIds: [2] }]
    expect(() => build({}, { trainDataset: mixed })).toThrow(/example 0 has them and example 1 does not/)
    expect(() => build({ evalStrategy: 'epoch' }, { evalDataset: undefined })).toThrow(ArgumentError)
  })

  test('training without data or labels is an ArgumentError', async () => {
    const { model, optimizer } = build()
    await expect(new Trainer({ model, optimizer }).train()).rejects.toThrow(/Expected trainDataset/)
    const trainDataset = [{ inputIds: [1] }]
    expect(() => new Trainer({ model, optimizer, trainDataset })).toThrow(/trainDataset to have labels/)
  })

  test('evaluate and predict reject, before any forward pass', async () => {
    const { model, trainer } = build({}, { evalDataset: undefined })
    model.beforeWork = () => {
      throw new RangeError('a forward pass')
    }
    const run = (): Promise<unknown>[] => [
      trainer.evaluate(),
      trainer.evaluate([{ inputIds: [1] }]),
      trainer.predict([]),
    ]
    const reasons = (await Promise.allSettled(run())).map((each) => each.status === 'rejected' && String(each.reason))
    expect(reasons[0]).toMatch(/^ArgumentError: Expected a dataset/)
    expect(reasons[1]).toMatch(/^ArgumentError: Expected evalDataset to have labels/)
    expect(reasons[2]).toMatch(/^ArgumentError: Expected the dataset to hold/)
  })

  test('an unknown option is an ArgumentError', () => {
    const options = { evalDatset: fakeExamples(2) } as Partial<TrainerOptions>
    expect(() => build({}, options)).toThrow(/evalDataset, .* but received 'evalDatset'/)
  })

  test('an error of a step ends the run unchanged', async () => {
    const { model, trainer } = build()
    model.beforeWork = (call) => {
      if (call === 2) throw new RangeError('from the step')
    }
    await expect(trainer.train()).rejects.toThrow('from the step')
  })
})
