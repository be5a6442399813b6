import { WeightsError } from '../errors.ts'
import { nextTurn } from '../turns.ts'
import { allocate, type ByteSource } from './source.ts'

// PyTorch stores a tensor as a view of a storage: element [i, j] is at offset + i * strides[0] + j * strides[1]. A transposed
// kernel of TensorFlow is such a view as well.

/** A view of up to this many bytes is read in one block, however little of it is wanted. */
const BLOCK_BYTES = 2 ** 24

/** Whether a view's elements lie one after another, row after row. The stride of an axis of one index says nothing. */
export function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false
    expected *= shape[axis]
  }
  return true
}

/** Elements from a view's first to its last, both included; 0 for an empty one. */
export function extentOf(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0
  return shape.reduce((extent, size, axis) => extent + (size - 1) * strides[axis], 1)
}

type Elements = Uint8Array | Uint16Array | Uint32Array | BigUint64Array

/** `bytes` as unsigned integers of `width` bytes, which copying leaves as they are. */
function asElements(bytes: Uint8Array, width: number): Elements {
  const { buffer, byteOffset, length } = bytes
  if (width === 1) return bytes
  if (width === 2) return new Uint16Array(buffer, byteOffset, length / 2)
  if (width === 4) return new Uint32Array(buffer, byteOffset, length / 4)
  if (width === 8) return new BigUint64Array(buffer, byteOffset, length / 8)
  throw new WeightsError(`a view of elements of ${width} bytes`)
}

/**
 * The bytes of a view that is not empty, row after row, in pieces whose memory is used again. The outer axes are walked, the
 * inner ones read as a block: of at most BLOCK_BYTES, or twice what it yields.
 */
export async function* stridedPieces(
  source: ByteSource,
  offset: number,
  viewShape: readonly number[],
  viewStrides: readonly number[],
  width: number,
  pieceBytes: number,
): AsyncGenerator<Uint8Array> {
  const shape = [...viewShape, 1]
  const strides = [...viewStrides, 1]
  const rank = shape.length
  const inner = (axis: number) => extentOf(shape.slice(axis), strides.slice(axis)) * width
  const yielded = (axis: number) => shape.slice(axis).reduce((product, size) => product * size, width)
  let axis = 0
  while (axis < rank - 1 && inner(axis) > Math.max(BLOCK_BYTES, 2 * yielded(axis))) axis++

  const block = allocate(() => new Uint8Array(inner(axis)), inner(axis), source.name)
  const piece = new Uint8Array(Math.min(yielded(0), pieceBytes))
  const from = asElements(block, width)
  const to = asElements(piece, width)
  let filled = 0
  for (const start of positions(shape.slice(0, axis), strides.slice(0, axis))) {
    await source.read(block, offset + start * width)
    for (const row of positions(shape.slice(axis, -2), strides.slice(axis, -2))) {
      const [step, size] = axis < rank - 1 ? [strides[rank - 2], shape[rank - 2]] : [1, 1]
      for (let done = 0; done < size; ) {
        const count = Math.min(size - done, to.length - filled)
        copy(from, row + done * step, step, to, filled, count)
        done += count
        filled += count
        if (filled === to.length) {
          yield piece
          filled = 0
          await nextTurn()
        }
      }
    }
  }
  if (filled > 0) yield piece.subarray(0, filled * width)
}

function copy(from: Elements, at: number, step: number, to: Elements, start: number, count: number): void {
  for (let i = 0; i < count; i++) to[start + i] = from[at + i * step]
}

/** The position of every index of the axes, in order; one position, 0, where there is no axis. */
function* positions(shape: readonly number[], strides: readonly number[]): Generator<number> {
  const index = shape.map(() => 0)
  let position = 0
  for (;;) {
    yield position
    let axis = shape.length - 1
    for (; axis >= 0; axis--) {
      position += strides[axis]
      if (++index[axis] < shape[axis]) break
      position -= shape[axis] * strides[axis]
      index[axis] = 0
    }
    if (axis < 0) return
  }
}
