// What a caller gives, checked field by field: token ids and their companions, padded or ragged, and lists of choices.

import { ArgumentError } from '../errors.ts'
import type { GivenShape } from '../heads/head.ts'
import { quote } from '../json.ts'
import { elementsOf, type InputTensor, isTensor } from '../tensor.ts'

/** Integers per token: one array per sequence (ragged), or a padded tensor of shape [batch, length], of 64-bit integers too. */
export type TokenInput = readonly (readonly number[])[] | InputTensor

/** Integers per token of each choice: one array per example, choice and token, or a tensor of shape [batch, choices, length]. */
export type ChoiceInput = readonly (readonly (readonly number[])[])[] | InputTensor

/** What a model takes beside labels. */
export interface ModelInputs<Tokens = TokenInput> {
  readonly inputIds: Tokens
  /** 0 hides a token from all others. Padded input usually has one; ragged input needs none. */
  readonly attentionMask?: Tokens
  readonly tokenTypeIds?: Tokens
  readonly positionIds?: Tokens
}

const isPadded = (input: TokenInput): input is InputTensor => !Array.isArray(input)
const isArray = (value: unknown): boolean => Array.isArray(value) || ArrayBuffer.isView(value)

/** Where each of several runs of rows starts, and where the last one ends: [counts + 1]. */
export function borders(counts: readonly number[]): Int32Array {
  const cu = new Int32Array(counts.length + 1)
  for (const [i, count] of counts.entries()) cu[i + 1] = cu[i] + count
  return cu
}

/** One field of the input, padded or ragged alike. */
export class Rows {
  constructor(
    private readonly name: string,
    private readonly input: TokenInput,
    /** Lengths that this field must have; undefined for the first field. */
    expected?: Rows,
    /** Of multiple choice, whose rows are the choices of all examples: borders of each example's, [examples + 1]. */
    private readonly cuChoices?: Int32Array,
  ) {
    if (isPadded(input)) this.checkTensor(input)
    else if (!Array.from(input).every(isArray))
      throw new ArgumentError(`Expected ${name} to be number[][] or a tensor { data, shape }`)
    if (!expected) return
    if (expected.padded !== this.padded || expected.count !== this.count)
      throw new ArgumentError(
        `Expected ${name} to have the shape of inputIds, ${expected.describe()}, but received ${this.describe()}`,
      )
    for (let b = 0; b < this.count; b++)
      if (this.length(b) !== expected.length(b))
        throw new ArgumentError(
          `Expected ${this.place(b)} to have ${expected.length(b)} elements, as ${expected.place(b)}, but received ${this.length(b)}`,
        )
  }

  private checkTensor(input: InputTensor): void {
    const { name } = this
    if (!isTensor(input)) throw new ArgumentError(`Expected ${name} to be number[][] or a tensor { data, shape }`)
    if (input.shape.length !== 2 || elementsOf(input.shape) !== input.data.length)
      throw new ArgumentError(
        `Expected ${name} of shape [batch, length] but received [${input.shape}] with ${input.data.length} values`,
      )
  }

  get padded(): boolean {
    return isPadded(this.input)
  }

  get count(): number {
    return isPadded(this.input) ? this.input.shape[0] : this.input.length
  }

  length(b: number): number {
    return isPadded(this.input) ? this.input.shape[1] : this.input[b].length
  }

  /** What the caller calls row b: `inputIds[2]`, or of multiple choice `inputIds[0][2]`. */
  place(b: number): string {
    const { cuChoices, name } = this
    if (!cuChoices) return `${name}[${b}]`
    const example = cuChoices.findIndex((start, i) => start <= b && b < cuChoices[i + 1])
    return `${name}[${example}][${b - cuChoices[example]}]`
  }

  /** The value as given, a 64-bit integer as a number; it may be anything that JavaScript puts into an array. */
  at(b: number, t: number): number {
    const value: unknown = isPadded(this.input) ? this.input.data[b * this.input.shape[1] + t] : this.input[b][t]
    return (typeof value === 'bigint' ? Number(value) : value) as number
  }

  /** The value, an integer from 0 to below `end`; the error says what the limit is. */
  integer(b: number, t: number, end: number, limit: string): number {
    const value = this.at(b, t)
    if (!Number.isInteger(value) || value < 0 || value >= end)
      throw new ArgumentError(
        `${this.place(b)}[${t}] is ${quote(value)}, expected an integer from 0 to ${end - 1} (${limit} ${end})`,
      )
    return value
  }

  /** Whether a mask shows this token. */
  isShown(b: number, t: number): boolean {
    const value = this.at(b, t)
    if (value !== 0 && value !== 1)
      throw new ArgumentError(`${this.place(b)}[${t}] is ${quote(value)}, expected 0 (hidden) or 1 (visible)`)
    return value === 1
  }

