import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { NonFiniteError } from '../../src/errors.ts'
import type { TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { type CallbackContext, EarlyStoppingCallback, type TrainerCallback } from '../../src/train/callbacks.ts'
import type { TrainEvent } from '../../src/train/events.ts'
import { Trainer, type TrainerOptions } from '../../src/train/trainer.ts'
import { FakeModel, FakeOptimizer, fakeExamples } from './fake-model.ts'

let outputDir: string
beforeEach(() => {
  outputDir = mkdtempSync(join(tmpdir(), 'bertkit-callbacks-'))
})
afterEach(() => rmSync(outputDir, { recursive: true, force: true }))

function build(args: TrainingArgumentsInput, options: Partial<TrainerOptions> = {}) {
  const model = new FakeModel()
  const optimizer = new FakeOptimizer(model, 0.1)
  const data = { trainDataset: fakeExamples(10), evalDataset: fakeExamples(6) }
  const fixed = {
    outputDir,
    perDeviceTrainBatchSize: 4,
    numTrainEpochs: 2,
    saveStrategy: 'no',
    loggingSteps: 2,
  } as const
  return new Trainer({
    model,
    optimizer,
    ...data,
    ...options,
    args: { ...fixed, learningRate: 0.1, ...args, ...options.args },
  })
}

async function collect(trainer: Trainer): Promise<TrainEvent[]> {
  const events: TrainEvent[] = []
  for await (const event of trainer.train()) events.push(event)
  return events
}
const steps = (events: readonly TrainEvent[], type: TrainEvent['type']): number[] =>
  events.flatMap((event) => (event.type === type ? [event.step] : []))

test('a callback sees every event in order, and the state at that time', async () => {
  const seen: string[] = []
  const note =
    (name: string) =>
    ({ state }: CallbackContext): void =>
      void seen.push(`${name} ${state.globalStep} ${state.epoch.toFixed(2)}`)
  const callback: TrainerCallback = {
    onTrainBegin: note('begin'),
    onEpochBegin: note('epoch'),
    onStepBegin: note('step'),
    onStepEnd: note('stepped'),
    onLog: note('log'),
    onEvaluate: note('evaluate'),
    onSave: note('save'),
    onEpochEnd: note('epoch end'),
    onTrainEnd: note('end'),
    close: () => void seen.push('close'),
  }
  await build({ numTrainEpochs: 1, evalStrategy: 'epoch', saveStrategy: 'epoch' }, { callbacks: [callback] }).train()
  expect(seen).toEqual([
    'begin 0 0.00',
    'epoch 0 0.00',
    'step 0 0.00',
    'stepped 1 0.33',
    'step 1 0.33',
    'stepped 2 0.67',
    'log 2 0.67',
    'step 2 0.67',
    'stepped 3 1.00',
    'log 3 1.00',
    'log 3 1.00',
    'evaluate 3 1.00',
    'save 3 1.00',
    'epoch end 3 1.00',
    'log 3 1.00',
    'end 3 1.00',
    'close',
  ])
})

test('control asks for a log, an evaluation and a checkpoint after a step', async () => {
  const callback: TrainerCallback = {
    onStepEnd({ control, state }) {
      if (state.globalStep !== 3) return
      control.shouldLog = true
      control.shouldEvaluate = true
      control.shouldSave = true
    },
  }
  const events = await collect(build({ loggingStrategy: 'no' }, { callbacks: [callback] }))
  for (const type of ['log', 'evaluate', 'save'] as const) expect(steps(events, type)).toEqual([3])
})

test('shouldEpochStop goes on with the next epoch; shouldTrainingStop ends the run', async () => {
  const epochStop: TrainerCallback = {
    onStepEnd({ control, state }) {
      if (state.globalStep === 1) control.shouldEpochStop = true
    },
  }
  const skipped = await collect(build({}, { callbacks: [epochStop] }))
  const epochs = skipped.flatMap((event) => (event.type === 'step' ? [event.epoch] : []))
  expect(epochs.map((epoch) => Number(epoch.toFixed(2)))).toEqual([0.33, 1.33, 1.67, 2])
  const stop: TrainerCallback = {
    onStepEnd({ control, state }) {
      if (state.globalStep === 2) control.shouldTrainingStop = true
    },
  }
  const events = await collect(build({}, { callbacks: [stop] }))
  expect(steps(events, 'step')).toEqual([1, 2])
  expect(events.at(-1)).toMatchObject({ type: 'end', step: 2 })
})

test('an error of a callback ends the run, and callbacks are closed', async () => {
  let closed = false
  const callback: TrainerCallback = {
    onStepEnd() {
      throw new Error('no more')
    },
    close() {
      closed = true
    },
  }
  await expect(build({}, { callbacks: [callback] }).train()).rejects.toThrow('no more')
  expect(closed).toBe(true)
})

describe('early stopping', () => {
  // By Transformers' rule (trainer_callback.py): the counter starts anew where a value beats the best one before by more than the threshold.
  const cases: [patience: number, threshold: number, losses: number[], last: number][] = [
    [1, 0, [5, 4, 3, 2, 1, 0], 6],
    [1, 0, [5, 4, 4, 2, 1, 0], 3],
    [2, 0, [5, 6, 4, 7, 8, 0], 5],
    [2, 0.5, [5, 4.8, 4.6, 1, 1, 1], 3],
    [3, 0, [1, 2, 0, 2, 2, 2], 6],
  ]
  test.each(cases)(
    'patience %i, threshold %d over losses %j stops at step %i',
    async (patience, threshold, losses, last) => {
      const args = {
        evalStrategy: 'steps',
        evalSteps: 1,
        metricForBestModel: 'loss',
        earlyStoppingPatience: patience,
        earlyStoppingThreshold: threshold,
      } as const
      const trainer = build(args)
      let evaluation = 0
      trainer.evaluate = async () => ({ eval_loss: losses[evaluation++] })
      expect((await trainer.train()).globalStep).toBe(last)
    },
  )

  test('may be given as a callback, with a metric of which more is better', async () => {
    const callbacks = [new EarlyStoppingCallback({ earlyStoppingPatience: 1 })]
    const trainer = build({ evalStrategy: 'steps', evalSteps: 1, metricForBestModel: 'accuracy' }, { callbacks })
    let evaluation = 0
    trainer.evaluate = async () => ({ eval_accuracy: [0.1, 0.5, 0.4, 0.9][evaluation++] })
    expect((await trainer.train()).globalStep).toBe(3)
  })

  test('needs evaluations', () => {
    expect(() => build({ earlyStoppingPatience: 2 })).toThrow(
      /evalStrategy to be steps or epoch because of earlyStopping/,
    )
  })
})

describe('reportTo tensorboard', () => {
  test('writes an event file below the output folder', async () => {
    await build({ reportTo: 'tensorboard' }).train()
    const [run] = readdirSync(join(outputDir, 'runs'))
    expect(readdirSync(join(outputDir, 'runs', run))[0]).toMatch(/^events\.out\.tfevents\./)
  })

  test('is a warning, and no end of training, where it cannot be written', async () => {
    writeFileSync(join(outputDir, 'runs'), 'a file where the folder should be')
    const events = await collect(build({ reportTo: 'tensorboard' }))
    expect(events.filter((event) => event.type === 'warning')).toMatchObject([
      { message: expect.stringMatching(/^No more is written for TensorBoard: Cannot create /) },
    ])
    expect(events.at(-1)).toMatchObject({ type: 'end', step: 6 })
    expect(existsSync(join(outputDir, 'runs'))).toBe(true)
  })
})

test('evaluations wait for evalDelay', async () => {
  const bySteps = await collect(build({ evalStrategy: 'steps', evalSteps: 1, evalDelay: 4 }))
  expect(steps(bySteps, 'evaluate')).toEqual([4, 5, 6])
  const byEpochs = await collect(build({ evalStrategy: 'epoch', evalDelay: 1.5 }))
  expect(steps(byEpochs, 'evaluate')).toEqual([6])
})

describe('what a run must not forget', () => {
  const epochStop = (): TrainerCallback => ({
    onStepEnd({ control, state }) {
      if (state.globalStep === 2) control.shouldEpochStop = true
    },
  })
  const losses = (events: readonly TrainEvent[]): number[] =>
    events.flatMap((event) => (event.type === 'step' ? [event.loss] : []))

  test('an epoch that a callback ended stays ended in a run that is resumed there', async () => {
    const args = { saveStrategy: 'steps', saveSteps: 1, numTrainEpochs: 3 } as const
    const whole = await collect(build(args, { callbacks: [epochStop()] }))
    const resumeFromCheckpoint = join(outputDir, 'checkpoint-2')
    const resumed = await collect(build({ ...args, resumeFromCheckpoint }, { callbacks: [epochStop()] }))
    expect(losses(resumed)).toEqual(losses(whole).slice(2))
    expect(steps(whole, 'step').at(-1)).toBe(8)
  })

  test('the end of an epoch is told once, also where the run was stopped between its checkpoint and it', async () => {
    const ends: number[] = []
    const callback = (): TrainerCallback => ({ onEpochEnd: ({ state }) => void ends.push(state.globalStep) })
    const args = { saveStrategy: 'epoch' } as const
    await build(args, { callbacks: [callback()] }).train()
    expect(ends).toEqual([3, 6])
    ends.length = 0
    await build({ ...args, resumeFromCheckpoint: join(outputDir, 'checkpoint-3') }, { callbacks: [callback()] }).train()
    expect(ends).toEqual([3, 6])
  })

  test('a stop in the middle of an epoch evaluates and saves as the end of one does', async () => {
    const stop: TrainerCallback = {
      onStepEnd({ control, state }) {
        if (state.globalStep === 2) control.shouldTrainingStop = true
      },
    }
    const events = await collect(build({ evalStrategy: 'epoch', saveStrategy: 'epoch' }, { callbacks: [stop] }))
    expect(steps(events, 'evaluate')).toEqual([2])
    expect(steps(events, 'save')).toEqual([2])
  })

  test('evaluating in a callback leaves the steps after it in training mode', async () => {
    const trainer: Trainer = build({}, { callbacks: [{ onStepEnd: () => trainer.evaluate().then(() => undefined) }] })
    expect((await trainer.train()).globalStep).toBe(6)
  })

  test('the best checkpoint is checked: a damaged one is a warning', async () => {
    const best = {
      evalStrategy: 'steps',
      evalSteps: 1,
      saveStrategy: 'steps',
      saveSteps: 1,
      loadBestModelAtEnd: true,
    } as const
    const damage: TrainerCallback = {
      onSave({ state }) {
        if (state.globalStep === 6) writeFileSync(join(state.bestModelCheckpoint ?? '', 'model.safetensors'), 'damaged')
      },
    }
    const events = await collect(build(best, { callbacks: [damage] }))
    expect(events.filter((event) => event.type === 'warning')).toMatchObject([
      { message: expect.stringMatching(/^The best checkpoint cannot be used \(.*not what was saved/) },
    ])
  })

  test.each<[string, TrainingArgumentsInput]>([
    ['weightDecay', { weightDecay: 0.5 }],
    ['adamBeta1', { adamBeta1: 0.5 }],
    ['lrSchedulerKwargs', { lrSchedulerKwargs: { numCycles: 2 }, lrSchedulerType: 'cosine_with_restarts' }],
  ])('a resumed run with another %s is refused', async (field, args) => {
    const base = { saveStrategy: 'steps', saveSteps: 1, lrSchedulerType: args.lrSchedulerType ?? 'linear' } as const
    await build(base).train()
    const resumed = build({ ...base, ...args, resumeFromCheckpoint: join(outputDir, 'checkpoint-1') })
    await expect(resumed.train()).rejects.toThrow(`to have the same ${field}`)
  })
})

describe('a callback with an event that there is not', () => {
  class OfPython {
    on_step_end(): void {}
  }
  class Derived extends OfPython {
    onLog(): void {}
  }
  test.each([
    ['an object', { onStepEnds: () => {} }, 'onStepEnds'],
    ['a class', new OfPython(), 'on_step_end'],
    ['a class derived from one', new Derived(), 'on_step_end'],
    ['an event of Transformers', { onPredictionStep: () => {} }, 'onPredictionStep'],
  ])('%s', (_, callback, name) => {
    expect(() => build({}, { callbacks: [callback as TrainerCallback] })).toThrow(
      `Expected the events of a callback to be among onTrainBegin, onTrainEnd, onEpochBegin, onEpochEnd, onStepBegin, onStepEnd, onEvaluate, onSave, onLog but it has ${name}`,
    )
  })

  test('or one that cannot be called', () => {
    const callback = { onLog: 'print' } as unknown as TrainerCallback
    expect(() => build({}, { callbacks: [callback] })).toThrow('Expected onLog of a callback to be a function')
    build({}, { callbacks: [{ onLog: undefined, once: 1, online: true } as TrainerCallback] })
  })
})

describe('what is on the disk', () => {
  test('of other runs does not concern one that saves nothing', async () => {
    await build({ saveStrategy: 'steps', saveSteps: 1 }).train()
    renameSync(join(outputDir, 'checkpoint-6'), join(outputDir, 'checkpoint-6.old'))
    const before = readdirSync(outputDir)
    const events = await collect(build({}))
    expect(steps(events, 'warning')).toEqual([])
    expect(readdirSync(outputDir)).toEqual(before)
  })

  test('checkpoints of another run stay, and a warning says so', async () => {
    const args = { saveStrategy: 'steps', saveSteps: 1, saveTotalLimit: 1 } as const
    await build({ ...args, numTrainEpochs: 3 }).train()
    expect(readdirSync(outputDir)).toEqual(['checkpoint-9'])
    const events = await collect(build(args))
    expect(readdirSync(outputDir).sort()).toEqual(['checkpoint-6', 'checkpoint-9'])
    expect(events[0]).toMatchObject({
      type: 'warning',
      message: expect.stringMatching(/checkpoints of another run\. They are kept/),
    })
  })

  test('a step whose loss is not finite leaves the weights before it in a checkpoint', async () => {
    const optimizer = new FakeOptimizer(new FakeModel(), 0.1)
    const step = optimizer.step.bind(optimizer)
    let steps = 0
    optimizer.step = async (...given) => {
      if (++steps === 3) throw new NonFiniteError('Step 3: the loss is NaN', 3, 'loss')
      return step(...given)
    }
    const failing = build({ saveStrategy: 'epoch' }, { model: optimizer.model, optimizer })
    await expect(failing.train()).rejects.toThrow(/Step 3: the loss is NaN; .*checkpoint-2 has the weights before it/)
    expect(readdirSync(outputDir)).toEqual(['checkpoint-2'])
  })

  test('a folder that cannot be written is found out before the first step', async () => {
    writeFileSync(join(outputDir, 'file'), '')
    let stepped = false
    const onStepBegin = (): void => {
      stepped = true
    }
    const callbacks = [{ onStepBegin }]
    const trainer = build({ saveStrategy: 'epoch', outputDir: join(outputDir, 'file', 'below') }, { callbacks })
    await expect(trainer.train()).rejects.toThrow(/Cannot create .*below: it, or a part of its path, is a file/)
    expect(stepped).toBe(false)
  })
})

describe('options that cannot be', () => {
  const cases: [string, object, RegExp][] = [
    ['no dataset', { trainDataset: 5 }, /trainDataset to be a dataset but received a number/],
    ['no examples', { trainDataset: [null] }, /trainDataset\[0\] to be an example with inputIds but received null/],
    ['no input', { trainDataset: [{ labels: 1 }] }, /trainDataset\[0\] to be an example with inputIds/],
    ['no callbacks', { callbacks: {} }, /callbacks to be an array of callbacks/],
    ['a class', { callbacks: [EarlyStoppingCallback] }, /objects, not classes/],
    ['a signal', { signal: {} }, /signal to be an AbortSignal/],
    ['no model', { model: {} }, /option model to be a model/],
    [
      'twins',
      { callbacks: [new EarlyStoppingCallback(), new EarlyStoppingCallback()] },
      /different names but two are called/,
    ],
  ]
  test.each(cases)('%s', (_, options, message) => {
    expect(() => build({}, options)).toThrow(message)
  })
})
