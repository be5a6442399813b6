import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AbortedError, ArgumentError, DataError, WeightsError } from '../../src/errors.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { latestCheckpoint, recoverCheckpoints, rotateCheckpoints } from '../../src/train/checkpoint.ts'
import type { LogRecord, TrainEvent } from '../../src/train/events.ts'
import { MANIFEST_FILE, writeManifest } from '../../src/train/manifest.ts'
import { Trainer } from '../../src/train/trainer.ts'
import { FakeModel, FakeOptimizer, fakeExamples } from './fake-model.ts'

let outputDir: string
beforeEach(() => {
  outputDir = mkdtempSync(join(tmpdir(), 'bertkit-checkpoint-'))
})
afterEach(() => rmSync(outputDir, { recursive: true, force: true }))

const STEPS = 10 // 2 epochs of 5 updates, the last update of each with one micro-batch

function build(args: TrainingArgumentsInput = {}, signal?: AbortSignal) {
  const model = new FakeModel()
  const optimizer = new FakeOptimizer(model, args.learningRate ?? 0.1)
  const trainer = new Trainer({
    model,
    optimizer,
    signal,
    trainDataset: fakeExamples(17),
    evalDataset: fakeExamples(6),
    tokenizer: { savePretrained: async (folder) => writeFileSync(join(folder, 'vocab.txt'), '[PAD]\n') },
    args: {
      outputDir,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      numTrainEpochs: 2,
      warmupRatio: 0.2,
      loggingSteps: 3,
      evalStrategy: 'epoch',
      saveStrategy: 'steps',
      saveSteps: 1,
      metricForBestModel: 'loss',
      ...args,
    },
  })
  return { model, optimizer, trainer }
}

async function collect(trainer: Trainer): Promise<TrainEvent[]> {
  const events: TrainEvent[] = []
  for await (const event of trainer.train()) events.push(event)
  return events
}

/** What a run leaves behind, without the times. */
function remains({ model, optimizer }: ReturnType<typeof build>, folder = outputDir) {
  const state = JSON.parse(readFileSync(join(folder, `checkpoint-${STEPS}`, 'trainer_state.json'), 'utf8'))
  const timing = /runtime|per_second/
  const history = state.log_history.map((line: LogRecord) =>
    Object.fromEntries(Object.entries(line).filter(([name]) => !timing.test(name))),
  )
  return { weights: [...model.weights], momentum: [...optimizer.momentum], steps: optimizer.steps, history }
}

