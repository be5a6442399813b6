// Frozen parameters: they keep their bits, cost no memory for gradients, and change nothing about the others.
import { describe, expect, it, vi } from 'vitest'
import type { BackendMemory } from '../../src/backend/backend.ts'
import { ArgumentError, BackendError, BusyError } from '../../src/errors.ts'
import { Arena } from '../../src/graph/op-table.ts'
import { AdamW } from '../../src/session/adamw.ts'
import type { PreTrainedModel } from '../../src/session/pretrained.ts'
import type { Tensor } from '../../src/tensor.ts'
import { accumulated, CUTS, cut, headCases, inputsOf, make, SIZES } from './heads.ts'
import { sameBits } from './tiny.ts'

const [pretraining] = headCases()
const find = (name: string) => headCases().find((head) => head.name === name)!
const classification = find('sequence classification')

const trainable = (model: PreTrainedModel) =>
  model
    .parameters()
    .filter((parameter) => parameter.trainable)
    .map(({ name }) => name)
const elements = (model: PreTrainedModel) =>
  model.parameters().reduce((sum, { size, trainable }) => sum + (trainable ? size : 0), 0)

/** The names whose bits differ. */
const moved = (before: ReadonlyMap<string, Tensor>, after: ReadonlyMap<string, Tensor>): string[] =>
  [...before].filter(([name, { data }]) => !sameBits(data, after.get(name)!.data)).map(([name]) => name)

const PATTERNS: readonly (readonly [string, RegExp | string, RegExp])[] = [
  ['the embeddings', 'embeddings', /^(?!.*embeddings)/],
  ['all but the head', /^bert\./, /^(?!bert\.)/],
  ['all but biases (BitFit)', /^(?!.*bias$)/, /bias$/],
  ['queries', /query/, /^(?!.*query)/],
  ['values and keys', 'value|key', /^(?!.*(value|key))/],
  ['keys, and biases of values', /key|value\.bias/, /^(?!.*(key|value\.bias))/],
  ['one layer', 'layer\\.0\\.', /^(?!.*layer\.0\.)/],
  ['a global expression', /LayerNorm/g, /^(?!.*LayerNorm)/],
]

describe.each(SIZES)('with %s', (_size, size) => {
  it.each(PATTERNS)('%s', async (_name, pattern, rest) => {
    const heads = headCases(size.hiddenSize).filter(({ name }) =>
      /^(pre-training|sequence classification|causal language model with cross-attention)$/.test(name),
    )
    expect(heads).toHaveLength(3)
    for (const head of heads) {
      using free = make(head, size).train()
      using model = make(head, size).train().freeze(pattern)
      const names = free
        .parameters()
        .map(({ name }) => name)
        .filter((name) => rest.test(name))
      expect(trainable(model)).toEqual(names)
      for (const batches of [[head.batch], cut(head.batch, CUTS[2])]) {
        const whole = await accumulated(free, batches)
        const got = await accumulated(model, batches)
        expect(got.loss).toBe(whole.loss)
        expect([...got.gradients.keys()]).toEqual([...whole.gradients.keys()].filter((name) => rest.test(name)))
        // what is not computed for the frozen ones does not enter the others
        for (const [name, { data }] of got.gradients)
          expect(sameBits(data, whole.gradients.get(name)!.data), `${head.name}: ${name}`).toBe(true)
      }
      const bytes = model.runtime.layout.gradientBytes
      expect(bytes).toBeLessThan(free.runtime.layout.gradientBytes)
      expect(bytes).toBeGreaterThanOrEqual(4 * elements(model))
      const before = await model.stateDict()
      const optimizer = new AdamW(model, { lr: 1e-2 })
      for (let step = 0; step < 3; step++) await optimizer.step(cut(head.batch, CUTS[0]).map(inputsOf))
      expect(moved(before, await model.stateDict())).toEqual(names)
    }
  })
})

