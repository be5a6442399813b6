// What a run has saved stays: of other runs in the folder, where folders are moved, and where something fails in the middle.
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { AbortedError, ArgumentError, DataError } from '../../src/errors.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { EarlyStoppingCallback } from '../../src/train/callbacks.ts'
import type { TrainEvent } from '../../src/train/events.ts'
import { Trainer, type TrainerOptions } from '../../src/train/trainer.ts'
import { FakeModel, FakeOptimizer, fakeExamples } from './fake-model.ts'

let root: string
let outputDir: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'bertkit-kept-'))
  outputDir = join(root, 'run')
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

/** 3 updates an epoch. */
function build(args: TrainingArgumentsInput = {}, options: Partial<TrainerOptions> = {}) {
  const model = (options.model as FakeModel | undefined) ?? new FakeModel()
  const optimizer = new FakeOptimizer(model)
  const trainer = new Trainer({
    model,
    optimizer,
    trainDataset: fakeExamples(9),
    evalDataset: fakeExamples(6),
    ...options,
    args: {
      outputDir,
      perDeviceTrainBatchSize: 3,
      numTrainEpochs: 3,
      saveStrategy: 'steps',
      saveSteps: 1,
      saveTotalLimit: null,
      ...args,
    },
  })
  return { model, trainer }
}

/** The events of a run up to its error, or its end. */
async function collect(trainer: Trainer): Promise<{ events: TrainEvent[]; error: unknown }> {
  const events: TrainEvent[] = []
  try {
    for await (const event of trainer.train()) events.push(event)
  } catch (error) {
    return { events, error }
  }
  return { events, error: undefined }
}
const checkpoints = (folder = outputDir): string[] => readdirSync(folder).sort()
const warnings = (events: readonly TrainEvent[]): string[] =>
  events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
/** A signal that fires in the step after `step`. */
function abortAfter(step: number) {
  const controller = new AbortController()
  const onStepEnd = ({ state }: { state: { globalStep: number } }): void => {
    if (state.globalStep === step) controller.abort()
  }
  return { signal: controller.signal, callbacks: [{ onStepEnd }] }
}

describe('checkpoints of another run', () => {
  const other = () => build({ saveSteps: 9 }).trainer.train()

  test('are not rotated away by one that is resumed from a folder by its name', async () => {
    await other()
    const elsewhere = join(root, 'elsewhere')
    await collect(build({ outputDir: elsewhere }, abortAfter(2)).trainer)
    const args = { resumeFromCheckpoint: join(elsewhere, 'checkpoint-2'), saveTotalLimit: 1 }
    const { events } = await collect(build(args, abortAfter(5)).trainer)
    expect(warnings(events)[0]).toMatch(/has checkpoints of another run\. They are kept/)
    expect(checkpoints()).toEqual(['checkpoint-5', 'checkpoint-9'])
  })

  test('nor by one that saves only because it was stopped', async () => {
    await other()
    await collect(build({ saveStrategy: 'no', saveTotalLimit: 1 }, abortAfter(2)).trainer)
    expect(checkpoints()).toEqual(['checkpoint-2', 'checkpoint-9'])
  })

  test('count as its own where a run has come to their step', async () => {
    await build({ maxSteps: 2, saveSteps: 2 }).trainer.train()
    await build({ saveTotalLimit: 1 }).trainer.train()
    expect(checkpoints()).toEqual(['checkpoint-9'])
  })

  test('a resumed run still rotates those of before', async () => {
    await collect(build({ saveTotalLimit: 2 }, abortAfter(4)).trainer)
    const { events } = await collect(build({ saveTotalLimit: 2, resumeFromCheckpoint: true }).trainer)
    expect(warnings(events)).toEqual([])
    expect(checkpoints()).toEqual(['checkpoint-8', 'checkpoint-9'])
  })
})

test('the best checkpoint of a folder that was moved is not rotated away', async () => {
  const args = {
    evalStrategy: 'steps',
    evalSteps: 1,
    loadBestModelAtEnd: true,
    saveTotalLimit: 1,
    metricForBestModel: 'score',
    greaterIsBetter: true,
  } as const
  const options = { computeMetrics: () => ({ score: scores.shift() ?? 0 }) }
  const scores = [0, 9, 1, 1, 1]
  await collect(build(args, { ...options, ...abortAfter(5) }).trainer)
  expect(checkpoints()).toEqual(['checkpoint-2', 'checkpoint-5'])
  const moved = join(root, 'moved')
  renameSync(outputDir, moved)
  const { trainer } = build({ ...args, outputDir: moved, resumeFromCheckpoint: true }, options)
  expect(await trainer.train()).toMatchObject({ restoredStep: 2, bestModelCheckpoint: join(moved, 'checkpoint-2') })
  expect(checkpoints(moved)).toEqual(['checkpoint-2', 'checkpoint-9'])
})

