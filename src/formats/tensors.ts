import { WeightsError } from '../errors.ts'
import { quote } from '../json.ts'
import { elementsOf } from '../tensor.ts'
import { isFloat, toFloat32 } from './dtypes.ts'
import { allocate, type ByteSource } from './source.ts'
import { isRowMajor, stridedPieces } from './strides.ts'

// What every format of weights becomes: names with a place in a file, read piece by piece, so that no tensor is whole in
// memory unless the caller wants it whole, and the event loop is free in between.

export const MAX_TENSORS = 65_536
/** Axes that a tensor of a file may have; PyTorch's have at most 64. */
export const MAX_RANK = 64
export const MAX_NAME_LENGTH = 4096
const PIECE_BYTES = 2 ** 20

export interface TensorInfo {
  /** As safetensors names it: F32, BF16, I64, ... */
  readonly dtype: string
  readonly shape: readonly number[]
  /** In bytes, row after row. */
  readonly length: number
}

/** A stretch of a tensor's values. Its memory is used again for the next one. */
export interface Piece {
  /** The index of the first value, row after row. */
  readonly start: number
  readonly values: Float32Array
}

/** Named tensors that are read one at a time. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** A tensor as float32, row after row; F16, BF16 and F64 are converted, other dtypes are a WeightsError. */
  read(name: string): Promise<Float32Array>
  /** The same values in pieces of at most 1 MiB, in order, for a caller that has a place for them. */
  pieces(name: string): AsyncIterable<Piece>
  /** A tensor's bytes as they are stored (little-endian), row after row. */
  readRaw(name: string): Promise<Uint8Array>
  /** Whether two names are of the same values in one place, as far as that is known without reading them. */
  isSame?(name: string, other: string): boolean
  close(): Promise<void>
}

/** Where a tensor is. Whoever makes one has checked that every element lies inside `source`. */
export interface TensorPlace extends TensorInfo {
  readonly source: ByteSource
  /** Of the first element, in bytes from the start of the source. */
  readonly offset: number
  /** Elements from one index of an axis to the next, none negative; row after row where absent. */
  readonly strides?: readonly number[]
  /** Compares the stored bytes with their checksum, before the first of them is handed out. */
  readonly verify?: () => Promise<void>
}

/** Tensors of open files. Closing closes the files. */
export class StoredTensors<Place extends TensorPlace = TensorPlace> implements TensorSource {
  constructor(
    /** Begins error messages. */
    readonly file: string,
    readonly tensors: ReadonlyMap<string, Place>,
    private readonly sources: readonly ByteSource[],
  ) {}

  #place(name: string): Place {
    const place = this.tensors.get(name)
    if (place === undefined) throw new WeightsError(`${this.file}: there is no tensor ${quote(name)}`)
    return place
  }

  async read(name: string): Promise<Float32Array> {
    const { shape } = this.#place(name)
    this.#requireFloat(name)
    const count = elementsOf(shape)
    const values = allocate(() => new Float32Array(count), 4 * count, this.file)
    for await (const piece of this.pieces(name)) values.set(piece.values, piece.start)
    return values
  }

  async *pieces(name: string): AsyncGenerator<Piece> {
    const place = this.#place(name)
    const dtype = this.#requireFloat(name)
    const width = place.length / Math.max(1, elementsOf(place.shape))
    let converted: Float32Array | undefined
    let start = 0
    for await (const stored of rawPieces(place)) {
      const count = stored.length / width
      if (dtype === 'F32') {
        yield { start, values: new Float32Array(stored.buffer, stored.byteOffset, count) }
      } else {
        converted ??= new Float32Array(count) // the first piece is the longest
        const values = converted.subarray(0, count)
        toFloat32(dtype, stored, values)
        yield { start, values }
      }
      start += count
    }
  }

  async readRaw(name: string): Promise<Uint8Array> {
    const place = this.#place(name)
    const bytes = allocate(() => new Uint8Array(place.length), place.length, this.file)
    let at = 0
    for await (const stored of rawPieces(place)) {
      bytes.set(stored, at)
      at += stored.length
    }
    return bytes
  }

  isSame(name: string, other: string): boolean {
    const layout = ({ dtype, offset, shape, strides }: Place) => JSON.stringify([dtype, offset, shape, strides])
    const [a, b] = [this.#place(name), this.#place(other)]
    return a.source === b.source && layout(a) === layout(b)
  }

  async close(): Promise<void> {
    await Promise.all(this.sources.map((source) => source.close()))
  }

  #requireFloat(name: string) {
    const { dtype } = this.#place(name)
    if (isFloat(dtype)) return dtype
    throw new WeightsError(
      `${this.file}: tensor ${quote(name)}: expected dtype F32, F16, BF16 or F64, but it is ${dtype}`,
    )
  }
}

/**
 * A tensor's bytes, row after row, in pieces of whole elements whose memory is used again for the one after the next: that is read while
 * a piece is used.
 */
async function* rawPieces(place: TensorPlace): AsyncGenerator<Uint8Array> {
  const { source, offset, length, shape, strides } = place
  if (length === 0) return
  await place.verify?.()
  if (strides !== undefined && !isRowMajor(shape, strides)) {
    yield* stridedPieces(source, offset, shape, strides, length / elementsOf(shape), PIECE_BYTES)
    return
  }
  const most = Math.min(length, PIECE_BYTES)
  const make = () => allocate(() => new Uint8Array(most), most, source.name)
  const buffers = length > most ? [make(), make()] : [make()]
  const readAt = async (done: number): Promise<Uint8Array> => {
    const piece = buffers[(done / most) % 2].subarray(0, Math.min(most, length - done))
    await source.read(piece, offset + done)
    return piece
  }
  let next: Promise<Uint8Array> | undefined = readAt(0)
  for (let done = 0; next; done += most) {
    const piece: Uint8Array = await next
    next = done + most < length ? readAt(done + most) : undefined
    next?.catch(() => {}) // it is awaited when its turn comes, or never, where whoever takes the pieces stops
    yield piece
  }
}
