/** A dense row-major array handed to or received from a model. Plain data: it owns no native memory. */
export interface Tensor<Data extends ArrayLike<number> = Float32Array> {
  readonly data: Data
  readonly shape: readonly number[]
}

/** What a model is handed: numbers, or 64-bit integers, as other libraries' tokenizers and readers have them. */
export interface InputTensor {
  readonly data: ArrayLike<number | bigint>
  readonly shape: readonly number[]
}

/** How many elements a shape has. */
export const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** Whether a caller's value is a tensor: data, and a shape of whole numbers. How many values there are is another question. */
export function isTensor(value: unknown): value is Tensor<ArrayLike<number>> {
  if (typeof value !== 'object' || value === null || !('data' in value) || !('shape' in value)) return false
  const { data, shape } = value
  const isList = Array.isArray(data) || (ArrayBuffer.isView(data) && 'length' in data)
  return isList && Array.isArray(shape) && shape.every((size) => Number.isSafeInteger(size) && size >= 0)
}
