import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ArgumentError, BusyError } from '../../src/errors.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import type { CallbackContext } from '../../src/train/callbacks.ts'
import { countLabelledExamples } from '../../src/train/dataset.ts'
import type { TrainEvent } from '../../src/train/events.ts'
import { epochOrder } from '../../src/train/shuffle.ts'
import { Trainer, type TrainerOptions } from '../../src/train/trainer.ts'
import type { Example, ModelBatch } from '../../src/train/types.ts'
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
  test('epochs are counted in batches, where updates have several of them', async () => {
    // three batches an epoch, the last an update of its own
    const events = await collect(build({ gradientAccumulationSteps: 2, evalStrategy: 'steps', evalSteps: 1 }).trainer)
    const epochs = [2 / 3, 1, 1 + 2 / 3, 2]
    expect(ofType(events, 'step').map(({ epoch }) => epoch)).toEqual(epochs)
    expect(ofType(events, 'log').map(({ logs }) => logs.epoch)).toEqual(epochs)
    expect(ofType(events, 'evaluate').map(({ metrics }) => metrics.epoch)).toEqual(epochs)
  })

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

describe('what has no label', () => {
  const ignored = (example: Example): Example => ({ ...example, labels: -100 })

  test('counts with the mean of the steps before', async () => {
    const [a, b, c, d] = fakeExamples(4)
    const trainDataset = [a, ignored(b), c, ignored(d)]
    const order = { perDeviceTrainBatchSize: 1, numTrainEpochs: 1, trainSamplingStrategy: 'sequential' } as const
    const events = await collect(build({ ...order, loggingSteps: 2 }, { trainDataset }).trainer)
    const losses = ofType(events, 'step').map(({ loss }) => loss)
    expect(losses.map((loss) => loss > 0.1)).toEqual([true, true, true, true])
    expect([losses[1], losses[3]]).toEqual([losses[0], losses[2]])
    expect(ofType(events, 'log').map(({ logs }) => logs.loss)).toEqual([losses[0], losses[2]])
    expect(ofType(events, 'end')[0].output.trainingLoss).toBeCloseTo((losses[0] + losses[2]) / 2, 12)
  })

  test('counts, where it is the first since a log line, with the mean of all steps', async () => {
    const [a, b, c] = fakeExamples(3)
    const trainDataset = [a, b, ignored(c)]
    const order = { perDeviceTrainBatchSize: 1, numTrainEpochs: 1, trainSamplingStrategy: 'sequential' } as const
    const losses = ofType(await collect(build(order, { trainDataset }).trainer), 'log').map(({ logs }) => logs.loss)
    expect(losses[2]).toBeCloseTo((losses[0] + losses[1]) / 2, 12)
  })

  test('weighs nothing in an evaluation', async () => {
    const examples = fakeExamples(6)
    const evalDataset = examples.map((example, i) => (i < 3 ? example : ignored(example)))
    const { trainer } = build({ perDeviceEvalBatchSize: 1 }, { evalDataset })
    const { eval_loss, eval_samples } = await trainer.evaluate()
    expect(eval_samples).toBe(6)
    expect(eval_loss).toBeCloseTo((await trainer.evaluate(examples.slice(0, 3))).eval_loss, 12)
    expect(eval_loss).toBeGreaterThan(0.5)
    expect((await trainer.evaluate(examples.map(ignored))).eval_loss).toBeNaN()
  })

  test.each<[ModelBatch, number]>([
    [{ inputIds: [[2], [3], [4]], labels: [0, -100, 2] }, 2],
    [
      {
        inputIds: [
          [2, 3],
          [4, 5],
        ],
        labels: [
          [-100, -100],
          [-100, 7],
        ],
      },
      1,
    ],
    [{ inputIds: [[2], [3]], labels: [[-100], [-100]], nextSentenceLabel: [1, -100] }, 1],
    // a place beyond the tokens is none; one before them is the first
    [{ inputIds: [[2], [3], [4]], startPositions: [0, 1, -1], endPositions: [1, 1, 1] }, 2],
    [{ inputIds: [[2]] }, 0],
  ])('%j', (batch, count) => {
    expect(countLabelledExamples(batch)).toBe(count)
  })
})

