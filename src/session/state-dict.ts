// Tensors by name, as callers have them: read, checked and cut into pieces, with the event loop free in between.

import { ArgumentError } from '../errors.ts'
import type { Piece } from '../formats/tensors.ts'
import { quote } from '../json.ts'
import { elementsOf, isTensor, type Tensor } from '../tensor.ts'
import { slices } from '../turns.ts'
import type { TensorPlace } from './layout.ts'

/** Values that are copied or looked at before the next turn of the event loop may come. */
export const PIECE_ELEMENTS = 2 ** 18

/** Tensors by name, read one after another. */
export async function tensorsAt<Place extends TensorPlace>(
  places: readonly Place[],
  read: (place: Place) => Promise<Float32Array>,
): Promise<Map<string, Tensor>> {
  const tensors = new Map<string, Tensor>()
  const due = slices()
  for (const place of places) {
    tensors.set(place.name, { data: await read(place), shape: [...place.shape] })
    await due()
  }
  return tensors
}

export function mapOf(state: unknown): ReadonlyMap<string, unknown> {
  if (state instanceof Map) return state
  throw new ArgumentError('loadStateDict: expected a Map of names and tensors')
}

/** Names that a caller's tensors lack, and those that a model lacks; an ArgumentError where that is `strict`ly forbidden. */
export function compareNames(
  given: ReadonlyMap<string, unknown>,
  tensors: ReadonlyMap<string, unknown>,
  strict: boolean,
): { missing: string[]; unexpected: string[] } {
  const missing = [...tensors.keys()].filter((name) => !given.has(name))
  const unexpected = [...given.keys()].filter((name) => !tensors.has(name))
  if (strict && (missing.length || unexpected.length))
    throw new ArgumentError(`loadStateDict: missing [${missing.join(', ')}], unexpected [${unexpected.join(', ')}]`)
  return { missing, unexpected }
}

/** The values of a caller's tensor, which must have this shape; an ArgumentError else. */
export function valuesOf(
  state: ReadonlyMap<string, unknown>,
  name: string,
  shape: readonly number[],
): ArrayLike<number> {
  const tensor = state.get(name)
  const expected = `loadStateDict: expected ${name} of shape [${shape}] but received`
  if (tensor === undefined) throw new ArgumentError(`${expected} none`)
  if (!isTensor(tensor) || tensor.data instanceof BigInt64Array || tensor.data instanceof BigUint64Array)
    throw new ArgumentError(`${expected} no tensor { data, shape } of numbers`)
  const { data } = tensor
  if (String(tensor.shape) !== String(shape) || data.length !== elementsOf(shape))
    throw new ArgumentError(`${expected} [${tensor.shape}] with ${data.length} values`)
  return data
}

/** An ArgumentError where a list holds what is no number. Arrays of numbers cannot. */
export async function checkNumbers(name: string, values: ArrayLike<unknown>): Promise<void> {
  if (ArrayBuffer.isView(values)) return
  const due = slices()
  for (let i = 0; i < values.length; i++) {
    if (typeof values[i] !== 'number')
      throw new ArgumentError(`loadStateDict: expected ${name} to hold numbers but received ${quote(values[i])}`)
    if (i % PIECE_ELEMENTS === PIECE_ELEMENTS - 1) await due()
  }
}

/** A caller's values as float32, in order. */
export async function* piecesOf(values: ArrayLike<number>): AsyncGenerator<Piece> {
  const due = slices()
  const elements = values.length
  for (let start = 0; start < elements; start += PIECE_ELEMENTS) {
    if (values.length !== elements) throw new ArgumentError('A tensor was given another length while it was loaded')
    const length = Math.min(elements - start, PIECE_ELEMENTS)
    if (values instanceof Float32Array) yield { start, values: values.subarray(start, start + length) }
    else {
      const piece = new Float32Array(length)
      for (let i = 0; i < length; i++) piece[i] = values[start + i]
      yield { start, values: piece }
    }
    await due()
  }
}

/** Whether none is NaN or infinite. */
export async function areFinite(values: Float32Array): Promise<boolean> {
  const due = slices()
  for (let start = 0; start < values.length; start += PIECE_ELEMENTS) {
    const end = Math.min(values.length, start + PIECE_ELEMENTS)
    for (let i = start; i < end; i++) if (!Number.isFinite(values[i])) return false
    await due()
  }
  return true
}