describe('freeze()', () => {
  it('leaves the steps of the others to the bit where nothing depends on what is frozen', async () => {
    // the first step: the gradients are the same, and so is AdamW of each element
    const step = async (pattern?: string) => {
      using model = make(classification)
      if (pattern) model.freeze(pattern)
      await new AdamW(model, { lr: 1e-2 }).step(inputsOf(classification.batch))
      return await model.stateDict()
    }
    const [free, frozen] = [await step(), await step('layer.0|query|embeddings')]
    expect(moved(free, frozen)).toEqual([...free.keys()].filter((name) => /layer.0|query|embeddings/.test(name)))
  })

  it('keeps the moments of what is trained before and after', async () => {
    using model = make(pretraining)
    const optimizer = new AdamW(model, { lr: 1e-2 })
    const inputs = inputsOf(pretraining.batch)
    for (let i = 0; i < 2; i++) await optimizer.step(inputs)
    const before = await optimizer.stateDict()
    model.freeze('attention.self.(query|value)|embeddings')
    const after = await optimizer.stateDict()
    expect([...after.keys()].some((name) => /query|embeddings/.test(name))).toBe(false)
    for (const [name, { data }] of after) {
      expect(sameBits(data, before.get(name)!.data), name).toBe(true)
      if (name !== 'step' && !/seq_relationship/.test(name))
        expect(
          data.some((value) => value !== 0),
          name,
        ).toBe(true)
    }
    await optimizer.step(inputs)
    model.unfreeze('query')
    const thawed = await optimizer.stateDict()
    const queries = [...thawed.keys()].filter((name) => /query.*exp_avg/.test(name))
    expect(queries).toHaveLength(8)
    for (const name of queries)
      expect(
        thawed.get(name)!.data.every((value) => value === 0),
        name,
      ).toBe(true)
    const weights = await model.stateDict()
    await optimizer.step(inputs)
    expect(moved(weights, await model.stateDict())).toEqual(trainable(model))
    expect(trainable(model.unfreeze())).toHaveLength(model.parameters().length)
    await optimizer.step(inputs)
    expect(moved(weights, await model.stateDict())).toEqual(trainable(model))
  })

  it('continues from a saved state to the same bits', async () => {
    const start = (): [PreTrainedModel, AdamW] => {
      const model = make(classification).freeze(/embeddings|key/)
      return [model, new AdamW(model, { lr: 1e-2 })]
    }
    const inputs = inputsOf(classification.batch)
    const [first, optimizer] = start()
    using _first = first
    for (let i = 0; i < 2; i++) await optimizer.step(inputs)
    const [weights, state] = [await first.stateDict(), await optimizer.stateDict()]
    const wanted = await optimizer.step(inputs)
    const [second, resumed] = start()
    using _second = second
    await second.loadStateDict(weights)
    await resumed.loadStateDict(state)
    expect(await resumed.step(inputs)).toEqual(wanted)
    expect(moved(await first.stateDict(), await second.stateDict())).toEqual([])
    const missing = new Map([...state].filter(([name]) => name !== 'classifier.bias.exp_avg'))
    await expect(resumed.loadStateDict(missing)).rejects.toThrow(/classifier\.bias\.exp_avg/)
  })

  it('of everything leaves a model that computes, and nothing to train', async () => {
    using model = make(classification)
    const optimizer = new AdamW(model, { lr: 1e-2 })
    const inputs = inputsOf(classification.batch)
    await optimizer.step(inputs)
    const { loss } = await model.eval().gradients(inputs)
    model.freeze('')
    expect(trainable(model)).toEqual([])
    expect(await model.gradients(inputs)).toEqual({ loss, gradients: new Map() })
    await expect(optimizer.step(inputs)).rejects.toThrow(ArgumentError)
    await expect(optimizer.step(inputs)).rejects.toThrow(/Every parameter is frozen/)
    expect([...(await optimizer.stateDict()).keys()]).toEqual(['step'])
    model.unfreeze()
    const state = await optimizer.stateDict()
    expect(state.get('step')!.data[0]).toBe(1)
    expect(state.get('classifier.weight.exp_avg')!.data.every((value) => value === 0)).toBe(true)
    expect((await optimizer.step(inputs)).loss).toBeGreaterThan(0)
    // frozen and thawed with no step in between
    model.freeze('').unfreeze('layer').freeze('layer.1').unfreeze('classifier')
    const some = await optimizer.stateDict()
    expect(some.size).toBe(1 + 3 * trainable(model).length)
    expect([...some].every(([name, { data }]) => name === 'step' || data.every((value) => value === 0))).toBe(true)
  })

  it('refuses a pattern that matches nothing or is none, and a model that runs', async () => {
    using model = make(classification)
    expect(() => model.freeze('clasifier')).toThrow(
      /No parameter has a name that matches "clasifier"; names are such as bert\.embeddings\..*, .*, classifier\./,
    )
    expect(() => model.freeze(/^embeddings/)).toThrow(ArgumentError)
    expect(() => model.unfreeze('nothing')).toThrow(ArgumentError)
    expect(() => model.freeze('(')).toThrow(/Expected a regular expression but received \(/)
    expect(() => model.freeze(undefined as never)).toThrow(ArgumentError)
    expect(() => model.freeze(7 as never)).toThrow(ArgumentError)
    expect(trainable(model)).toHaveLength(model.parameters().length)
    const run = model.forward(inputsOf(classification.batch))
    expect(() => model.freeze('classifier')).toThrow(BusyError)
    expect(() => model.unfreeze()).toThrow(BusyError)
    await run
    expect(trainable(model.freeze('classifier'))).not.toContain('classifier.bias')
  })

  it('goes with parameter groups that split query, key and value', async () => {
    const rates = { query: 1e-2, key: 0, value: 1e-3 } as const
    const attention = 'bert.encoder.layer.0.attention.self'
    const run = async (freeze?: string) => {
      using model = make(classification)
      if (freeze) model.freeze(freeze)
      const optimizer = new AdamW(model)
      optimizer.paramGroups.splice(0, 2)
      for (const [part, lr] of Object.entries(rates))
        optimizer.paramGroups.push({ params: [`${attention}.${part}.weight`], lr, weightDecay: 0 })
      const before = await model.stateDict()
      await optimizer.step(inputsOf(classification.batch))
      const after = await model.stateDict()
      const largest = (part: string) => {
        const name = `${attention}.${part}.weight`
        return Math.max(...before.get(name)!.data.map((w, i) => Math.abs(w - after.get(name)!.data[i])))
      }
      return { names: moved(before, after), largest }
    }
    for (const freeze of [undefined, 'embeddings|layer.1|key']) {
      const { names, largest } = await run(freeze)
      expect(names).toEqual([`${attention}.query.weight`, `${attention}.value.weight`])
      // AdamW's first step is as large as the rate
      expect(largest('query') / 1e-2).toBeCloseTo(1, 2)
      expect(largest('value') / 1e-3).toBeCloseTo(1, 2)
    }
    expect((await run('query')).names).toEqual([`${attention}.value.weight`])
  })
})

describe('where there is no memory for the moments of more parameters', () => {
  it('the step is refused, and what was there is kept for the next one that fits', async () => {
    const train = (model: PreTrainedModel) => new AdamW(model.freeze('embeddings'))
    using model = make(classification, SIZES[0][1]).train()
    using twin = make(classification, SIZES[0][1]).train()
    const [optimizer, other] = [train(model), train(twin)]
    const batch = inputsOf(classification.batch)
    for (const each of [optimizer, other]) await each.step(batch)
    model.unfreeze('embeddings')
    let refused = 0
    const memory = (model.runtime as unknown as { memory: BackendMemory }).memory
    const allowed = memory.reserve.bind(memory)
    const reserve = vi.spyOn(memory, 'reserve').mockImplementation((arena, bytes) => {
      if (arena !== Arena.expAvgSq || bytes < model.runtime.layout.gradientBytes) return allowed(arena, bytes)
      refused++
      throw new BackendError('No memory', { reason: 'memory' })
    })
    await expect(optimizer.step(batch)).rejects.toThrow(BackendError)
    expect(refused).toBeGreaterThan(0)
    // what needs no moments goes on
    await model.forward(batch)
    reserve.mockRestore()
    model.freeze('embeddings')
    for (const each of [optimizer, other]) await each.step(batch)
    const [got, want] = [await optimizer.stateDict(), await other.stateDict()]
    expect(moved(want, got)).toEqual([])
    expect(moved(await twin.stateDict(), await model.stateDict())).toEqual([])
  })
})