describe('the best evaluation at the end', () => {
  /** Accuracies in the order of evaluations, of which the one after step 2 has no checkpoint. */
  async function run(accuracies: number[], args: TrainingArgumentsInput = {}) {
    const early = {
      onStepEnd: ({ control, state }: CallbackContext) => {
        if (state.globalStep === 2) control.shouldEvaluate = true
      },
    }
    const left = [...accuracies]
    const computeMetrics = () => ({ accuracy: left.shift() ?? 0 })
    const strategy = { evalStrategy: 'steps', saveStrategy: 'steps', loadBestModelAtEnd: true } as const
    const best = { ...strategy, metricForBestModel: 'accuracy', evalSteps: 3, saveSteps: 3, ...args }
    const { trainer } = build(best, { computeMetrics, callbacks: [early] })
    const events = await collect(trainer)
    const { restoredStep } = ofType(events, 'end')[0].output
    return { restoredStep, warnings: ofType(events, 'warning').map(({ message }) => message) }
  }

  test('is that of a checkpoint', async () => {
    expect(await run([0.1, 0.5, 0.4])).toEqual({ restoredStep: 3, warnings: [] })
  })

  test('may have none, which is a warning', async () => {
    expect(await run([0.9, 0.5, 0.4])).toEqual({
      restoredStep: null,
      warnings: ['The best evaluation, after step 2, has no checkpoint; the model keeps the weights of the last step'],
    })
  })

  test('may come after one that has', async () => {
    // evaluated after each step, saved after 3 and 6
    const args = { evalSteps: 1, saveSteps: 3 }
    expect(await run([0.1, 0.2, 0.3, 0.9, 0.4, 0.4], args)).toEqual({
      restoredStep: 3,
      warnings: [
        `The best evaluation, after step 4, has no checkpoint; the model has the weights of ${join(outputDir, 'checkpoint-3')}, the best before it`,
      ],
    })
  })

  // the losses of this model fall from evaluation to evaluation
  test('of some that are all 0 is that of the lowest loss', async () => {
    expect(await run([0, 0, 0])).toEqual({ restoredStep: 6, warnings: [] })
  })

  test('of some that are alike, but not 0, is the first', async () => {
    expect((await run([0.1, 0.5, 0.5])).restoredStep).toBe(3)
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

describe('resuming by an option of train()', () => {
  test('is as by the argument, and the first event says from where', async () => {
    await build({ saveStrategy: 'steps', saveSteps: 2 }).trainer.train()
    const checkpoint = join(outputDir, 'checkpoint-2')
    const { trainer } = build({ resumeFromCheckpoint: join(outputDir, 'checkpoint-4') })
    const run = trainer.train({ resumeFromCheckpoint: checkpoint })
    const events: TrainEvent[] = []
    for await (const event of run) events.push(event)
    expect(events[0]).toEqual({ type: 'resume', step: 2, maxSteps: 6, epoch: 2 / 3, checkpoint })
    expect(ofType(events, 'step').map(({ step }) => step)).toEqual([3, 4, 5, 6])
    const [newest] = ofType(await collect(build({ resumeFromCheckpoint: true }).trainer), 'resume')
    expect(newest.checkpoint).toBe(join(outputDir, 'checkpoint-6'))
    const [none] = ofType(events.slice(1), 'resume')
    expect(none).toBeUndefined()
    const anew: TrainEvent[] = []
    for await (const event of trainer.train({ resumeFromCheckpoint: false })) anew.push(event)
    expect(anew[0].type).toBe('step')
  })

  test('another option, or something else, is an ArgumentError', () => {
    const { trainer } = build()
    const train = trainer.train.bind(trainer) as (given: unknown) => unknown
    expect(() => train({ resume_from_checkpoint: true })).toThrow(
      "Expected train() to have the option resumeFromCheckpoint alone but received 'resume_from_checkpoint'",
    )
    expect(() => train(true)).toThrow('as in train({ resumeFromCheckpoint: true }), but received')
    expect(() => train({ resumeFromCheckpoint: 3 })).toThrow(/Expected resumeFromCheckpoint to be true .* received 3/)
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

  test('evaluate and predict refuse what nobody would look at', async () => {
    const { trainer } = build()
    const evaluate = trainer.evaluate.bind(trainer) as (...given: unknown[]) => Promise<unknown>
    await expect(evaluate(fakeExamples(2), { metricKeyPrefix: 'test' })).rejects.toThrow(
      'Expected evaluate() to have a dataset alone but received options as well: metricKeyPrefix',
    )
    const predict = trainer.predict.bind(trainer) as (...given: unknown[]) => Promise<unknown>
    await expect(predict(fakeExamples(2), undefined, 'test')).rejects.toThrow(ArgumentError)
    expect(await evaluate(undefined, undefined)).toHaveProperty('eval_loss')
  })

  test('one run at a time; the next one may follow also where one has failed', async () => {
    const { model, trainer } = build()
    const first = trainer.train()
    const both = await Promise.allSettled([first, trainer.train()])
    expect(both[0].status).toBe('fulfilled')
    expect(both[1]).toMatchObject({ reason: expect.any(BusyError) })
    for await (const event of trainer.train()) if (event.type === 'step') break
    model.beforeWork = () => {
      throw new RangeError('from the step')
    }
    await expect(trainer.train()).rejects.toThrow('from the step')
    model.beforeWork = () => {}
    expect((await trainer.train()).globalStep).toBe(6)
  })

  test('computeMetrics may promise its numbers', async () => {
    const computeMetrics = async () => ({ share: 0.5 })
    expect(await build({}, { computeMetrics }).trainer.evaluate()).toMatchObject({ eval_share: 0.5 })
    const other = (async () => ({ share: 'half' })) as unknown as () => Promise<Record<string, number>>
    await expect(build({}, { computeMetrics: other }).trainer.evaluate()).rejects.toThrow(
      'Expected computeMetrics to return an object of numbers',
    )
  })

  test('an unknown option is an ArgumentError', () => {
    const options = { evalDatset: fakeExamples(2) } as Partial<TrainerOptions>
    expect(() => build({}, options)).toThrow(/no option 'evalDatset'; there are .*evalDataset/)
  })

  test('an error of a step ends the run unchanged', async () => {
    const { model, trainer } = build()
    model.beforeWork = (call) => {
      if (call === 2) throw new RangeError('from the step')
    }
    await expect(trainer.train()).rejects.toThrow('from the step')
  })
})
