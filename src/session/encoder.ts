import { ArgumentError } from '../errors.ts'
import type { BertConfig } from '../model/config.ts'
import { elementsOf, isTensor, type Tensor } from '../tensor.ts'
import { borders, Rows, type TokenInput } from './inputs.ts'

/** An encoder's output for a decoder with cross-attention to look at. */
export interface EncoderInputs {
  /** [batch, length, H], or one tensor [length, H] per sequence. */
  readonly encoderHiddenStates?: Tensor<ArrayLike<number>> | readonly Tensor<ArrayLike<number>>[]
  /** 0 hides a position of the encoder. */
  readonly encoderAttentionMask?: TokenInput
}

/** Rows of all sequences one after another. */
export interface EncoderBatch {
  readonly keys: number
  /** [keys, H] */
  readonly states: Float32Array
  readonly cuKeys: Int32Array
  readonly keyMask: Int32Array | undefined
  /** [batch, length] when the rows are those of a padded tensor. */
  readonly padded: readonly [number, number] | undefined
}

/** Checks an encoder's states and lays their rows side by side. Undefined: none were given. */
export function prepareEncoder(
  { encoderHiddenStates, encoderAttentionMask }: EncoderInputs,
  config: BertConfig,
  sequences: number,
): EncoderBatch | undefined {
  if (!encoderHiddenStates) {
    if (encoderAttentionMask)
      throw new ArgumentError('Expected encoderHiddenStates beside encoderAttentionMask but received none')
    return undefined
  }
  if (!config.isDecoder || !config.addCrossAttention)
    throw new ArgumentError(
      'encoderHiddenStates need a decoder with cross-attention: a config with is_decoder and add_cross_attention true',
    )
  const H = config.hiddenSize
  const padded = Array.isArray(encoderHiddenStates) ? undefined : paddedShape(encoderHiddenStates, sequences, H)
  const parts = padded
    ? [(encoderHiddenStates as Tensor<ArrayLike<number>>).data]
    : raggedParts(encoderHiddenStates as readonly Tensor<ArrayLike<number>>[], sequences, H)
  const lengths = padded ? Array<number>(sequences).fill(padded[1]) : parts.map(({ length }) => length / H)
  const cuKeys = borders(lengths)
  const keys = cuKeys[sequences]
  const states = new Float32Array(keys * H)
  let at = 0
  for (const part of parts) {
    states.set(part, at)
    at += part.length
  }
  let finite = 0 // a plain loop: the states of a batch are millions of numbers
  while (finite < states.length && states[finite] - states[finite] === 0) finite++
  if (finite < states.length)
    throw new ArgumentError(`Expected encoderHiddenStates to be finite but element ${finite} is ${states[finite]}`)
  return { keys, states, cuKeys, keyMask: maskOf(encoderAttentionMask, cuKeys, padded), padded }
}

function paddedShape(states: unknown, sequences: number, H: number): [number, number] {
  const wanted = `[${sequences}, length, ${H}]`
  if (!isTensor(states))
    throw new ArgumentError(`Expected encoderHiddenStates to be a tensor of shape ${wanted} or a list of tensors`)
  const { data, shape } = states
  if (shape.length !== 3 || shape[0] !== sequences || shape[2] !== H || !shape[1] || elementsOf(shape) !== data.length)
    throw new ArgumentError(
      `Expected encoderHiddenStates of shape ${wanted} but received [${shape}] with ${data.length} values`,
    )
  return [sequences, shape[1]]
}

function raggedParts(list: readonly Tensor<ArrayLike<number>>[], sequences: number, H: number): ArrayLike<number>[] {
  if (list.length !== sequences)
    throw new ArgumentError(`Expected encoderHiddenStates for ${sequences} sequences but received ${list.length}`)
  return list.map((tensor, b) => {
    const wanted = `Expected encoderHiddenStates[${b}] of shape [length, ${H}]`
    if (!isTensor(tensor)) throw new ArgumentError(`${wanted} but it is no tensor`)
    const { data, shape } = tensor
    if (shape.length !== 2 || shape[1] !== H || !shape[0] || elementsOf(shape) !== data.length)
      throw new ArgumentError(`${wanted} but received [${shape}] with ${data.length} values`)
    return data
  })
}

function maskOf(
  input: TokenInput | undefined,
  cuKeys: Int32Array,
  padded: readonly [number, number] | undefined,
): Int32Array | undefined {
  if (!input) return undefined
  const mask = new Rows('encoderAttentionMask', input)
  const sequences = cuKeys.length - 1
  const keyMask = new Int32Array(cuKeys[sequences])
  if (mask.count !== sequences || mask.padded !== (padded !== undefined))
    throw new ArgumentError(
      `Expected encoderAttentionMask to have the shape of encoderHiddenStates, ${sequences} sequences, but received ${mask.count}`,
    )
  for (let b = 0; b < sequences; b++) {
    const length = cuKeys[b + 1] - cuKeys[b]
    if (mask.length(b) !== length)
      throw new ArgumentError(
        `Expected encoderAttentionMask[${b}] to have ${length} elements, as encoderHiddenStates[${b}], but received ${mask.length(b)}`,
      )
    for (let t = 0; t < length; t++) keyMask[cuKeys[b] + t] = Number(mask.isShown(b, t))
  }
  return keyMask.includes(0) ? keyMask : undefined
}
