// What forward gives, class by class: which outputs, and their shapes for ragged and padded input.
import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import type { BertConfigFields } from '../../src/model/config.ts'
import {
  BertForMaskedLM,
  BertForMultipleChoice,
  BertForNextSentencePrediction,
  BertForPreTraining,
  BertForQuestionAnswering,
  BertForSequenceClassification,
  BertForTokenClassification,
  BertLMHeadModel,
  BertModel,
} from '../../src/session/models.ts'
import type { ModelClass, PreTrainedModel } from '../../src/session/pretrained.ts'
import type { Tensor } from '../../src/tensor.ts'
import { inputsOf, NO_DROPOUT, padded, relative } from './heads.ts'
import { sameBits, sequences, tinyConfig } from './tiny.ts'

const [H, A, V] = [20, 4, 53]
const LENGTHS = [3, 7, 1]
const TOKENS = 11
const S = 9

/** Outputs of three sequences: `tokens` stands for the shape of the rows of all tokens. */
const CLASSES: readonly (readonly [
  ModelClass<PreTrainedModel>,
  Partial<BertConfigFields>,
  Record<string, (number | 'tokens')[]>,
])[] = [
  [BertModel, {}, { lastHiddenState: ['tokens', H], poolerOutput: [3, H] }],
  [BertForPreTraining, {}, { predictionLogits: ['tokens', V], seqRelationshipLogits: [3, 2] }],
  [BertForMaskedLM, {}, { logits: ['tokens', V] }],
  [BertLMHeadModel, { isDecoder: true }, { logits: ['tokens', V] }],
  [BertForNextSentencePrediction, {}, { logits: [3, 2] }],
  [BertForSequenceClassification, {}, { logits: [3, 3] }],
  [BertForTokenClassification, {}, { logits: ['tokens', 3] }],
  [BertForQuestionAnswering, { numLabels: 2 }, { startLogits: ['tokens'], endLogits: ['tokens'] }],
]

type Outputs = Record<string, Tensor> & {
  hiddenStates?: Tensor[]
  attentions?: (Tensor | Tensor[])[]
  crossAttentions?: (Tensor | Tensor[])[]
}
const shapes = (of: (Tensor | Tensor[])[] | undefined) =>
  of?.map((layer) => (Array.isArray(layer) ? layer.map(({ shape }) => shape) : layer.shape))
const both = { outputHiddenStates: true, outputAttentions: true }

