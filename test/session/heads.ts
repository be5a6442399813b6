// Every class with a loss, small, with a batch of labels that exercises what is special about it.
import { expect } from 'vitest'
import { Arena } from '../../src/graph/op-table.ts'
import type { BertConfigFields } from '../../src/model/config.ts'
import { isTrainable } from '../../src/session/layout.ts'
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
import type { LossOptions, ModelOptions } from '../../src/session/options.ts'
import type { StepInputs } from '../../src/session/prepare.ts'
import type { ModelClass, PreTrainedModel } from '../../src/session/pretrained.ts'
import type { Tensor } from '../../src/tensor.ts'
import { sequences, tinyConfig } from './tiny.ts'

/** A field of a ragged batch: one entry per example. */
type Rows = readonly (number | readonly number[] | readonly (readonly number[])[] | Tensor)[]
export type Ragged = Readonly<Record<string, Rows>>

export interface HeadCase {
  readonly name: string
  readonly Model: ModelClass<PreTrainedModel>
  readonly fields: Partial<BertConfigFields>
  /** Examples of lengths LENGTHS. */
  readonly batch: Ragged
  /** Inputs that hold labels. */
  readonly labels: readonly string[]
}

export const NO_DROPOUT = { hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 } as const
export const LENGTHS = [4, 9, 2, 6, 1, 8]
/** An uneven and two even ways to cut the batch. */
export const CUTS = [[1, 5], [2], [1, 2, 4]] as const

const V = 53
const inputIds = sequences(LENGTHS)
const tokenTypeIds = inputIds.map((row) => row.map((_, t) => (2 * t < row.length ? 0 : 1)))
const perSequence = { inputIds, tokenTypeIds }
/** A label for some tokens; none at all for the first sequence. */
const someTokens = (classes: number): number[][] =>
  inputIds.map((row, b) => row.map((_, t) => (b === 0 || (b + t) % 3 === 0 ? -100 : (b * 11 + t * 5) % classes)))
const states = [3, 5, 1, 2, 4, 6].map(
  (length, b): Tensor => ({
    data: Float32Array.from({ length: length * 40 }, (_, i) => Math.sin(i * 0.7 + b * 3.1)),
    shape: [length, 40],
  }),
)
/** Encoder states of a width. */
const statesOf = (width: number) =>
  states.map(({ data, shape: [length] }): Tensor => ({ data: data.slice(0, length * width), shape: [length, width] }))

const decoder = { isDecoder: true } as const
const crossed = { isDecoder: true, addCrossAttention: true } as const
const nextWords = inputIds.map((row, b) => row.map((id, t) => ((b + t) % 4 === 0 ? -100 : id)))
const choices = (count: (i: number) => number): number[][][] => {
  let start = 3
  return LENGTHS.map((length, i) => {
    start += 17
    return sequences(
      Array.from({ length: count(i) }, (_, c) => 1 + ((length + 2 * c) % 9)),
      start,
    )
  })
}