describe('resuming', () => {
  test('from any step gives the weights, optimiser and log of an unbroken run', async () => {
    const whole = build()
    await whole.trainer.train()
    const expected = remains(whole)
    for (let step = 1; step < STEPS; step++) {
      const resumed = build({ resumeFromCheckpoint: join(outputDir, `checkpoint-${step}`) })
      await resumed.trainer.train()
      expect(remains(resumed), `resumed from step ${step}`).toEqual(expected)
      expect(resumed.optimizer.seen.length).toBe(STEPS - step)
    }
  })

  test('an abort at any point leaves a checkpoint that continues to the same end', async () => {
    const whole = build()
    await whole.trainer.train()
    const expected = remains(whole)
    const calls = STEPS + 2 // every step and every forward pass of an evaluation
    for (let call = 1; call < calls; call++) {
      const folder = join(outputDir, `aborted-${call}`)
      const controller = new AbortController()
      const aborted = build({ outputDir: folder, saveStrategy: 'no' }, controller.signal)
      aborted.model.beforeWork = (n) => {
        if (n === call) controller.abort()
      }
      const error = await collect(aborted.trainer).catch((cause: unknown) => cause)
      expect(error).toBeInstanceOf(AbortedError)
      expect((error as Error).message).toMatch(/checkpoint-\d+ can be resumed/)
      const resumed = build({ outputDir: folder, resumeFromCheckpoint: true })
      await resumed.trainer.train()
      expect(remains(resumed, folder), `aborted at call ${call}`).toEqual(expected)
    }
  })

  test('an aborted run reports the checkpoint that it saved', async () => {
    const controller = new AbortController()
    const { model, trainer } = build({ saveStrategy: 'no' }, controller.signal)
    model.beforeWork = (call) => {
      if (call === 2) controller.abort()
    }
    const saved: string[] = []
    await expect(async () => {
      for await (const event of trainer.train()) if (event.type === 'save') saved.push(event.checkpoint)
    }).rejects.toThrow(AbortedError)
    expect(saved).toEqual([join(outputDir, 'checkpoint-2')])
    expect(readdirSync(saved[0]).sort()).toEqual([
      'manifest.json',
      'model.safetensors',
      'optimizer.safetensors',
      'trainer_state.json',
      'vocab.txt',
    ])
  })

  test('also with saveOnlyModel the checkpoint of an aborted run can be resumed', async () => {
    const whole = build()
    await whole.trainer.train()
    const expected = remains(whole)
    const folder = join(outputDir, 'aborted')
    const controller = new AbortController()
    const aborted = build({ outputDir: folder, saveOnlyModel: true }, controller.signal)
    // The fourth step: step 3 has a checkpoint already, but one without the optimiser.
    aborted.model.beforeWork = (call) => {
      if (call === 3) controller.abort()
    }
    await expect(collect(aborted.trainer)).rejects.toThrow(/checkpoint-3 can be resumed/)
    const resumed = build({ outputDir: folder, resumeFromCheckpoint: true })
    await resumed.trainer.train()
    expect(remains(resumed, folder)).toEqual(expected)
  })

  test('refuses a run with other data, other batches or another seed', async () => {
    await build({ maxSteps: 4 }).trainer.train()
    const resume = { resumeFromCheckpoint: true, maxSteps: 4 }
    await expect(build({ ...resume, perDeviceTrainBatchSize: 4 }).trainer.train()).rejects.toThrow(
      /same trainBatchSize, 2/,
    )
    await expect(build({ ...resume, seed: 1 }).trainer.train()).rejects.toThrow(/same dataSeed, 42, but it has 1/)
    await expect(build({ ...resume, maxSteps: 5 }).trainer.train()).rejects.toThrow(/same maxSteps/)
    const others: [TrainingArgumentsInput, RegExp][] = [
      [{ trainSamplingStrategy: 'sequential' }, /same trainSamplingStrategy, random, but it has sequential/],
      [{ dataloaderDropLast: true }, /same (updatesPerEpoch, 5|dataloaderDropLast, false), but it has/],
      [
        { tokensPerBatch: 99, perDeviceTrainBatchSize: undefined },
        /same (trainBatchSize, 2|updatesPerEpoch, 5|tokensPerBatch, 0), but it has/,
      ],
      [{ lrSchedulerType: 'cosine' }, /same lrSchedulerType, linear, but it has cosine/],
      [{ warmupRatio: 0.5 }, /same warmupSteps, 1, but it has 2/],
      [{ learningRate: 0.2 }, /same learningRate, 0.1, but it has 0.2/],
    ]
    for (const [args, message] of others) {
      const run = build({ ...resume, ...args }).trainer.train()
      await expect(run).rejects.toThrow(ArgumentError)
      await expect(run).rejects.toThrow(message)
    }
  })

  test('names what is wrong with a checkpoint', async () => {
    await expect(build({ resumeFromCheckpoint: true }).trainer.train()).rejects.toThrow(/hold a checkpoint/)
    await build({ maxSteps: 2, saveOnlyModel: true }).trainer.train()
    const folder = join(outputDir, 'checkpoint-2')
    const resume = (): PromiseLike<unknown> => build({ maxSteps: 2, resumeFromCheckpoint: folder }).trainer.train()
    await expect(resume()).rejects.toThrow(/saved with saveOnlyModel/)
    await build({ maxSteps: 2 }).trainer.train()
    const stateFile = join(folder, 'trainer_state.json')
    const good = readFileSync(stateFile, 'utf8')
    const bad: [string, RegExp][] = [
      ['{', /not valid JSON/],
      ['[]', /an object/],
      [good.replace('"global_step": 2', '"global_step": "2"'), /global_step to be a number but received "2"/],
      [good.replace('"bertkit"', '"other"'), /bertkit to be an object/],
    ]
    /** The manifest of what is in the folder now, as if it had been saved so. */
    const sign = async (): Promise<void> => {
      rmSync(join(folder, MANIFEST_FILE))
      await writeManifest(folder)
    }
    for (const [text, message] of bad) {
      writeFileSync(stateFile, text)
      await sign()
      await expect(resume()).rejects.toThrow(DataError)
      await expect(resume()).rejects.toThrow(message)
    }
    writeFileSync(stateFile, good)
    writeFileSync(join(folder, 'model.safetensors'), 'short')
    await sign()
    await expect(resume()).rejects.toThrow(WeightsError)
  })

  test('a flipped bit, a missing file and a missing manifest are DataErrors that name the file', async () => {
    await build({ maxSteps: 2 }).trainer.train()
    const folder = join(outputDir, 'checkpoint-2')
    const resume = (): PromiseLike<unknown> => build({ maxSteps: 2, resumeFromCheckpoint: folder }).trainer.train()
    for (const name of readdirSync(folder).filter((each) => each !== MANIFEST_FILE)) {
      const file = join(folder, name)
      const good = readFileSync(file)
      for (const bit of [0, good.length * 4 + 3, good.length * 8 - 1]) {
        const bad = Buffer.from(good)
        bad[bit >> 3] ^= 1 << (bit & 7)
        writeFileSync(file, bad)
        await expect(resume()).rejects.toThrow(`${file}: the file is not what was saved`)
      }
      rmSync(file)
      const whole = name === 'model.safetensors' || name === 'vocab.txt'
      await expect(resume()).rejects.toThrow(whole ? `${file}: the checkpoint had this file` : ArgumentError)
      writeFileSync(file, good)
    }
    rmSync(join(folder, MANIFEST_FILE))
    await expect(resume()).rejects.toThrow(/there is no manifest.json/)
  })
})