describe.each(CLASSES.map(([Model, fields, outputs]) => [Model.name, Model, fields, outputs] as const))(
  '%s',
  (name, Model, fields, outputs) => {
    const ids = sequences(LENGTHS)
    const expectShapes = (out: Outputs, tokens: number[]) => {
      for (const [output, shape] of Object.entries(outputs)) {
        const wanted = shape.flatMap((size) => (size === 'tokens' ? tokens : [size]))
        expect(out[output].shape, output).toEqual(wanted)
        expect(out[output].data).toHaveLength(wanted.reduce((n, size) => n * size, 1))
        expect(out[output].data.every(Number.isFinite), output).toBe(true)
      }
    }
    const known = [...Object.keys(outputs), ...(name === 'BertModel' ? [] : ['loss'])].sort()

    it('gives its outputs for ragged and padded input', async () => {
      using model = new Model(tinyConfig(fields)).eval()
      const ragged = (await model.forward(inputsOf({ inputIds: ids }))) as Outputs
      expectShapes(ragged, [TOKENS])
      const full = (await model.forward(inputsOf(padded({ inputIds: ids }, S)))) as Outputs
      expectShapes(full, [3, S])
      for (const out of [ragged, full])
        expect(
          Object.keys(out)
            .filter((key) => (out as Record<string, unknown>)[key] !== undefined)
            .sort(),
        ).toEqual(known)
    })

    it('shows hidden states and attentions, which change no other output', async () => {
      using model = new Model(tinyConfig(fields)).eval()
      const plain = (await model.forward(inputsOf({ inputIds: ids }))) as Outputs
      const ragged = (await model.forward(inputsOf({ inputIds: ids }), both)) as Outputs
      expect(shapes(ragged.hiddenStates)).toEqual(Array(3).fill([TOKENS, H]))
      expect(shapes(ragged.attentions)).toEqual(Array(2).fill(LENGTHS.map((n) => [A, n, n])))
      expect(ragged.crossAttentions).toBe(undefined)
      for (const output of Object.keys(outputs))
        expect(relative(ragged[output].data, plain[output].data), output).toBeLessThan(1e-6)
      const full = (await model.forward(inputsOf(padded({ inputIds: ids }, S)), both)) as Outputs
      expect(shapes(full.hiddenStates)).toEqual(Array(3).fill([3, S, H]))
      expect(shapes(full.attentions)).toEqual(Array(2).fill([3, A, S, S]))
      // hidden keys get nothing, seen ones everything
      for (const { data } of full.attentions as Tensor[])
        for (const [b, length] of LENGTHS.entries())
          for (let row = b * A * S; row < (b + 1) * A * S; row++) {
            const probabilities = data.subarray(row * S, (row + 1) * S)
            expect(probabilities.subarray(length).every((p) => p === 0)).toBe(true)
            expect(probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 5)
          }
    })

    it('takes the two switches from the config', async () => {
      using model = new Model(tinyConfig({ ...fields, outputHiddenStates: true, outputAttentions: true })).eval()
      const out = (await model.forward(inputsOf({ inputIds: ids }))) as Outputs
      expect([out.hiddenStates?.length, out.attentions?.length]).toEqual([3, 2])
      const less = (await model.forward(inputsOf({ inputIds: ids }), { outputHiddenStates: false })) as Outputs
      expect([less.hiddenStates, less.attentions?.length]).toEqual([undefined, 2])
    })

    it('computes sequences of one token and sequences whose tokens are all hidden', async () => {
      using model = new Model(tinyConfig({ ...fields, ...NO_DROPOUT }))
      expectShapes((await model.forward(inputsOf({ inputIds: [[7], [8], [9]] }))) as Outputs, [3])
      const mask = [[1, 1, 1], Array(7).fill(0), [0]]
      const out = (await model.forward(inputsOf({ inputIds: ids, attentionMask: mask }))) as Outputs
      expectShapes(out, [TOKENS])
      // the sequence that is seen is not touched by the others
      const alone = (await model.forward(inputsOf({ inputIds: ids.slice(0, 1) }))) as Outputs
      for (const output of Object.keys(outputs))
        expect(sameBits(out[output].data.slice(0, alone[output].data.length), alone[output].data), output).toBe(true)
    })

    it('gives a sequence the same bits alone and in any batch', async () => {
      using model = new Model(tinyConfig(fields)).eval()
      const together = (await model.forward(inputsOf({ inputIds: ids }))) as Outputs
      const alone: Outputs[] = []
      for (const row of ids) alone.push((await model.forward(inputsOf({ inputIds: [row] }))) as Outputs)
      for (const output of Object.keys(outputs)) {
        const rows = Float32Array.from(alone.flatMap((out) => [...out[output].data]))
        expect(sameBits(rows, together[output].data), output).toBe(true)
      }
    })
  },
)