export const headCases = (hiddenSize = 20): HeadCase[] => [
  {
    name: 'pre-training',
    Model: BertForPreTraining,
    fields: {},
    batch: { ...perSequence, labels: someTokens(V), nextSentenceLabel: [0, 1, 1, 0, -100, 1] },
    labels: ['labels', 'nextSentenceLabel'],
  },
  {
    name: 'masked language model',
    Model: BertForMaskedLM,
    fields: {},
    batch: { ...perSequence, labels: someTokens(V) },
    labels: ['labels'],
  },
  {
    name: 'masked language model, untied',
    Model: BertForMaskedLM,
    fields: { tieWordEmbeddings: false },
    batch: { ...perSequence, labels: someTokens(V) },
    labels: ['labels'],
  },
  {
    name: 'causal language model',
    Model: BertLMHeadModel,
    fields: decoder,
    batch: { ...perSequence, labels: nextWords },
    labels: ['labels'],
  },
  {
    name: 'causal language model with cross-attention',
    Model: BertLMHeadModel,
    fields: crossed,
    batch: { ...perSequence, encoderHiddenStates: statesOf(hiddenSize), labels: nextWords },
    labels: ['labels'],
  },
  {
    name: 'next sentence',
    Model: BertForNextSentencePrediction,
    fields: {},
    batch: { ...perSequence, labels: [0, 1, -100, 0, 1, 1] },
    labels: ['labels'],
  },
  {
    name: 'sequence classification',
    Model: BertForSequenceClassification,
    fields: {},
    batch: { ...perSequence, labels: [2, -100, 0, 1, 1, 2] },
    labels: ['labels'],
  },
  {
    name: 'sequence classification by a decoder',
    Model: BertForSequenceClassification,
    fields: decoder,
    batch: { ...perSequence, labels: [2, -100, 0, 1, 1, 2] },
    labels: ['labels'],
  },
  {
    name: 'regression',
    Model: BertForSequenceClassification,
    fields: { numLabels: 1 },
    batch: { ...perSequence, labels: [0.5, -1, 2, 0, 1.5, -0.25] },
    labels: ['labels'],
  },
  {
    name: 'regression with three columns',
    Model: BertForSequenceClassification,
    fields: { problemType: 'regression' },
    batch: { ...perSequence, labels: LENGTHS.map((n, b) => [n / 4, b - 2, 0.5]) },
    labels: ['labels'],
  },
  {
    name: 'several labels',
    Model: BertForSequenceClassification,
    fields: { problemType: 'multi_label_classification' },
    batch: { ...perSequence, labels: LENGTHS.map((n, b) => [n % 2, b % 2, 1]) },
    labels: ['labels'],
  },
  {
    name: 'multiple choice',
    Model: BertForMultipleChoice,
    fields: {},
    batch: { inputIds: choices(() => 3), labels: [0, 2, -100, 1, 1, 2] },
    labels: ['labels'],
  },
  {
    name: 'multiple choice, unlike numbers of choices',
    Model: BertForMultipleChoice,
    fields: {},
    batch: { inputIds: choices((i) => 1 + ((i * 2) % 5)), labels: [0, 2, 4, 1, 3, 0] },
    labels: ['labels'],
  },
  {
    name: 'token classification',
    Model: BertForTokenClassification,
    fields: {},
    batch: { ...perSequence, labels: someTokens(3) },
    labels: ['labels'],
  },
  {
    name: 'question answering',
    Model: BertForQuestionAnswering,
    fields: { numLabels: 2 },
    // a negative position is the first token, one beyond the end is no answer
    batch: { ...perSequence, startPositions: [1, 3, 9, -2, 0, 7], endPositions: [3, 3, 1, 5, 4, -1] },
    labels: ['startPositions', 'endPositions'],
  },
]

export const SIZES: readonly (readonly [string, Partial<BertConfigFields>])[] = [
  ['4 heads of 5', { hiddenSize: 20, numAttentionHeads: 4 }],
  ['5 heads of 8', { hiddenSize: 40, numAttentionHeads: 5, intermediateSize: 36 }],
]

export const make = (
  { Model, fields }: HeadCase,
  more: Partial<BertConfigFields> = {},
  options: ModelOptions = {},
): PreTrainedModel => new Model(tinyConfig({ ...fields, ...more }), { seed: 11, ...options })

/** A batch as the model's types want it: which fields it has depends on the class. */
export const inputsOf = (batch: object): StepInputs => batch as StepInputs

export const slice = (batch: Ragged, from: number, to?: number): Ragged =>
  Object.fromEntries(Object.entries(batch).map(([name, rows]) => [name, rows.slice(from, to)]))

/** The batch in parts, cut before these examples. */
export const cut = (batch: Ragged, at: readonly number[]): Ragged[] =>
  [0, ...at].map((from, i) => slice(batch, from, at[i]))

const isTensor = (row: unknown): row is Tensor => typeof row === 'object' && row !== null && 'shape' in row

