// pastKeyValues: reading on gives the bits of reading everything at once.
import { describe, expect, it } from 'vitest'
import { ArgumentError, BusyError, ConfigError, DisposedError } from '../../src/errors.ts'
import { BertConfig } from '../../src/model/config.ts'
import { BertLMHeadModel, BertModel } from '../../src/session/models.ts'

const V = 97
const decoder = (fields: object = {}, dtype: 'float32' | 'bfloat16' = 'float32'): BertLMHeadModel =>
  new BertLMHeadModel(
    new BertConfig({
      vocabSize: V,
      hiddenSize: 40,
      numHiddenLayers: 3,
      numAttentionHeads: 5,
      intermediateSize: 64,
      maxPositionEmbeddings: 24,
      initializerRange: 0.2,
      isDecoder: true,
      ...fields,
    }),
    { seed: 3, dtype },
  ).eval()

const turns = [
  [
    [5, 6, 7, 8, 9, 10, 11],
    [20, 21, 22],
  ],
  [[30, 31, 32], [40]],
  [[50], [60, 61, 62, 63, 64]],
]
const joined = [0, 1].map((b) => turns.flatMap((turn) => turn[b]))
const rows = (data: Float32Array, from: number, count: number) => [...data.subarray(from * V, (from + count) * V)]

/** The logits of each turn with a cache must be those of the whole sequences. */
async function expectSame(model: BertLMHeadModel, encoder: object) {
  const whole = await model.forward({ inputIds: joined, ...encoder })
  const first = await model.forward({ inputIds: turns[0], ...encoder }, { useCache: true })
  using cache = first.pastKeyValues!
  const logits = [first.logits.data]
  for (const inputIds of turns.slice(1))
    logits.push((await model.forward({ inputIds, pastKeyValues: cache })).logits.data)
  expect(cache.lengths).toEqual(joined.map(({ length }) => length))
  let read = [0, 0]
  for (const [i, turn] of turns.entries()) {
    const counts = turn.map(({ length }) => length)
    expect(rows(logits[i], 0, counts[0])).toEqual(rows(whole.logits.data, read[0], counts[0]))
    expect(rows(logits[i], counts[0], counts[1])).toEqual(
      rows(whole.logits.data, joined[0].length + read[1], counts[1]),
    )
    read = read.map((n, b) => n + counts[b])
  }
}

describe('pastKeyValues', () => {
  it.each(['float32', 'bfloat16'] as const)('reads on with the bits of the whole sequences, in %s', async (dtype) => {
    using model = decoder({}, dtype)
    await expectSame(model, {})
  })

  it.each(['float32', 'bfloat16'] as const)('with cross-attention over an encoder, in %s', async (dtype) => {
    using model = decoder({ addCrossAttention: true }, dtype)
    const state = (length: number) => ({
      data: Float32Array.from({ length: length * 40 }, (_, i) => Math.sin(i * 1.7)),
      shape: [length, 40],
    })
    await expectSame(model, { encoderHiddenStates: [state(4), state(9)] })
  })

  it("of BertModel gives its hidden states and pools each call's first token", async () => {
    const config = new BertConfig({
      vocabSize: V,
      hiddenSize: 40,
      numHiddenLayers: 2,
      numAttentionHeads: 5,
      intermediateSize: 64,
      isDecoder: true,
      initializerRange: 0.2,
    })
    using model = new BertModel(config, { seed: 4 }).eval()
    const whole = await model.forward({ inputIds: joined })
    const first = await model.forward({ inputIds: turns[0] }, { useCache: true })
    using cache = first.pastKeyValues!
    expect(first.poolerOutput).toEqual(whole.poolerOutput)
    const second = await model.forward({ inputIds: turns[1], pastKeyValues: cache })
    const states = (data: Float32Array, from: number, count: number) => [
      ...data.subarray(from * 40, (from + count) * 40),
    ]
    expect(second.lastHiddenState.shape).toEqual([4, 40])
    expect(states(second.lastHiddenState.data, 0, 3)).toEqual(states(whole.lastHiddenState.data, 7, 3))
    expect(states(second.lastHiddenState.data, 3, 1)).toEqual(states(whole.lastHiddenState.data, 11 + 3, 1))
    expect(second.poolerOutput.shape).toEqual([2, 40])
    expect(second.poolerOutput.data).not.toEqual(first.poolerOutput.data)
  })

  it('of several caches keep apart, and their memory is used again', async () => {
    using model = decoder()
    const open = (token: number) => model.forward({ inputIds: [[token, 2, 3]] }, { useCache: true })
    const [a, b] = [await open(11), await open(12)]
    const next = async ({ pastKeyValues }: typeof a) =>
      (await model.forward({ inputIds: [[4]], pastKeyValues })).logits.data
    const alone = await model.forward({ inputIds: [[11, 2, 3, 4]] })
    expect([...(await next(a))]).toEqual(rows(alone.logits.data, 3, 1))
    expect([...(await next(b))]).not.toEqual(rows(alone.logits.data, 3, 1))
    a.pastKeyValues!.dispose()
    const c = await open(13)
    const other = await model.forward({ inputIds: [[12, 2, 3, 4, 4]] })
    expect([...(await next(b))]).toEqual(rows(other.logits.data, 4, 1))
    for (const { pastKeyValues } of [b, c]) pastKeyValues!.dispose()
  })

  it('refuses what it cannot hold, with a typed error, and stays as it was', async () => {
    using model = decoder()
    using other = decoder()
    const { pastKeyValues } = await model.forward({ inputIds: [[1, 2], [3]] }, { useCache: true })
    const fails = async (call: () => Promise<unknown>, type: new (...args: never[]) => Error, text: RegExp) => {
      const error = await call().catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(type)
      expect((error as Error).message).toMatch(text)
    }
    const on = (inputs: object) => model.forward({ inputIds: [[4], [5]], pastKeyValues, ...inputs })
    await fails(() => on({ inputIds: [[4]] }), ArgumentError, /2 sequences of pastKeyValues but received 1/)
    await fails(() => on({ inputIds: [[4], [V]] }), ArgumentError, /inputIds\[1\]\[0\] is 97/)
    await fails(() => on({ inputIds: [Array(23).fill(1), [1]] }), ArgumentError, /23 tokens after 2/)
    await fails(() => on({ labels: [[1], [1]] }), ArgumentError, /combined with labels/)
    await fails(() => other.forward({ inputIds: [[4], [5]], pastKeyValues }), ArgumentError, /another/)
    await fails(
      () => decoder({ isDecoder: false }).forward({ inputIds: [[1]] }, { useCache: true }),
      ConfigError,
      /is_decoder/,
    )
    expect(pastKeyValues!.lengths).toEqual([2, 1])
    const running = on({})
    await fails(() => on({}), BusyError, /in use/)
    expect(() => pastKeyValues!.dispose()).toThrow(BusyError)
    await running
    pastKeyValues!.dispose()
    await fails(() => on({}), DisposedError, /disposed/)
  })
})