describe('multiple choice', () => {
  const choices = [sequences([3, 5]), sequences([1, 4], 30)]
  const tensor = {
    data: choices.flat().flatMap((row) => [...row, ...Array(6 - row.length).fill(0)]),
    shape: [2, 2, 6],
  }
  const attentionMask = { data: tensor.data.map((id) => (id === 0 ? 0 : 1)), shape: [2, 2, 6] }

  it('takes lists and tensors, to the same scores', async () => {
    using model = new BertForMultipleChoice(tinyConfig()).eval()
    const lists = await model.forward({ inputIds: choices }, both)
    const padded = await model.forward({ inputIds: tensor, attentionMask }, both)
    expect(lists.logits.shape).toEqual([2, 2])
    expect(padded.logits.shape).toEqual([2, 2])
    expect(relative(padded.logits.data, lists.logits.data)).toBeLessThan(1e-6)
    expect(shapes(padded.attentions)).toEqual(Array(2).fill([4, A, 6, 6]))
    expect(shapes(padded.hiddenStates)).toEqual(Array(3).fill([4, 6, H]))
    expect(shapes(lists.hiddenStates)).toEqual(Array(3).fill([13, H]))
  })

  it('lays scores one after another where examples differ in their number of choices', async () => {
    using model = new BertForMultipleChoice(tinyConfig()).eval()
    const inputIds = [sequences([3]), sequences([2, 4, 1], 20), sequences([5, 2], 40)]
    const { logits } = await model.forward({ inputIds })
    expect(logits.shape).toEqual([6])
    for (const [i, at] of [0, 1, 4].entries()) {
      const alone = await model.forward({ inputIds: [inputIds[i]] })
      expect(sameBits(alone.logits.data, logits.data.slice(at, at + inputIds[i].length))).toBe(true)
    }
  })

  it.each<[string, object, RegExp]>([
    ['sequences without choices', { inputIds: [[1, 2]] }, /inputIds to be number\[\]\[\]\[\]/],
    ['numbers', { inputIds: [1] }, /number\[\]\[\]\[\]/],
    ['an example without a choice', { inputIds: [[[1]], []] }, /inputIds\[1\] has no choice/],
    ['an empty choice', { inputIds: [[[1], []]] }, /is empty/],
    ['no example', { inputIds: [] }, /at least one/],
    ['a flat tensor', { inputIds: { data: [1, 2], shape: [1, 2] } }, /shape \[batch, choices, length\]/],
    ['a shape that lies', { inputIds: { data: [1, 2], shape: [1e9, 1, 1] } }, /\[1000000000,1,1\] with 2 values/],
    ['a shape of fractions', { inputIds: { data: [1, 2, 3], shape: [1.5, 2, 1] } }, /inputIds/],
    ['a negative shape', { inputIds: { data: [1, 2], shape: [-1, -2, 1] } }, /inputIds/],
    [
      'token types of fewer choices',
      { inputIds: choices, tokenTypeIds: [[[0, 0, 0]], [[0]]] },
      /tokenTypeIds to have the choices of inputIds/,
    ],
  ])('refuses %s', async (_name, inputs, text) => {
    using model = new BertForMultipleChoice(tinyConfig())
    const error = await model.forward(inputs as never).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ArgumentError)
    expect((error as Error).message).toMatch(text)
  })
})

