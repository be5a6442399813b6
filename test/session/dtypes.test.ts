// A model in bfloat16, and weights that products find packed: in both dtypes they are those that the model has, whatever has happened to
// it. `BERTKIT_ISA=tiles` and `wide` of a test build run this where bfloat16 weights are packed for training too.
import { describe, expect, it } from 'vitest'
import { AbortedError, ArgumentError, BackendError, NonFiniteError } from '../../src/errors.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertForMaskedLM, BertForSequenceClassification } from '../../src/session/models.ts'
import type { ModelOptions } from '../../src/session/options.ts'
import { norm } from '../conformance/harness.ts'
import { sameBits, sequences, tinyConfig } from './tiny.ts'

const DTYPES = ['float32', 'bfloat16'] as const
type Dtype = (typeof DTYPES)[number]
const inputIds = sequences([3, 16, 1, 7])
const labels = [0, 2, 1, 1]

const classifier = (dtype: ModelOptions['dtype'], options: { seed?: number; threads?: number } = {}) =>
  new BertForSequenceClassification(tinyConfig(), { seed: 5, dtype, ...options })

/** Logits without dropout, as `model` computes them and as a model that has only been given its weights. */
async function expectOwnWeights(model: BertForSequenceClassification, what: string): Promise<void> {
  const wasTraining = model.training
  const got = await model.eval().forward({ inputIds })
  using fresh = classifier(model.dtype, { seed: 99 })
  await fresh.loadStateDict(await model.stateDict())
  const want = await fresh.eval().forward({ inputIds })
  expect(sameBits(got.logits.data, want.logits.data), what).toBe(true)
  const gradients = await model.gradients({ inputIds, labels })
  const wanted = await fresh.gradients({ inputIds, labels })
  for (const [name, { data }] of gradients.gradients)
    expect(sameBits(data, wanted.gradients.get(name)!.data), `${what}: ${name}`).toBe(true)
  if (wasTraining) model.train()
}

const relative = (got: Float32Array, want: Float32Array) => norm(got.map((value, i) => value - want[i])) / norm(want)