describe('where something fails in the middle', () => {
  const epochs = { evalStrategy: 'epoch', saveStrategy: 'epoch' } as const

  test.each<[string, TrainingArgumentsInput, Partial<TrainerOptions>, RegExp]>([
    [
      'metrics that throw',
      epochs,
      {
        computeMetrics: () => {
          throw new RangeError('no metrics')
        },
      },
      /no metrics/,
    ],
    ['a metric that there is not', { ...epochs, metricForBestModel: 'f1' }, {}, /metricForBestModel/],
  ])('%s: the weights are saved, and the error is what it was', async (_, args, options, message) => {
    const { events, error } = await collect(build(args, options).trainer)
    expect(String(error)).toMatch(message)
    expect(warnings(events)).toEqual([
      `Training failed after step 3; ${join(outputDir, 'checkpoint-3')} can be resumed`,
    ])
    const resumed = build({ ...args, metricForBestModel: null, resumeFromCheckpoint: true })
    resumed.trainer.evaluate = vi.fn(resumed.trainer.evaluate)
    const whole = build({ ...args, metricForBestModel: null, outputDir: join(root, 'whole') })
    expect((await resumed.trainer.train()).globalStep).toBe(9)
    // of the three epochs, that of the first is owed
    expect(resumed.trainer.evaluate).toHaveBeenCalledTimes(3)
    await whole.trainer.train()
    expect(resumed.model.weights).toEqual(whole.model.weights)
  })

  test('nothing is saved before the first step, and saving is not tried again where it failed', async () => {
    const failing = new FakeModel()
    failing.beforeWork = () => {
      throw new RangeError('no step')
    }
    expect((await collect(build({}, { model: failing }).trainer)).error).toEqual(new RangeError('no step'))
    const full = new FakeModel()
    let saves = 0
    full.savePretrained = async () => {
      saves++
      throw new ArgumentError('the disk is full')
    }
    expect((await collect(build({}, { model: full }).trainer)).error).toEqual(new ArgumentError('the disk is full'))
    expect([saves, checkpoints()]).toEqual([1, []])
  })

  test('every callback is closed, and its error does not hide the first one', async () => {
    const closed: string[] = []
    const close = (name: string) => (): void => {
      closed.push(name)
      if (name === 'a') throw new RangeError('not closed')
    }
    const failing = {
      close: close('a'),
      onStepEnd: () => {
        throw new RangeError('first')
      },
    }
    const { error } = await collect(build({}, { callbacks: [failing, { close: close('b') }] }).trainer)
    expect([String(error), closed]).toEqual(['RangeError: first', ['a', 'b']])
    await expect(build({}, { callbacks: [{ close: close('a') }] }).trainer.train()).rejects.toThrow('not closed')
    for await (const _ of build({}, { callbacks: [{ close: close('c') }] }).trainer.train()) break
    expect(closed.at(-1)).toBe('c')
  })

  test('an abort names the checkpoint that there is', async () => {
    await collect(build({}, abortAfter(2)).trainer)
    const from = join(outputDir, 'checkpoint-2')
    const controller = new AbortController()
    const callbacks = [{ onTrainBegin: () => controller.abort() }]
    const args = { outputDir: join(root, 'other'), resumeFromCheckpoint: from }
    const { error } = await collect(build(args, { callbacks, signal: controller.signal }).trainer)
    expect(error).toBeInstanceOf(AbortedError)
    expect(String(error)).toContain(`${from} can be resumed`)
  })
})