describe('cross-attention', () => {
  const config = tinyConfig({ isDecoder: true, addCrossAttention: true })
  const ids = sequences(LENGTHS)
  const KEYS = [2, 4, 1]
  const states = KEYS.map(
    (length, b): Tensor => ({
      data: Float32Array.from({ length: length * H }, (_, i) => Math.cos(i * 0.3 + b)),
      shape: [length, H],
    }),
  )
  const list = { inputIds: ids, encoderHiddenStates: states }

  it.each([
    ['BertModel', BertModel, 'lastHiddenState'],
    ['BertLMHeadModel', BertLMHeadModel, 'logits'],
  ] as const)('%s shows it, and takes states as a list or padded with a mask', async (_name, Model, output) => {
    using model: PreTrainedModel = new Model(config).eval()
    const ragged = (await model.forward(inputsOf(list), both)) as Outputs
    expect(shapes(ragged.crossAttentions)).toEqual(Array(2).fill(LENGTHS.map((n, b) => [A, n, KEYS[b]])))
    expect(shapes(ragged.attentions)).toEqual(Array(2).fill(LENGTHS.map((n) => [A, n, n])))
    const full = (await model.forward(inputsOf(padded(list, S)), both)) as Outputs
    expect(shapes(full.crossAttentions)).toEqual(Array(2).fill([3, A, S, 6]))
    const width = full[output].shape[2]
    const real = LENGTHS.flatMap((n, b) => [...full[output].data.subarray(b * S * width, (b * S + n) * width)])
    expect(relative(real, ragged[output].data)).toBeLessThan(1e-6)
    // padded ids beside a list of states, and the other way round
    const { encoderHiddenStates, encoderAttentionMask } = padded(list, S) as Record<string, never>
    const mixed = (await model.forward(inputsOf({ ...list, encoderHiddenStates, encoderAttentionMask }))) as Outputs
    expect(relative(mixed[output].data, ragged[output].data)).toBeLessThan(1e-6)
    // without any states the layers are left out
    const without = (await model.forward(inputsOf({ inputIds: ids }), both)) as Outputs
    expect(without.crossAttentions).toBe(undefined)
    expect(relative(without[output].data, ragged[output].data)).toBeGreaterThan(0.01)
  })

  it('gives nothing where every key is hidden', async () => {
    using model = new BertModel(config).eval()
    const hidden = states.map(({ shape }) => Array<number>(shape[0]).fill(0))
    const one = await model.forward({ ...list, encoderAttentionMask: hidden }, both)
    const zero = states.map(({ shape }): Tensor => ({ data: new Float32Array(shape[0] * H), shape }))
    expect(one.lastHiddenState.data.every(Number.isFinite)).toBe(true)
    for (const layer of one.crossAttentions as Tensor[][])
      for (const { data } of layer) expect(data.every((p) => p === 0)).toBe(true)
    // states of zero and value biases of zero give a context of zero too
    const other = await model.forward({ ...list, encoderHiddenStates: zero })
    expect(relative(one.lastHiddenState.data, other.lastHiddenState.data)).toBeLessThan(1e-6)
  })

  it.each<[string, object, RegExp]>([
    [
      'a mask without states',
      { encoderAttentionMask: [[1], [1], [1]] },
      /encoderHiddenStates beside encoderAttentionMask/,
    ],
    [
      'states of another width',
      { encoderHiddenStates: { data: [1, 2, 3], shape: [3, 1, 1] } },
      /of shape \[3, length, 20\].*\[3,1,1\]/,
    ],
    ['states of too few sequences', { encoderHiddenStates: states.slice(1) }, /for 3 sequences but received 2/],
    ['states without rows', { encoderHiddenStates: { data: [], shape: [3, 0, H] } }, /\[3, length, 20\]/],
    ['a tensor that lies', { encoderHiddenStates: { data: [1], shape: [3, 1, H] } }, /\[3,1,20\] with 1 values/],
    [
      'a list with a hole',
      { encoderHiddenStates: [states[0], undefined, states[2]] },
      /encoderHiddenStates\[1\] of shape \[length, 20\]/,
    ],
    [
      'a list with flat states',
      { encoderHiddenStates: [states[0], { data: states[1].data, shape: [80] }, states[2]] },
      /encoderHiddenStates\[1\]/,
    ],
    ['a number', { encoderHiddenStates: 3 }, /encoderHiddenStates to be a tensor/],
    ['no shape', { encoderHiddenStates: { data: [1] } }, /encoderHiddenStates to be a tensor/],
    [
      'NaN',
      {
        encoderHiddenStates: [
          { data: states[0].data.map(() => Number.NaN), shape: states[0].shape },
          states[1],
          states[2],
        ],
      },
      /finite but element 0 is NaN/,
    ],
    [
      'a mask of other lengths',
      { ...list, encoderAttentionMask: [[1, 1], [1, 1], [1]] },
      /encoderAttentionMask\[1\] to have 4 elements.*2/,
    ],
    [
      'a mask of too few',
      { ...list, encoderAttentionMask: [[1, 1]] },
      /encoderAttentionMask to have the shape of encoderHiddenStates/,
    ],
    [
      'a padded mask beside a list',
      { ...list, encoderAttentionMask: { data: [1, 1, 1], shape: [3, 1] } },
      /shape of encoderHiddenStates/,
    ],
    [
      'a mask of 2',
      { ...list, encoderAttentionMask: [[1, 2], [1, 1, 1, 1], [1]] },
      /encoderAttentionMask\[0\]\[1\] is 2/,
    ],
  ])('refuses %s', async (_name, given, text) => {
    using model = new BertModel(config)
    const error = await model.forward({ inputIds: ids, ...given } as never).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ArgumentError)
    expect((error as Error).message).toMatch(text)
  })

  it('is refused for a model that has none, and null means none was given', async () => {
    using encoder = new BertModel(tinyConfig()).eval()
    await expect(encoder.forward(list)).rejects.toThrow(/need a decoder with cross-attention/)
    const nothing = {
      inputIds: ids,
      encoderHiddenStates: null,
      encoderAttentionMask: null,
      attentionMask: null,
    } as never
    const plain = await encoder.forward({ inputIds: ids })
    expect(sameBits((await encoder.forward(nothing)).lastHiddenState.data, plain.lastHiddenState.data)).toBe(true)
  })
})

describe('an input by a name that there is not', () => {
  it('is refused, not ignored', async () => {
    using model = new BertModel(tinyConfig())
    for (const name of ['attention_mask', 'tokenTypeIDs', 'past_key_values'])
      await expect(model.forward({ inputIds: [[1]], [name]: [[1]] })).rejects.toThrow(
        new RegExp(`There is no input '${name}'; there are inputIds, attentionMask`),
      )
  })

  it('and so is a tensor whose shape is not of whole numbers', async () => {
    using model = new BertModel(tinyConfig())
    for (const shape of [[-1, -2], [0.5, 4], [Number.NaN, 1], [2, 1, 1], '2', null])
      await expect(model.forward({ inputIds: { data: [1, 2], shape } } as never)).rejects.toThrow(ArgumentError)
  })
})
