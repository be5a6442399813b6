import { ArgumentError } from '../errors.ts'
import type { BertConfig } from '../model/config.ts'
import type { Tensor } from '../tensor.ts'

/** Integers per token: one array per sequence (ragged), or a padded tensor of shape [batch, length]. */
export type TokenInput = readonly (readonly number[])[] | Tensor<ArrayLike<number>>

/** What a model takes beside labels. */
export interface ModelInputs {
  readonly inputIds: TokenInput
  /** 0 hides a token from all others. Padded input usually has one; ragged input needs none. */
  readonly attentionMask?: TokenInput
  readonly tokenTypeIds?: TokenInput
  readonly positionIds?: TokenInput
}

/** A batch as the kernels take it: the rows of all sequences one after another. */
export interface RaggedBatch {
  readonly tokens: number
  readonly sequences: number
  /** Sum of squared lengths. */
  readonly pairs: number
  readonly ids: Int32Array
  readonly typeIds: Int32Array
  readonly positionIds: Int32Array
  readonly cuSeqlens: Int32Array
  readonly firstTokens: Int32Array
  readonly keyMask: Int32Array | undefined
  /** [batch, length] when the rows are those of a padded tensor. */
  readonly padded: readonly [number, number] | undefined
}

const isTensor = (input: TokenInput): input is Tensor<ArrayLike<number>> => !Array.isArray(input)

/** One field of the input, padded or ragged alike. */
class Rows {
  constructor(
    private readonly name: string,
    private readonly input: TokenInput,
    /** Lengths that this field must have; undefined for the first field. */
    expected?: Rows,
  ) {
    if (isTensor(input)) this.checkTensor(input)
    else if (!input.every((row) => Array.isArray(row) || ArrayBuffer.isView(row)))
      throw new ArgumentError(`Expected ${name} to be number[][] or a tensor { data, shape }`)
    if (!expected) return
    if (expected.padded !== this.padded || expected.count !== this.count)
      throw new ArgumentError(
        `Expected ${name} to have the shape of inputIds, ${expected.describe()}, but received ${this.describe()}`,
      )
    for (let b = 0; b < this.count; b++)
      if (this.length(b) !== expected.length(b))
        throw new ArgumentError(
          `Expected ${name}[${b}] to have ${expected.length(b)} elements, as inputIds[${b}], but received ${this.length(b)}`,
        )
  }

  private checkTensor(input: Tensor<ArrayLike<number>>): void {
    const { name } = this
    if (input === null || typeof input !== 'object' || !input.data || !Array.isArray(input.shape))
      throw new ArgumentError(`Expected ${name} to be number[][] or a tensor { data, shape }`)
    const [batch, length] = input.shape
    if (input.shape.length !== 2 || batch * length !== input.data.length)
      throw new ArgumentError(
        `Expected ${name} of shape [batch, length] but received [${input.shape}] with ${input.data.length} values`,
      )
  }

  get padded(): boolean {
    return isTensor(this.input)
  }

  get count(): number {
    return isTensor(this.input) ? this.input.shape[0] : this.input.length
  }

  length(b: number): number {
    return isTensor(this.input) ? this.input.shape[1] : this.input[b].length
  }

  /** The value as given; it may be anything that JavaScript puts into an array. */
  at(b: number, t: number): number {
    return isTensor(this.input) ? Number(this.input.data[b * this.input.shape[1] + t]) : this.input[b][t]
  }

  /** The value, an integer from 0 to below `end`; the error says what the limit is. */
  integer(b: number, t: number, end: number, limit: string): number {
    const value = this.at(b, t)
    if (!Number.isInteger(value) || value < 0 || value >= end)
      throw new ArgumentError(
        `${this.name}[${b}][${t}] is ${value}, expected an integer from 0 to ${end - 1} (${limit} ${end})`,
      )
    return value
  }

  private describe(): string {
    return isTensor(this.input) ? `[${this.input.shape}]` : `${this.count} ragged sequences`
  }
}

/**
 * Checks an input against the config and lays its rows side by side. `dropMasked`: leave out rows that the mask hides, for callers
 * that only see a sequence's first token; a hidden first token keeps its sequence whole.
 */
export function prepareBatch(inputs: ModelInputs, config: BertConfig, dropMasked: boolean): RaggedBatch {
  if (inputs === null || typeof inputs !== 'object' || !inputs.inputIds)
    throw new ArgumentError('Expected an input with inputIds: number[][] or a tensor { data, shape }')
  const ids = new Rows('inputIds', inputs.inputIds)
  const field = (name: string, input: TokenInput | undefined) => (input ? new Rows(name, input, ids) : undefined)
  const types = field('tokenTypeIds', inputs.tokenTypeIds)
  const positions = field('positionIds', inputs.positionIds)
  const mask = field('attentionMask', inputs.attentionMask)
  if (ids.count === 0) throw new ArgumentError('Expected at least one sequence in inputIds but received none')
  checkLengths(ids, config.maxPositionEmbeddings)

  const sequences = ids.count
  const visible = (b: number, t: number) => !mask || mask.integer(b, t, 2, 'a mask is 0 or 1; below') === 1
  let given = 0
  for (let b = 0; b < sequences; b++) given += ids.length(b)
  const columns = {
    ids: new Int32Array(given),
    typeIds: new Int32Array(given),
    positionIds: new Int32Array(given),
    keyMask: new Int32Array(given),
  }
  const cuSeqlens = new Int32Array(sequences + 1)
  let [row, pairs, hidden] = [0, 0, false]
  for (let b = 0; b < sequences; b++) {
    const drop = dropMasked && visible(b, 0)
    for (let t = 0; t < ids.length(b); t++) {
      const seen = visible(b, t)
      if (!seen && drop) continue
      hidden ||= !seen
      columns.ids[row] = ids.integer(b, t, config.vocabSize, 'vocab_size')
      if (types) columns.typeIds[row] = types.integer(b, t, config.typeVocabSize, 'type_vocab_size')
      columns.positionIds[row] = positions?.integer(b, t, config.maxPositionEmbeddings, 'max_position_embeddings') ?? t
      columns.keyMask[row] = seen ? 1 : 0
      row++
    }
    cuSeqlens[b + 1] = row
    pairs += (row - cuSeqlens[b]) ** 2
  }
  return {
    tokens: row,
    sequences,
    pairs,
    ids: columns.ids.subarray(0, row),
    typeIds: columns.typeIds.subarray(0, row),
    positionIds: columns.positionIds.subarray(0, row),
    cuSeqlens,
    firstTokens: cuSeqlens.slice(0, sequences),
    keyMask: hidden ? columns.keyMask.subarray(0, row) : undefined,
    padded: ids.padded && row === given ? [sequences, ids.length(0)] : undefined,
  }
}

function checkLengths(ids: Rows, longest: number): void {
  for (let b = 0; b < ids.count; b++) {
    const length = ids.length(b)
    if (length === 0) throw new ArgumentError(`inputIds[${b}] is empty; a sequence has at least one token`)
    if (length > longest)
      throw new ArgumentError(
        `inputIds[${b}] has ${length} tokens, but the model takes at most ${longest} (max_position_embeddings); truncate it`,
      )
  }
}