describe('a checkpoint', () => {
  test('may have files of a desktop beside what was saved, but none of it unnamed', async () => {
    await collect(build({}, abortAfter(2)).trainer)
    writeFileSync(join(outputDir, 'checkpoint-2', '.DS_Store'), '')
    expect((await build({ resumeFromCheckpoint: true }).trainer.train()).globalStep).toBe(9)
    cpSync(join(outputDir, 'checkpoint-9', 'trainer_state.json'), join(outputDir, 'checkpoint-9', 'config.json'))
    const { error } = await collect(build({ resumeFromCheckpoint: true }).trainer)
    expect(error).toBeInstanceOf(DataError)
    expect(String(error)).toContain('does not name config.json')
  })

  test('is of the same data, made in the same way, and of the same model', async () => {
    const data = fakeExamples(9)
    const trainDataset = { data, settings: 'masks 0.15' }
    const model = Object.assign(new FakeModel(), { config: { toJSON: () => ({ num_attention_heads: 2 }) } })
    const save = model.savePretrained.bind(model)
    model.savePretrained = async (folder) => {
      await save(folder)
      writeFileSync(join(folder, 'config.json'), JSON.stringify(model.config))
    }
    await collect(build({}, { model, trainDataset, ...abortAfter(2) }).trainer)
    const resume = (options: Partial<TrainerOptions>) =>
      build({ resumeFromCheckpoint: true }, { model, trainDataset, ...options }).trainer.train()
    const isOtherData = /same data, \w+, but it has \w+: the training examples, or the settings/
    await expect(resume({ trainDataset: { data, settings: 'masks 0.3' } })).rejects.toThrow(isOtherData)
    await expect(resume({ trainDataset: fakeExamples(10).slice(1) })).rejects.toThrow(isOtherData)
    const others = Object.assign(new FakeModel(), { config: { toJSON: () => ({ num_attention_heads: 8 }) } })
    await expect(resume({ model: others })).rejects.toThrow('the same num_attention_heads, 2, but it has 8')
    expect((await resume({})).globalStep).toBe(9)
  })

  test('says of which run it is', async () => {
    await collect(build({}, abortAfter(2)).trainer)
    await build({ resumeFromCheckpoint: true }).trainer.train()
    await build({ outputDir: join(root, 'other') }).trainer.train()
    const idOf = (folder: string): string =>
      JSON.parse(readFileSync(join(folder, 'trainer_state.json'), 'utf8')).bertkit.run_id
    expect(idOf(join(outputDir, 'checkpoint-9'))).toBe(idOf(join(outputDir, 'checkpoint-2')))
    expect(idOf(join(root, 'other', 'checkpoint-9'))).not.toBe(idOf(join(outputDir, 'checkpoint-2')))
  })
})

describe('early stopping', () => {
  const args = { evalStrategy: 'steps', evalSteps: 1, metricForBestModel: 'score', greaterIsBetter: true } as const
  const scored = (...scores: number[]) => ({ computeMetrics: () => ({ score: scores.shift() ?? 0 }) })

  test('takes any number for better than NaN, and NaN for no better than anything', async () => {
    const patient = { ...args, earlyStoppingPatience: 2, saveStrategy: 'no' } as const
    expect((await build(patient, scored(Number.NaN, 1, 2, 3, 4, 5, 6, 7, 8)).trainer.train()).globalStep).toBe(9)
    const nan = Array.from({ length: 9 }, () => Number.NaN)
    expect((await build(patient, scored(...nan)).trainer.train()).globalStep).toBe(3)
    await collect(build({ ...patient, outputDir }, { ...scored(...nan), ...abortAfter(2) }).trainer)
    const resumed = build({ ...patient, outputDir, resumeFromCheckpoint: true }, scored(...nan))
    expect((await resumed.trainer.train()).globalStep).toBe(3)
  })

  test('begins anew with each run, and not with the evaluation before the first step', async () => {
    const callback = new EarlyStoppingCallback({ earlyStoppingPatience: 2 })
    const run = (...scores: number[]) =>
      build({ ...args, saveStrategy: 'no', evalOnStart: true }, { ...scored(...scores), callbacks: [callback] })
    expect((await run(9, 1, 2, 3, 3, 3).trainer.train()).globalStep).toBe(5)
    expect((await run(9, 1, 2, 3, 3, 3).trainer.train()).globalStep).toBe(5)
  })

  test('is asked for once', () => {
    const callbacks = [new EarlyStoppingCallback()]
    expect(() => build({ ...args, earlyStoppingPatience: 2 }, { callbacks })).toThrow(/two are called/)
  })
})

test.each<[string, Partial<Record<keyof TrainerOptions, unknown>>]>([
  ['args', { args: 5 }],
  ['computeMetrics', { computeMetrics: 'accuracy' }],
  ['dataCollator', { dataCollator: 5 }],
  ['optimizer', { optimizer: {} }],
  ['tokenizer', { tokenizer: {} }],
  ['trainDataset', { trainDataset: { data: undefined } }],
])('the option %s is checked before a run begins', (name, options) => {
  const all = { model: new FakeModel(), trainDataset: fakeExamples(3), ...options } as unknown as TrainerOptions
  expect(() => new Trainer(all)).toThrow(ArgumentError)
  expect(() => new Trainer(all)).toThrow(new RegExp(`${name}\\b.* but received`))
})
