// generate() on a model that does other things too: neighbours in the batch, other generations, forward, training, freezing, dispose.
import { describe, expect, it } from 'vitest'
import { AbortedError, ArgumentError, BusyError, ConfigError, DisposedError } from '../../src/errors.ts'
import type { GenerateOptions } from '../../src/generation/options.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertLMHeadModel, type GenerateInputs } from '../../src/session/models.ts'
import type { Tensor } from '../../src/tensor.ts'
import { sequences, tinyConfig } from './tiny.ts'

const LENGTHS = [3, 1, 6, 2]
const PROMPTS = sequences(LENGTHS)
const crossed = { addCrossAttention: true } as const
const STATES = [4, 2, 7, 1].map(
  (length, b): Tensor => ({
    data: Float32Array.from({ length: length * 20 }, (_, i) => Math.sin(i * 1.3 + b)),
    shape: [length, 20],
  }),
)
const decoder = (fields = {}, seed = 4): BertLMHeadModel =>
  new BertLMHeadModel(tinyConfig({ isDecoder: true, maxPositionEmbeddings: 40, initializerRange: 0.5, ...fields }), {
    seed,
  })

const WAYS: readonly (readonly [string, GenerateOptions])[] = [
  ['greedy search', { maxNewTokens: 12 }],
  ['sampling', { maxNewTokens: 12, doSample: true, seed: 5, numReturnSequences: 3 }],
  ['beam search', { maxNewTokens: 12, numBeams: 4, numReturnSequences: 2 }],
]

describe.each(WAYS)('%s', (_name, options) => {
  it.each([
    ['a decoder', {}],
    ['a decoder with cross-attention', crossed],
  ])('%s: gives a prompt in a batch what it gives the prompt alone', async (_kind, fields) => {
    using model = decoder(fields)
    // random weights like to repeat themselves
    const varied = { ...options, repetitionPenalty: 3 }
    const inputs = (prompts: number[]): GenerateInputs => ({
      inputIds: prompts.map((p) => PROMPTS[p]),
      ...(fields === crossed ? { encoderHiddenStates: prompts.map((p) => STATES[p]) } : {}),
    })
    const together = await model.generate(inputs([0, 1, 2, 3]), varied)
    const each = options.numReturnSequences ?? 1
    expect(together.sequences).toHaveLength(4 * each)
    const alone: number[][] = []
    for (const p of [0, 1, 2, 3]) alone.push(...(await model.generate(inputs([p]), varied)).sequences)
    expect(together.sequences).toEqual(alone)
    expect(new Set(alone.flatMap((ids) => ids.slice(6))).size).toBeGreaterThan(3)
    const turned = await model.generate(inputs([2, 0]), varied)
    expect(turned.sequences).toEqual([...alone.slice(2 * each, 3 * each), ...alone.slice(0, each)])
  })

  it('chooses what forward gives, and dropout is off in training mode', async () => {
    using model = decoder().train()
    const { sequences: found } = await model.generate({ inputIds: PROMPTS }, options)
    expect(model.training).toBe(true)
    expect((await model.eval().generate({ inputIds: PROMPTS }, options)).sequences).toEqual(found)
    if (options.numBeams || options.doSample) return
    for (const [p, ids] of found.entries()) {
      const { data } = (await model.forward({ inputIds: [ids] })).logits
      for (let t = LENGTHS[p]; t < ids.length; t++) {
        const row = data.subarray((t - 1) * 53, t * 53)
        expect(ids[t]).toBe(row.indexOf(Math.max(...row)))
      }
    }
  })

  it('several at once on one model, of unlike sizes, with other runs between', async () => {
    using model = decoder()
    const asked = [PROMPTS, PROMPTS.slice(2), [[7]], sequences([20], 9)].map((inputIds) => ({ inputIds }))
    const wanted: number[][][] = []
    for (const inputs of asked) wanted.push((await model.generate(inputs, options)).sequences)
    const before = await model.forward({ inputIds: PROMPTS })
    const running = asked.map((inputs) => Promise.resolve(model.generate(inputs, options)))
    const forwards = [0, 1, 2].map(() => model.forward({ inputIds: PROMPTS }))
    expect((await Promise.all(running)).map(({ sequences }) => sequences)).toEqual(wanted)
    for (const { logits } of await Promise.all(forwards)) expect(logits).toEqual(before.logits)
  })
})

