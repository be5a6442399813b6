// A call computes with what it was given, and one that cannot be computed starts nothing.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { openBackend } from '../../src/backend/open.ts'
import { AbortedError, ArgumentError } from '../../src/errors.ts'
import { getScheduler } from '../../src/optim/schedules.ts'
import { AdamW, type AdamWOptions } from '../../src/session/adamw.ts'
import { BertLMHeadModel, BertModel } from '../../src/session/models.ts'
import { sameBits, sequences, tinyClassifier, tinyConfig } from './tiny.ts'

afterEach(() => void vi.unstubAllEnvs())

const batch = { inputIds: sequences([3, 5]), labels: [0, 2] }

describe('a signal that is none', () => {
  const signal = new AbortController() as unknown as AbortSignal

  it('is refused before a step begins, which changes no weight', async () => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model)
    await optimizer.step(batch)
    const before = await model.stateDict()
    await expect(optimizer.step(batch, { signal })).rejects.toThrow(/AbortSignal/)
    expect(model.optimizerSteps).toBe(1)
    for (const [name, { data }] of await model.stateDict()) expect(sameBits(data, before.get(name)!.data)).toBe(true)
  })

  it('is refused by every other call', async () => {
    using model = tinyClassifier()
    using decoder = new BertLMHeadModel(tinyConfig({ isDecoder: true }))
    await expect(model.forward(batch, { signal })).rejects.toThrow(ArgumentError)
    await expect(model.gradients(batch, { signal })).rejects.toThrow(ArgumentError)
    await expect(decoder.forward({ inputIds: [[1]] }, { useCache: true, signal })).rejects.toThrow(ArgumentError)
  })
})

describe('a signal that fires before the turn of its call', () => {
  it('ends the call at once, whatever it waits for, and the call changes nothing', async () => {
    using model = tinyClassifier({}, { seed: 1 })
    const optimizer = new AdamW(model)
    let end = (): void => {}
    const held = new Promise<void>((resolve) => {
      end = resolve
    })
    const before = model.runtime.exclusive(() => held)
    const stop = new AbortController()
    const { signal } = stop
    const calls = [
      model.forward(batch, { signal }),
      model.gradients(batch, { signal }),
      optimizer.step(batch, { signal }),
    ]
    const after = model.stateDict()
    stop.abort()
    for (const call of calls) await expect(call).rejects.toThrow(AbortedError)
    await expect(optimizer.step(batch, { signal })).rejects.toThrow(AbortedError)
    end()
    await before
    expect(model.optimizerSteps).toBe(0)
    using twin = tinyClassifier({}, { seed: 1 })
    const wanted = await twin.stateDict()
    for (const [name, { data }] of await after) expect(sameBits(data, wanted.get(name)!.data), name).toBe(true)
  })
})

describe('a step', () => {
  it('has the rates of its call, whatever they become while it waits', async () => {
    using model = tinyClassifier({}, { seed: 1 })
    using twin = tinyClassifier({}, { seed: 1 })
    const [optimizer, other] = [model, twin].map((each) => new AdamW(each.eval(), { lr: 1e-2 }))
    const step = optimizer.step(batch)
    for (const group of optimizer.paramGroups) group.lr = 0
    optimizer.paramGroups.length = 0
    await Promise.all([step, other.step(batch)])
    const [got, want] = [await model.stateDict(), await twin.stateDict()]
    for (const [name, { data }] of want) expect(sameBits(data, got.get(name)!.data), name).toBe(true)
  })

  it('ends with the error of a profiler that throws', async () => {
    using model = tinyClassifier()
    model.runtime.profiler = () => {
      throw new RangeError('out of paper')
    }
    await expect(new AdamW(model).step(batch)).rejects.toThrow('out of paper')
    model.runtime.profiler = undefined
    await expect(model.forward(batch)).resolves.toHaveProperty('loss')
  })
})

describe('options that are none', () => {
  it.each<[string, (model: ReturnType<typeof tinyClassifier>) => unknown]>([
    ['of a model', () => new BertModel(tinyConfig(), null as never)],
    ['of fromPretrained', () => BertModel.fromPretrained('.', null as never)],
    ['of savePretrained', (model) => model.savePretrained('.', null as never)],
    ['of savePretrained, misspelt', (model) => model.savePretrained('.', { shardSize: 1 } as never)],
    ['betas', (model) => new AdamW(model, { betas: null } as unknown as AdamWOptions)],
    ['betas of texts', (model) => new AdamW(model, { betas: ['0.9', '0.99'] } as unknown as AdamWOptions)],
    ['a group', (model) => stepWith(model, [null])],
    ['a group without names', (model) => stepWith(model, [{ lr: 1, weightDecay: 0 }])],
    [
      'a group for a scheduler',
      () => getScheduler('linear', { paramGroups: [null as never], defaults: { lr: 1 } }, { numTrainingSteps: 1 }),
    ],
  ])('%s', async (_, call) => {
    using model = tinyClassifier()
    await expect(Promise.resolve(model).then(call)).rejects.toThrow(ArgumentError)
  })

  function stepWith(model: ReturnType<typeof tinyClassifier>, groups: unknown[]) {
    const optimizer = new AdamW(model)
    optimizer.paramGroups.splice(0, 2, ...(groups as never[]))
    return optimizer.step(batch)
  }

  it.each(['-1', ' ', 'two', '257', '1.5'])('BERTKIT_THREADS=%j', async (threads) => {
    vi.stubEnv('BERTKIT_THREADS', threads)
    await expect(openBackend()).rejects.toThrow(/BERTKIT_THREADS/)
  })
})