describe('the best model', () => {
  const best = { evalStrategy: 'steps', evalSteps: 1, loadBestModelAtEnd: true } as const

  test('is what the model ends with, and is never rotated away', async () => {
    // Greatest loss first, so that the best step is neither the first nor the last by accident of training.
    const { model, trainer } = build({ ...best, saveTotalLimit: 1, learningRate: 0.1, greaterIsBetter: true })
    const events = await collect(trainer)
    const losses = events.flatMap((event) => (event.type === 'evaluate' ? [event.metrics.eval_loss] : []))
    const bestStep = losses.indexOf(Math.max(...losses)) + 1
    const left = readdirSync(outputDir).sort()
    expect(left).toEqual([...new Set([`checkpoint-${bestStep}`, `checkpoint-${STEPS}`])].sort())
    expect(model.weights).toEqual((await FakeModel.read(join(outputDir, `checkpoint-${bestStep}`))).weights)
    const output = events.flatMap((event) => (event.type === 'end' ? [event.output] : []))[0]
    expect(output.bestModelCheckpoint).toBe(join(outputDir, `checkpoint-${bestStep}`))
    expect(output.bestMetric).toBe(Math.max(...losses))
  })

  test('is that of the best checkpoint where the best step has none, and the output says so', async () => {
    const { model, trainer } = build({ ...best, saveSteps: 4, learningRate: 0.1, greaterIsBetter: true })
    // Best first at step 4, which is saved, then at step 6, which is not.
    let evaluations = 0
    trainer.evaluate = async () => ({ eval_loss: [0, 0, 0, 1, 0, 2, 0, 0, 0, 0][evaluations++] })
    const output = await trainer.train()
    expect(output).toMatchObject({ globalStep: STEPS, bestGlobalStep: 6, restoredStep: 4 })
    expect(output.bestModelCheckpoint).toBe(join(outputDir, 'checkpoint-4'))
    expect(model.weights).toEqual((await FakeModel.read(join(outputDir, 'checkpoint-4'))).weights)
    expect((await build({ ...best, loadBestModelAtEnd: false }).trainer.train()).restoredStep).toBeNull()
  })

  test('is saved alone with saveStrategy best', async () => {
    const { trainer } = build({ ...best, saveStrategy: 'best', loadBestModelAtEnd: false })
    const events = await collect(trainer)
    const improved = events.flatMap((event) => (event.type === 'evaluate' && event.isBest ? [event.step] : []))
    const saved = events.flatMap((event) => (event.type === 'save' ? [event.step] : []))
    expect(saved).toEqual(improved)
    expect(saved.length).toBeGreaterThan(0)
  })

  test('is found after the folder was moved, and missed with a warning where it is gone', async () => {
    const args = { ...best, numTrainEpochs: 2 }
    await build(args).trainer.train()
    const moved = `${outputDir}-moved`
    renameSync(outputDir, moved)
    try {
      const resume = { ...args, outputDir: moved, resumeFromCheckpoint: join(moved, `checkpoint-${STEPS}`) }
      const found = await collect(build(resume).trainer)
      expect(found.map((event) => event.type)).toEqual(['resume', 'end'])
      const state = JSON.parse(readFileSync(join(moved, `checkpoint-${STEPS}`, 'trainer_state.json'), 'utf8'))
      const name = state.best_model_checkpoint.split('/').at(-1)
      renameSync(join(moved, name), join(moved, 'elsewhere'))
      const resumeFromCheckpoint = join(moved, name === `checkpoint-${STEPS}` ? 'elsewhere' : `checkpoint-${STEPS}`)
      const missed = await collect(build({ ...resume, resumeFromCheckpoint }).trainer)
      expect(missed.map((event) => event.type)).toEqual(['resume', 'warning', 'end'])
    } finally {
      rmSync(moved, { recursive: true, force: true })
    }
  })
})