describe('a stream of tokens', () => {
  const options = { maxNewTokens: 10 } as const
  const collect = async (generation: AsyncIterable<{ token: number }>) => {
    const tokens = []
    for await (const { token } of generation) tokens.push(token)
    return tokens
  }

  const tokenOf = async (iterator: AsyncIterator<{ token: number }, unknown>): Promise<number> => {
    const { done, value } = await iterator.next()
    return done ? -1 : value.token
  }

  it('goes on over forward, other streams, and gradients between its tokens', async () => {
    using model = decoder()
    const [first, second] = [{ inputIds: [PROMPTS[0]] }, { inputIds: [PROMPTS[2]] }]
    const wanted = [await collect(model.generate(first, options)), await collect(model.generate(second, options))]
    const [a, b] = [model.generate(first, options), model.generate(second, options)].map((g) =>
      g[Symbol.asyncIterator](),
    )
    const got: number[][] = [[], []]
    for (let t = 0; t < 10; t++) {
      got[0].push(await tokenOf(a))
      // large enough for the shared memory to grow
      if (t === 3) await model.forward({ inputIds: sequences([40, 40, 40, 40, 40, 40]) })
      if (t === 4) await model.gradients({ inputIds: PROMPTS, labels: PROMPTS })
      if (t === 5) await model.generate({ inputIds: sequences([9, 9, 9, 9, 9]) }, { numBeams: 5, maxNewTokens: 20 })
      if (t === 6) model.freeze('embeddings')
      got[1].push(await tokenOf(b))
    }
    expect(got).toEqual(wanted)
  })

  it('goes on after a step in between that was aborted: no weight has changed', async () => {
    const continued = async (between: (optimizer: AdamW) => Promise<unknown>) => {
      using model = decoder()
      const iterator = model.generate({ inputIds: [PROMPTS[0]] }, options)[Symbol.asyncIterator]()
      const first = await iterator.next()
      await between(new AdamW(model, { lr: 0.3 }))
      return [first, await iterator.next()]
    }
    const inputs = { inputIds: PROMPTS, labels: PROMPTS }
    const wanted = await continued(async () => {})
    const stepped = (optimizer: AdamW) => optimizer.step(inputs, { signal: AbortSignal.abort() })
    expect(await continued((optimizer) => expect(stepped(optimizer)).rejects.toThrow(AbortedError))).toEqual(wanted)
  })

  it('fails after an update in between, rather than mix two models', async () => {
    using model = decoder()
    const optimizer = new AdamW(model, { lr: 0.3 })
    const iterator = model.generate({ inputIds: [PROMPTS[0]] }, options)[Symbol.asyncIterator]()
    await iterator.next()
    await optimizer.step({ inputIds: PROMPTS, labels: PROMPTS })
    await expect(iterator.next()).rejects.toThrow(/weights of the model have changed/)
  })

  it('gives its memory back however it ends', async () => {
    using model = decoder()
    const inputs = { inputIds: PROMPTS }
    const isFree = () => {
      const offset = model.runtime.takeCache(64)
      model.runtime.freeCache(offset)
      return offset === 0
    }
    await model.generate(inputs, options)
    expect(isFree()).toBe(true)
    for await (const _ of model.generate(inputs, options)) {
      expect(isFree()).toBe(false)
      break
    }
    expect(isFree()).toBe(true)
    const controller = new AbortController()
    await expect(
      (async () => {
        for await (const _ of model.generate(inputs, { ...options, signal: controller.signal })) controller.abort()
      })(),
    ).rejects.toThrow(AbortedError)
    expect(isFree()).toBe(true)
    await expect(collect(model.generate({ inputIds: [[99]] }, options))).rejects.toThrow(ArgumentError)
    expect(isFree()).toBe(true)
    // a generation that is never asked for costs nothing
    model.generate(inputs, options)
    expect(isFree()).toBe(true)
    expect((await model.generate(inputs, options)).sequences).toHaveLength(4)
  })

  it('is aborted before it starts, and in the middle; the model goes on', async () => {
    using model = decoder()
    const wanted = await model.generate({ inputIds: PROMPTS }, options)
    const aborted = new AbortController()
    aborted.abort()
    for (const numBeams of [1, 3])
      await expect(
        Promise.resolve(model.generate({ inputIds: PROMPTS }, { ...options, numBeams, signal: aborted.signal })),
      ).rejects.toThrow(AbortedError)
    for (const numBeams of [1, 3]) {
      const controller = new AbortController()
      const running = Promise.resolve(
        model.generate({ inputIds: PROMPTS }, { maxNewTokens: 30, numBeams, signal: controller.signal }),
      )
      setImmediate(() => controller.abort())
      await expect(running).rejects.toThrow(AbortedError)
    }
    expect(await model.generate({ inputIds: PROMPTS }, options)).toEqual(wanted)
  })

  it('ends with a typed error when the model is disposed between tokens; dispose waits for none that runs', async () => {
    const model = decoder()
    const iterator = model.generate({ inputIds: PROMPTS }, options)[Symbol.asyncIterator]()
    await iterator.next()
    // the other tokens of the first step are there already
    for (let i = 1; i < PROMPTS.length; i++) await iterator.next()
    const next = iterator.next()
    while (!model.runtime.busy) await Promise.resolve()
    expect(() => model.dispose()).toThrow(BusyError)
    await next
    model.dispose()
    await expect(
      (async () => {
        for (;;) if ((await iterator.next()).done) return
      })(),
    ).rejects.toThrow(DisposedError)
    await expect(Promise.resolve(model.generate({ inputIds: PROMPTS }, options))).rejects.toThrow(DisposedError)
  })
})