/** Rows of numbers at the start of a tensor [rows, length, width]. */
function pad(rows: readonly ArrayLike<number>[], length: number, fill: number, width = 1): Tensor<number[]> {
  const data = Array<number>(rows.length * length * width).fill(fill)
  for (const [b, row] of rows.entries()) for (let i = 0; i < row.length; i++) data[b * length * width + i] = row[i]
  return { data, shape: width > 1 ? [rows.length, length, width] : [rows.length, length] }
}

const ones = (rows: readonly ArrayLike<number>[]): number[][] => rows.map(({ length }) => Array<number>(length).fill(1))

/** The same batch as padded tensors with masks. `length`: more than the longest sequence has. */
export function padded(batch: Ragged, length: number): object {
  const ids = batch.inputIds as number[][] | number[][][]
  if (Array.isArray(ids[0][0])) {
    const examples = ids as number[][][]
    const flat = examples.flat()
    const shape = [examples.length, examples[0].length, length]
    return {
      ...batch,
      inputIds: { data: pad(flat, length, 0).data, shape },
      attentionMask: { data: pad(ones(flat), length, 0).data, shape },
    }
  }
  const rows = ids as number[][]
  const entries = Object.entries(batch).map(([name, field]): [string, unknown] => {
    if (isTensor(field[0])) {
      const list = field as Tensor[]
      const longest = Math.max(...list.map(({ shape }) => shape[0])) + 2
      const data = list.map((tensor) => tensor.data)
      return [name, pad(data, longest, 0, list[0].shape[1])]
    }
    const perToken = field.every((row, b) => Array.isArray(row) && row.length === rows[b].length)
    if (!perToken) return [name, field]
    return [name, pad(field as number[][], length, name === 'labels' ? -100 : 0)]
  })
  const { encoderHiddenStates } = batch
  const keys = encoderHiddenStates?.map((row) => Array<number>((row as Tensor).shape[0]).fill(1))
  const encoderMask = keys && { encoderAttentionMask: pad(keys, Math.max(...keys.map((k) => k.length)) + 2, 0) }
  return { ...Object.fromEntries(entries), attentionMask: pad(ones(rows), length, 0), ...encoderMask }
}

/** Loss and gradients of micro-batches that make one update. */
export async function accumulated(
  model: PreTrainedModel,
  batches: readonly object[],
  options: LossOptions = {},
): Promise<{ loss: number; gradients: Map<string, Tensor> }> {
  const { runtime } = model
  const { loss, result: gradients } = await model.accumulate(batches.map(inputsOf), options, {
    finish: async ({ written }) => {
      const places = [...runtime.layout.tensors.values()].filter(isTrainable).filter(({ owner }) => written.has(owner))
      const tensor = async (place: (typeof places)[number]) =>
        [place.name, { data: await runtime.readLike(Arena.gradients, place), shape: place.shape }] as const
      return new Map(await Promise.all(places.map(tensor)))
    },
  })
  return { loss, gradients }
}

export const norm = (values: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2
  return Math.sqrt(sum)
}

/** |a - b| / |b|, L2; `floor`: what |b| is taken for when it is less. */
export function relative(a: ArrayLike<number>, b: ArrayLike<number>, floor = 1e-30): number {
  expect(a.length).toBe(b.length)
  return norm(Float64Array.from({ length: a.length }, (_, i) => a[i] - b[i])) / Math.max(norm(b), floor)
}

/**
 * Every gradient within `tolerance`. A gradient that is zero but for rounding, such as that of key biases or of the bias that all
 * choices share, is a difference of larger terms: it is held to ten times the tolerance, of a thousandth of the whole gradient.
 */
export function expectSameGradients(
  got: ReadonlyMap<string, Tensor>,
  wanted: ReadonlyMap<string, Tensor>,
  tolerance: number,
): void {
  expect([...got.keys()]).toEqual([...wanted.keys()])
  const whole = norm([...wanted.values()].map(({ data }) => norm(data)))
  for (const [name, { data }] of wanted) {
    const zero = norm(data) < 1e-3 * whole
    expect(relative(got.get(name)!.data, data, 1e-3 * whole), name).toBeLessThan(zero ? 10 * tolerance : tolerance)
  }
}

export { BertModel }