describe.each(DTYPES)('a model in %s', (dtype) => {
  it('computes with its weights: at first, after steps, after loading, and after steps again', async () => {
    using model = classifier(dtype).train()
    const optimizer = new AdamW(model, { lr: 0.01 })
    await expectOwnWeights(model, 'new')
    for (let step = 0; step < 3; step++) {
      await optimizer.step({ inputIds, labels })
      await expectOwnWeights(model, `step ${step}`)
    }
    const state = await model.stateDict()
    for (const { data } of state.values()) data.set(data.map((value) => 0.9 * value))
    await model.loadStateDict(state)
    await expectOwnWeights(model, 'loaded')
    await optimizer.step([
      { inputIds, labels },
      { inputIds: inputIds.slice(1), labels: labels.slice(1) },
    ])
    await expectOwnWeights(model, 'two micro-batches')
  })

  it('computes with its weights while parts of it are frozen', async () => {
    using model = classifier(dtype).train()
    const optimizer = new AdamW(model, { lr: 0.01 })
    const step = async (what: string) => {
      await optimizer.step({ inputIds, labels })
      const { logits } = await model.eval().forward({ inputIds })
      model.train()
      using fresh = classifier(dtype, { seed: 99 })
      await fresh.loadStateDict(await model.stateDict())
      expect(sameBits(logits.data, (await fresh.eval().forward({ inputIds })).logits.data), what).toBe(true)
    }
    await step('nothing')
    model.freeze(/query/)
    await step('queries')
    model.freeze(/layer\.0\./)
    await step('a layer')
    model.unfreeze()
    await step('nothing again')
  })

  it('computes with its weights where a group has a rate of its own, and after a step that was refused', async () => {
    using model = classifier(dtype).train()
    const optimizer = new AdamW(model, { lr: 0.01 })
    const [first] = optimizer.paramGroups
    const own = first.params.filter((name) => /layer\.1\..*(query|output)/.test(name))
    const rest = first.params.filter((name) => !own.includes(name))
    optimizer.paramGroups.splice(0, 1, { ...first, params: rest }, { ...first, params: own, lr: 0.1 })
    await optimizer.step({ inputIds, labels })
    await expectOwnWeights(model, 'groups')
    await expect(optimizer.step({ inputIds, labels }, { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError)
    await expectOwnWeights(model, 'aborted')
    // scores so far apart that their gradients overflow on the way down, though the loss does not
    const state = await model.stateDict()
    const [scores, pooler] = ['classifier.weight', 'bert.pooler.dense.weight'].map((name) => state.get(name)!.data)
    const [oldScores, oldPooler] = [scores.slice(), pooler.slice()]
    scores.set(scores.map((_, i) => (i < scores.length / 3 ? 3e38 : -3e38)))
    pooler.set(pooler.map((value) => value * 1e-3))
    await model.loadStateDict(state)
    const before = await model.stateDict()
    await expect(optimizer.step({ inputIds, labels })).rejects.toThrow(NonFiniteError)
    for (const [name, { data }] of await model.stateDict())
      expect(sameBits(data, before.get(name)!.data), name).toBe(true)
    scores.set(oldScores)
    pooler.set(oldPooler)
    await model.loadStateDict(state)
    await expectOwnWeights(model, 'loaded after a step that was not finite')
  })

  it('has the same bits for any number of threads, dropout on', async () => {
    const run = async (threads: number) => {
      using model = classifier(dtype, { threads }).train()
      const optimizer = new AdamW(model, { lr: 0.01 })
      for (let step = 0; step < 2; step++) await optimizer.step({ inputIds, labels }, { maxGradNorm: 0.1 })
      return await model.stateDict()
    }
    const want = await run(1)
    for (const threads of [2, 4, 7, 8])
      for (const [name, { data }] of await run(threads)) expect(sameBits(data, want.get(name)!.data), name).toBe(true)
  })

  it('has a tied decoder whose weight is the embeddings', async () => {
    using model = new BertForMaskedLM(tinyConfig(), { seed: 5, dtype }).train()
    const optimizer = new AdamW(model, { lr: 0.01 })
    await optimizer.step({ inputIds, labels: inputIds })
    using fresh = new BertForMaskedLM(tinyConfig(), { seed: 6, dtype }).eval()
    await fresh.loadStateDict(await model.stateDict())
    const [got, want] = [await model.eval().forward({ inputIds }), await fresh.forward({ inputIds })]
    expect(sameBits(got.logits.data, want.logits.data)).toBe(true)
  })
})

describe('bfloat16', () => {
  it('is near float32: outputs, loss and gradients within its roundings', async () => {
    using wide = classifier('float32').eval()
    using narrow = classifier('bfloat16').eval()
    expect([wide.dtype, narrow.dtype]).toEqual(['float32', 'bfloat16'])
    const options = { outputHiddenStates: true, outputAttentions: true }
    const [want, got] = [await wide.forward({ inputIds }, options), await narrow.forward({ inputIds }, options)]
    // some ten roundings of 2^-9 on average between input and output
    for (const [i, { data }] of want.hiddenStates!.entries())
      expect(relative(got.hiddenStates![i].data, data)).toBeLessThan(0.01)
    expect(relative(got.logits.data, want.logits.data)).toBeLessThan(0.02)
    const [wantStep, gotStep] = [
      await wide.gradients({ inputIds, labels }),
      await narrow.gradients({ inputIds, labels }),
    ]
    expect(Math.abs(gotStep.loss - wantStep.loss) / wantStep.loss).toBeLessThan(0.01)
    // the gradient of a key's bias is 0 but for rounding
    for (const [name, { data }] of wantStep.gradients)
      if (!name.endsWith('key.bias')) expect(relative(gotStep.gradients.get(name)!.data, data), name).toBeLessThan(0.06)
  })

  it('learns as float32 does', async () => {
    const losses = async (dtype: Dtype) => {
      using model = classifier(dtype).train()
      const optimizer = new AdamW(model, { lr: 0.005 })
      const seen: number[] = []
      for (let step = 0; step < 30; step++) seen.push((await optimizer.step({ inputIds, labels })).loss)
      return seen
    }
    const [wide, narrow] = [await losses('float32'), await losses('bfloat16')]
    const tail = (values: number[]) => values.slice(-10).reduce((a, b) => a + b) / 10
    expect(tail(wide)).toBeLessThan(0.5 * wide[0])
    expect(Math.abs(tail(narrow) - tail(wide))).toBeLessThan(0.1 * wide[0])
  })

  it('takes half of the memory of activations', async () => {
    const bytes = async (dtype: Dtype) => {
      using model = classifier(dtype).train()
      let activations = 0
      model.runtime.profiler = (plan) => {
        activations = Math.max(activations, plan.arenaBytes.activations)
      }
      await model.gradients({ inputIds: sequences(Array(32).fill(16)), labels: Array(32).fill(1) })
      return activations
    }
    expect(await bytes('bfloat16')).toBeLessThan(0.6 * (await bytes('float32')))
  })

  it('auto is one of the two once the backend is open, and anything else is refused', async () => {
    using model = new BertForSequenceClassification(tinyConfig(), { dtype: 'auto' })
    expect(() => model.dtype).toThrow(BackendError)
    expect((await model.describe()).auto).toBe(model.dtype)
    expect(() => new BertForSequenceClassification(tinyConfig(), { dtype: 'float16' as 'auto' })).toThrow(ArgumentError)
  })
})