describe('generate()', () => {
  it('of padded prompts is that of the tokens that their mask shows', async () => {
    using model = decoder()
    const wanted = (
      await model.generate(
        {
          inputIds: [
            [5, 6],
            [7, 8, 9],
          ],
        },
        { maxNewTokens: 6 },
      )
    ).sequences
    const inputIds = { data: [0, 5, 6, 7, 8, 9], shape: [2, 3] }
    const attentionMask = { data: [0, 1, 1, 1, 1, 1], shape: [2, 3] }
    expect((await model.generate({ inputIds, attentionMask }, { maxNewTokens: 6 })).sequences).toEqual(wanted)
  })

  it('leaves the padding out of a tensor without a mask, as Transformers does, and of nothing else', async () => {
    using model = decoder()
    const options = { maxNewTokens: 6 }
    const padded = { data: [0, 0, 5, 6, 7, 8, 0, 9], shape: [2, 4] }
    const shown = { data: [0, 0, 1, 1, 1, 1, 0, 1], shape: [2, 4] }
    const all = { data: Array(8).fill(1), shape: [2, 4] }
    const rows = [
      [0, 0, 5, 6],
      [7, 8, 0, 9],
    ]
    const of = async (inputs: GenerateInputs, more: GenerateOptions = {}) =>
      (await model.generate(inputs, { ...options, ...more })).sequences
    const without = await of({ inputIds: padded, attentionMask: shown })
    const whole = await of({ inputIds: padded, attentionMask: all })
    expect(without.map((ids) => ids.slice(0, 3))).toEqual([
      [5, 6, without[0][2]],
      [7, 8, 9],
    ])
    // else the padding would not be seen to matter
    expect(whole[0].slice(4)).not.toEqual(without[0].slice(2))
    expect(await of({ inputIds: padded })).toEqual(without)
    expect(await of({ inputIds: rows })).toEqual(whole)
    // an end token is no padding, and null is none
    const ended = { eosTokenId: [0, 52], minNewTokens: 6 }
    expect(await of({ inputIds: padded }, ended)).toEqual(await of({ inputIds: padded, attentionMask: all }, ended))
    expect(await of({ inputIds: padded }, { padTokenId: null })).toEqual(whole)
    const sevens = { data: [7, 7, 5, 6], shape: [1, 4] }
    expect(await of({ inputIds: sevens }, { padTokenId: 7 })).toEqual(without.slice(0, 1))
    expect(await of({ inputIds: sevens })).toEqual(await of({ inputIds: [[7, 7, 5, 6]] }))
  })

  it("ends at the config's eosTokenId, unless told otherwise", async () => {
    using plain = decoder()
    const prompt = { inputIds: [[5, 6]] }
    const {
      sequences: [free],
    } = await plain.generate(prompt, { maxNewTokens: 8 })
    const end = free[4]
    using model = decoder({ eosTokenId: end, bosTokenId: 5 })
    const {
      sequences: [ended],
    } = await model.generate(prompt, { maxNewTokens: 8 })
    expect(ended).toEqual(free.slice(0, free.indexOf(end, 2) + 1))
    expect((await model.generate(prompt, { maxNewTokens: 8, eosTokenId: null })).sequences[0]).toEqual(free)
    expect((await model.generate({}, { maxNewTokens: 2 })).sequences[0][0]).toBe(5)
    // undefined is not given
    expect((await model.generate(prompt, { maxNewTokens: 8, eosTokenId: undefined })).sequences[0]).toEqual(ended)
    expect((await model.generate({}, { maxNewTokens: 2, bosTokenId: undefined })).sequences[0][0]).toBe(5)
    await expect(Promise.resolve(model.generate({}, { bosTokenId: null }))).rejects.toThrow(/or bosTokenId/)
  })

  it.each<[string, number[] | number]>([
    ['an empty list', []],
    ['an id beyond the vocabulary', 53],
    ['a list of such', [53, 99]],
  ])("takes %s as the config's eosTokenId for none", async (_name, eosTokenId) => {
    using plain = decoder()
    using model = decoder({ eosTokenId })
    for (const options of [{ maxNewTokens: 8 }, { maxNewTokens: 8, numBeams: 3 }])
      expect(await model.generate({ inputIds: PROMPTS }, options)).toEqual(
        await plain.generate({ inputIds: PROMPTS }, options),
      )
    await expect(Promise.resolve(model.generate({ inputIds: PROMPTS }, { eosTokenId: [53] }))).rejects.toThrow(
      /eosTokenId is 53/,
    )
  })

  it("ends at those of the config's eosTokenIds that the vocabulary has", async () => {
    using plain = decoder()
    const free = (await plain.generate({ inputIds: [[5, 6]] }, { maxNewTokens: 8 })).sequences[0]
    using model = decoder({ eosTokenId: [99, free[4]] })
    expect((await model.generate({ inputIds: [[5, 6]] }, { maxNewTokens: 8 })).sequences[0]).toEqual(
      free.slice(0, free.indexOf(free[4], 2) + 1),
    )
  })

  it("needs the config's bosTokenId in the vocabulary only to start from it", async () => {
    using model = decoder({ bosTokenId: 99 })
    expect((await model.generate({ inputIds: [[5]] }, { maxNewTokens: 2 })).sequences[0]).toHaveLength(3)
    expect((await model.generate({}, { maxNewTokens: 2, bosTokenId: 4 })).sequences[0][0]).toBe(4)
    const refused = Promise.resolve(model.generate())
    await expect(refused).rejects.toThrow(ConfigError)
    await expect(refused).rejects.toThrow(/bos_token_id of config.json, but that is 99/)
  })

  it('refuses options that are none', async () => {
    using model = decoder()
    for (const options of [null, 3])
      await expect(
        Promise.resolve(model.generate({ inputIds: PROMPTS }, options as unknown as GenerateOptions)),
      ).rejects.toThrow(/options to be an object/)
  })
})

