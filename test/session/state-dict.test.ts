// Weights and moments as callers have them: what is loaded and refused, and that copying them leaves the event loop its turns.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ArgumentError, NonFiniteError } from '../../src/errors.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { PIECE_ELEMENTS } from '../../src/session/state-dict.ts'
import type { Tensor } from '../../src/tensor.ts'
import { sameBits, sequences, tinyClassifier } from './tiny.ts'

const NAME = 'classifier.weight'
const batch = { inputIds: sequences([3, 5]), labels: [0, 2] }

afterEach(() => void vi.restoreAllMocks())

describe('loadStateDict', () => {
  it('takes lists of numbers, and memory that threads share', async () => {
    using model = tinyClassifier()
    const state = new Map<string, Tensor<ArrayLike<number>>>(await model.stateDict())
    const values = Float32Array.from({ length: 60 }, (_, i) => i / 8)
    const shared = new Float32Array(new SharedArrayBuffer(240))
    shared.set(values)
    for (const data of [[...values], Float64Array.from(values), shared]) {
      await model.loadStateDict(state.set(NAME, { data: new Float32Array(60), shape: [3, 20] }))
      await model.loadStateDict(state.set(NAME, { data, shape: [3, 20] }))
      expect(sameBits((await model.stateDict()).get(NAME)!.data, values)).toBe(true)
    }
  })

  it.each([
    ['null', null],
    ['a tensor without data', { shape: [3, 20] }],
    ['texts', { data: Array.from({ length: 60 }, () => 'a'), shape: [3, 20] }],
    ['64-bit integers', { data: new BigInt64Array(60), shape: [3, 20] }],
  ])('refuses %s, and then nothing has changed', async (_, tensor) => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model)
    await optimizer.step(batch)
    const [weights, moments] = [await model.stateDict(), await optimizer.stateDict()]
    const wrong = tensor as unknown as Tensor
    const other = (state: ReadonlyMap<string, Tensor>) =>
      new Map<string, Tensor>(
        [...state].map(([name, { data, shape }]) => [name, { data: data.map((value) => value + 1), shape }]),
      )
    await expect(model.loadStateDict(other(weights).set(NAME, wrong))).rejects.toThrow(ArgumentError)
    await expect(model.loadStateDict(new Map([[NAME, wrong]]), { strict: false })).rejects.toThrow(NAME)
    await expect(optimizer.loadStateDict(other(moments).set(`${NAME}.exp_avg`, wrong))).rejects.toThrow(ArgumentError)
    for (const [name, { data }] of await model.stateDict()) expect(sameBits(data, weights.get(name)!.data)).toBe(true)
    for (const [name, { data }] of await optimizer.stateDict())
      expect(sameBits(data, moments.get(name)!.data), name).toBe(true)
  })
})

it('what no strict load asks for may be anything', async () => {
  using model = tinyClassifier()
  const state = new Map(await model.stateDict()).set('position_ids', {
    data: new BigInt64Array(3),
    shape: [3],
  } as never)
  expect(await model.loadStateDict(state, { strict: false })).toEqual({ missing: [], unexpected: ['position_ids'] })
})

it('a Map that changes while it is loaded does not change what is loaded', async () => {
  using model = tinyClassifier()
  const state = await model.stateDict()
  const before = await model.stateDict()
  const loading = model.loadStateDict(state)
  for (const name of state.keys()) state.set(name, { data: new Float32Array(1e6).fill(7), shape: [1e6] })
  await loading
  for (const [name, { data }] of await model.stateDict())
    expect(sameBits(data, before.get(name)!.data), name).toBe(true)
})

describe('the event loop has its turns', () => {
  /** How many it is given while `body` runs, where every look at the clock finds that one is due. */
  async function turnsIn(body: () => Promise<unknown>): Promise<number> {
    let now = 0
    vi.spyOn(performance, 'now').mockImplementation(() => (now += 100))
    const turns = vi.spyOn(globalThis, 'setImmediate')
    await body()
    const { length } = turns.mock.calls
    vi.restoreAllMocks()
    return length
  }

  it('between the pieces of what is copied or looked at', async () => {
    // one matrix of four pieces
    using model = tinyClassifier({ vocabSize: Math.ceil((4 * PIECE_ELEMENTS) / 20) })
    const optimizer = new AdamW(model)
    await optimizer.step(batch)
    const weights = await model.stateDict()
    const moments = await optimizer.stateDict()
    expect(await turnsIn(() => model.stateDict())).toBeGreaterThan(3)
    expect(await turnsIn(() => model.loadStateDict(weights))).toBeGreaterThan(3)
    expect(await turnsIn(() => model.gradients(batch))).toBeGreaterThan(3)
    expect(await turnsIn(() => optimizer.stateDict())).toBeGreaterThan(6)
    expect(await turnsIn(() => optimizer.loadStateDict(moments))).toBeGreaterThan(6)
    model.freeze('classifier')
    expect(await turnsIn(() => optimizer.step(batch))).toBeGreaterThan(6)
    await model.loadStateDict(weights.set('classifier.bias', { data: Float32Array.of(Number.NaN, 0, 0), shape: [3] }))
    const refused = async () => void (await expect(optimizer.step(batch)).rejects.toThrow(NonFiniteError))
    expect(await turnsIn(refused)).toBeGreaterThan(6)
  })
})