describe('folders', () => {
  const make = (name: string, seconds = 0): string => {
    const folder = join(outputDir, name)
    mkdirSync(folder)
    for (const file of ['trainer_state.json', 'optimizer.safetensors', 'manifest.json'])
      writeFileSync(join(folder, file), '{}')
    utimesSync(folder, 1000 + seconds, 1000 + seconds)
    return folder
  }

  test('a failed save removes what it wrote, keeps the older checkpoint, and says why', async () => {
    await build({ maxSteps: 2 }).trainer.train()
    const before = readFileSync(join(outputDir, 'checkpoint-2', 'trainer_state.json'))
    const { model, trainer } = build({ maxSteps: 2, saveSteps: 2 })
    model.savePretrained = async (folder) => {
      writeFileSync(join(folder, 'model.safetensors'), 'half')
      throw new ArgumentError('the disk is full')
    }
    await expect(trainer.train()).rejects.toThrow('the disk is full')
    expect(readdirSync(outputDir).sort()).toEqual(['checkpoint-1', 'checkpoint-2'])
    expect(readFileSync(join(outputDir, 'checkpoint-2', 'trainer_state.json'))).toEqual(before)
  })

  test('what a killed process left is cleaned up: temporaries go, a replaced checkpoint comes back', async () => {
    make('checkpoint-1.tmp')
    make('checkpoint-2.old')
    make('checkpoint-3')
    make('checkpoint-3.old')
    make('notes.tmp')
    await recoverCheckpoints(outputDir)
    expect(readdirSync(outputDir).sort()).toEqual(['checkpoint-2', 'checkpoint-3', 'notes.tmp'])
  })

  test('the latest checkpoint is that of the highest step', async () => {
    for (const name of ['checkpoint-9', 'checkpoint-10', 'checkpoint-11x', 'checkpoint-']) make(name)
    expect(await latestCheckpoint(outputDir)).toBe(join(outputDir, 'checkpoint-10'))
  })

  test('rotation deletes the oldest first and spares the best', async () => {
    for (const [step, age] of [
      [1, 5],
      [2, 1],
      [3, 2],
      [4, 3],
      [5, 4],
    ])
      make(`checkpoint-${step}`, age)
    make('other')
    await rotateCheckpoints(outputDir, 3, join(outputDir, 'checkpoint-1'), join(outputDir, 'checkpoint-2'))
    expect(readdirSync(outputDir).sort()).toEqual(['checkpoint-1', 'checkpoint-2', 'checkpoint-5', 'other'])
    expect(existsSync(join(outputDir, 'checkpoint-3'))).toBe(false)
  })
})