  /** The integers of row b, each as in `integer`. */
  integers(b: number, end: number, limit: string): number[] {
    return Array.from({ length: this.length(b) }, (_, t) => this.integer(b, t, end, limit))
  }

  private describe(): string {
    return isPadded(this.input) ? `[${this.input.shape}]` : `${this.count} ragged sequences`
  }
}

/** The fields of an input, of the same lengths all of them. */
export interface GivenFields {
  readonly ids: Rows
  readonly types: Rows | undefined
  readonly positions: Rows | undefined
  readonly mask: Rows | undefined
  readonly shape: GivenShape
}

/** Checks shapes and lengths; values are checked where they are read. `choices`: inputs are lists of choices. */
export function readFields(
  inputs: ModelInputs<TokenInput | ChoiceInput>,
  maxLength: number,
  choices: boolean,
): GivenFields {
  if (inputs === null || typeof inputs !== 'object' || !inputs.inputIds)
    throw new ArgumentError('Expected an input with inputIds: number[][] or a tensor { data, shape }')
  const flat = choices
    ? withoutChoices(inputs as ModelInputs<ChoiceInput>)
    : { inputs: inputs as ModelInputs, cuChoices: undefined }
  const ids = new Rows('inputIds', flat.inputs.inputIds, undefined, flat.cuChoices)
  const field = (name: string, input: TokenInput | undefined) =>
    input ? new Rows(name, input, ids, flat.cuChoices) : undefined
  const sequences = ids.count
  if (sequences === 0) throw new ArgumentError('Expected at least one sequence in inputIds but received none')
  const starts = new Int32Array(sequences + 1)
  for (let b = 0; b < sequences; b++) {
    const length = ids.length(b)
    if (length === 0) throw new ArgumentError(`${ids.place(b)} is empty; a sequence has at least one token`)
    if (length > maxLength)
      throw new ArgumentError(
        `${ids.place(b)} has ${length} tokens, but the model takes at most ${maxLength} (max_position_embeddings); truncate it`,
      )
    starts[b + 1] = starts[b] + length
  }
  return {
    ids,
    types: field('tokenTypeIds', flat.inputs.tokenTypeIds),
    positions: field('positionIds', flat.inputs.positionIds),
    mask: field('attentionMask', flat.inputs.attentionMask),
    shape: {
      sequences,
      starts,
      padded: ids.padded ? [sequences, ids.length(0)] : undefined,
      cuChoices: flat.cuChoices,
    },
  }
}

/** Takes the choices of all examples as the sequences of a batch. */
function withoutChoices({ inputIds, ...others }: ModelInputs<ChoiceInput>): {
  inputs: ModelInputs
  cuChoices: Int32Array
} {
  const counts = choiceCounts('inputIds', inputIds)
  const flatten = (name: string, input: ChoiceInput): TokenInput => {
    const own = choiceCounts(name, input)
    if (String(own) !== String(counts))
      throw new ArgumentError(
        `Expected ${name} to have the choices of inputIds, [${counts.slice(0, 8)}], but received [${own.slice(0, 8)}]`,
      )
    if ('shape' in input) return { data: input.data, shape: [input.shape[0] * input.shape[1], input.shape[2]] }
    return input.flat()
  }
  const field = (name: string, input: ChoiceInput | undefined) => (input ? flatten(name, input) : undefined)
  const inputs = {
    inputIds: flatten('inputIds', inputIds),
    attentionMask: field('attentionMask', others.attentionMask),
    tokenTypeIds: field('tokenTypeIds', others.tokenTypeIds),
    positionIds: field('positionIds', others.positionIds),
  }
  return { inputs, cuChoices: borders(counts) }
}

/** How many choices each example has. */
function choiceCounts(name: string, input: ChoiceInput): number[] {
  const wrong = () =>
    new ArgumentError(`Expected ${name} to be number[][][] or a tensor of shape [batch, choices, length]`)
  if (!Array.isArray(input)) {
    if (!isTensor(input) || input.shape.length !== 3) throw wrong()
    const { data, shape } = input
    // before anything is made of that many examples
    if (elementsOf(shape) !== data.length || data.length === 0)
      throw new ArgumentError(
        `Expected ${name} of shape [batch, choices, length] but received [${shape}] with ${data.length} values`,
      )
    return Array(shape[0]).fill(shape[1])
  }
  return Array.from(input, (choices: unknown, i) => {
    if (!Array.isArray(choices) || !Array.from(choices).every(isArray)) throw wrong()
    if (choices.length === 0) throw new ArgumentError(`${name}[${i}] has no choice; an example has at least one`)
    return choices.length
  })
}