describe('generate() refuses', () => {
  it('a model that is no decoder', () => {
    using model = decoder({ isDecoder: false })
    expect(() => model.generate({ inputIds: PROMPTS })).toThrow(ConfigError)
    expect(() => model.generate({ inputIds: PROMPTS })).toThrow(/is_decoder/)
  })

  it.each<[string, object, RegExp]>([
    ['a mask of another shape', { inputIds: PROMPTS, attentionMask: [[1]] }, /attentionMask to have the shape/],
    ['a mask that hides a whole prompt', { inputIds: [[1, 2]], attentionMask: [[0, 0]] }, /inputIds\[0\] is empty/],
    ['padded prompts whose shape lies', { inputIds: { data: [1, 2], shape: [1, 3] } }, /\[1,3\] with 2 values/],
    ['an input that there is not', { inputIds: PROMPTS, tokenTypeIds: PROMPTS }, /no input 'tokenTypeIds'/],
    ['an empty prompt', { inputIds: [[1], []] }, /inputIds\[1\] is empty/],
    ['an id beyond the vocabulary', { inputIds: [[53]] }, /inputIds\[0\]\[0\] is 53/],
    ['a prompt that fills the positions', { inputIds: sequences([40]) }, /40/],
    ['states of fewer prompts', { inputIds: PROMPTS, encoderHiddenStates: STATES.slice(1) }, /for 4 sequences.*3/],
    [
      'a mask of states without states',
      { inputIds: PROMPTS, encoderAttentionMask: [[1]] },
      /beside encoderAttentionMask/,
    ],
  ])('%s', async (_name, inputs, text) => {
    using model = decoder(crossed)
    const run = async () => model.generate(inputs as GenerateInputs)
    const error = await run().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ArgumentError)
    expect((error as Error).message).toMatch(text)
    expect(
      (await model.generate({ inputIds: [[1]], encoderHiddenStates: [STATES[0]] }, { maxNewTokens: 2 })).sequences[0],
    ).toHaveLength(3)
  })

  it('states for a decoder without cross-attention', async () => {
    using model = decoder()
    await expect(Promise.resolve(model.generate({ inputIds: PROMPTS, encoderHiddenStates: STATES }))).rejects.toThrow(
      /need a decoder with cross-attention/,
    )
  })
})
