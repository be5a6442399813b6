// Tensors by name, as callers have them: read, checked and cut into pieces, with the event loop free in between.
import { ArgumentError } from '../errors.ts'
import type { Piece } from '../formats/tensors.ts'
import { isTensor, type Tensor } from '../tensor.ts'
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

/** A caller's values as float32, in order. */
export async function* piecesOf(values: ArrayLike<number>): AsyncGenerator<Piece> {
  const due = slices()
  for (let start = 0; start < values.length; start += PIECE_ELEMENTS) {
    const length = Math.min(values.length - start, PIECE_ELEMENTS)
    if (values instanceof Float32Array) yield { start, values: values.subarray(start, start + length) }
    else {
      const piece = new Float32Array(length)
      for (let i = 0; i < length; i++) piece[i] = values[start + i]
      yield { start, values: piece }
    }
    await due()
  }
}

/** The index of the first value that is NaN or infinite; -1 where there is none. */
export async function firstNonFinite(values: Float32Array): Promise<number> {
  const due = slices()
  for (let start = 0; start < values.length; start += PIECE_ELEMENTS) {
    const end = Math.min(values.length, start + PIECE_ELEMENTS)
    for (let i = start; i < end; i++) if (!Number.isFinite(values[i])) return i
    await due()
  }
  return -1
}

/** An ArgumentError when `state` is no Map of tensors, all of numbers. */
export function checkState(state: unknown): asserts state is ReadonlyMap<string, Tensor<ArrayLike<number>>> {
  if (!(state instanceof Map)) throw new ArgumentError('loadStateDict: expected a Map of names and tensors')
  for (const [name, tensor] of state as ReadonlyMap<unknown, unknown>) {
    const isNumeric = isTensor(tensor) && (isNumbers(tensor.data) || Array.from(tensor.data).every(isNumber))
    if (!isNumeric)
      throw new ArgumentError(`loadStateDict: expected ${String(name)} to be a tensor { data, shape } of numbers`)
  }
}

const isNumber = (value: unknown): boolean => typeof value === 'number'
const isNumbers = (data: ArrayLike<unknown>): boolean =>
  ArrayBuffer.isView(data) && !(data instanceof BigInt64Array || data instanceof BigUint64Array)
