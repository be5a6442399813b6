import type { FileHandle } from 'node:fs/promises'
import { ArgumentError, WeightsError } from '../errors.ts'
import { isJsonObject, type JsonValue, kindOf, parseJson, quote } from '../json.ts'
import { guarded, openFile, writeAtomic } from './files.ts'
import { FLOAT_WIDTHS, type FloatDtype, toFloat32 } from './floats.ts'

// Format: https://github.com/huggingface/safetensors, README.md "Format". Accepted and refused as by its Rust reader
// (SafeTensors::read_metadata), but for: duplicate keys (refused here), the limits below (its header limit is 100 MB),
// whole numbers spelt as fractions such as 2.0 (accepted here), sizes above 2^53 bits (refused here even beside a 0).

/** Bits per element. */
const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
}
const LENGTH_BYTES = 8
export const MAX_HEADER_BYTES = 8 * 2 ** 20
export const MAX_TENSORS = 65_536
export const MAX_NAME_LENGTH = 4096
/** Header, then __metadata__ or a tensor, then its shape: three levels; 8 leaves room for unknown fields. */
const MAX_NESTING = 8
// Conversions go piece by piece, so that the stored and the converted tensor are never both whole in memory and the
// event loop is free in between.
const PIECE_BYTES = 2 ** 20
// The system call's limit is 2^31 - 1 bytes.
const MAX_READ_BYTES = 2 ** 30

export interface TensorInfo {
  /** As the file names it: F32, BF16, I64, ... */
  readonly dtype: string
  readonly shape: readonly number[]
  /** In bytes from the start of the file. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

/** Named tensors that are read one at a time. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  /** A tensor as float32, row after row; F16, BF16 and F64 are converted, other dtypes are a WeightsError. */
  read(name: string): Promise<Float32Array>
  /** A tensor's bytes as they are stored (little-endian). */
  readRaw(name: string): Promise<Uint8Array>
  close(): Promise<void>
}

export interface SafetensorsFile extends TensorSource {
  readonly file: string
  readonly metadata: Readonly<Record<string, string>>
}

interface Header {
  tensors: Map<string, TensorInfo>
  metadata: Record<string, string>
}

type Fail = (reason: string) => WeightsError

/**
 * Checks a safetensors header (the JSON after the first 8 bytes) against the number of bytes that follow it.
 * Nothing is allocated for a tensor before every one is known to lie inside the file. `where` begins errors.
 */
export function parseHeader(bytes: Uint8Array, dataLength: number, where: string): Header {
  const fail: Fail = (reason) => new WeightsError(`${where}: ${reason}`)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw fail('the header is not valid UTF-8')
  }
  const json = parseJson(text, (reason) => fail(`the header: ${reason}`), {
    maxDepth: MAX_NESTING,
    uniqueKeys: true,
  })
  if (!isJsonObject(json)) throw fail(`expected the header to be an object, but found ${kindOf(json)}`)
  const entries = Object.entries(json).filter(([name]) => name !== '__metadata__')
  if (entries.length > MAX_TENSORS) {
    throw fail(`the header names ${entries.length} tensors; at most ${MAX_TENSORS} are accepted`)
  }
  const dataStart = LENGTH_BYTES + bytes.length
  const tensors = new Map(entries.map(([name, entry]) => [name, parseTensor(name, entry, dataStart, dataLength, fail)]))
  checkCoverage(tensors, dataStart, dataLength, fail)
  const metadata = Object.hasOwn(json, '__metadata__') ? parseMetadata(json.__metadata__, fail) : {}
  return { tensors, metadata }
}

function parseTensor(name: string, entry: JsonValue, dataStart: number, dataLength: number, fail: Fail): TensorInfo {
  if (name.length > MAX_NAME_LENGTH) throw fail(`a tensor's name has more than ${MAX_NAME_LENGTH} characters`)
  const failHere: Fail = (reason) => fail(`tensor ${quote(name)}: ${reason}`)
  if (!isJsonObject(entry)) throw failHere(`expected an object, but found ${kindOf(entry)}`)
  const own = (key: string): JsonValue | undefined => (Object.hasOwn(entry, key) ? entry[key] : undefined)
  const dtype = own('dtype')
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BITS, dtype)) throw failHere(`unknown dtype ${quote(dtype)}`)
  const shape = sizes(own('shape'))
  if (shape === undefined) throw failHere(`expected a shape of whole numbers, but found ${quote(own('shape'))}`)
  const offsets = sizes(own('data_offsets'))
  if (offsets === undefined || offsets.length !== 2 || offsets[0] > offsets[1] || offsets[1] > dataLength) {
    throw failHere(
      `expected data_offsets [begin, end] within the ${dataLength} bytes of data, but found ${quote(own('data_offsets'))}`,
    )
  }
  const [begin, end] = offsets
  let bits = DTYPE_BITS[dtype]
  for (const size of shape) {
    bits *= size
    if (bits > Number.MAX_SAFE_INTEGER) throw failHere(`shape ${quote(shape)} is too large`)
  }
  if (bits !== (end - begin) * 8) {
    throw failHere(
      `dtype ${dtype} and shape ${quote(shape)} need ${bits / 8} bytes, but data_offsets span ${end - begin}`,
    )
  }
  return { dtype, shape, offset: dataStart + begin, length: end - begin }
}

/** A list of non-negative integers that a number can hold exactly. */
function sizes(value: JsonValue | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined
  const numbers = value.filter((size): size is number => Number.isSafeInteger(size) && (size as number) >= 0)
  return numbers.length === value.length ? numbers : undefined
}

/** The format allows no gap, no overlap and no bytes after the last tensor. */
function checkCoverage(tensors: Map<string, TensorInfo>, dataStart: number, dataLength: number, fail: Fail): void {
  let end = dataStart
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.length - b.length)
  for (const [name, { offset, length }] of inOrder) {
    if (offset !== end) {
      throw fail(
        `tensor ${quote(name)}: expected data_offsets to begin at ${end - dataStart}, where the one before ends, but found ${offset - dataStart}`,
      )
    }
    end = offset + length
  }
  if (end !== dataStart + dataLength) {
    throw fail(`the tensors cover ${end - dataStart} bytes, but ${dataLength} follow the header`)
  }
}

function parseMetadata(value: JsonValue, fail: Fail): Record<string, string> {
  const metadata: Record<string, string> = Object.create(null)
  if (value === null) return metadata
  if (!isJsonObject(value)) throw fail(`expected __metadata__ to be an object, but found ${kindOf(value)}`)
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw fail(`expected __metadata__[${quote(key)}] to be a string, but found ${kindOf(text)}`)
    }
    metadata[key] = text
  }
  return metadata
}

/** Fills `target` from `position`, or fails when the file ends first (it was cut after its header was checked). */
async function readFully(handle: FileHandle, target: Uint8Array, position: number, file: string): Promise<void> {
  let done = 0
  while (done < target.length) {
    const length = Math.min(target.length - done, MAX_READ_BYTES)
    const { bytesRead } = await guarded('read', file, () => handle.read(target, done, length, position + done))
    if (bytesRead === 0) {
      throw new WeightsError(
        `${file}: expected ${target.length} bytes at ${position}, but the file ends after ${done} of them`,
      )
    }
    done += bytesRead
  }
}

/** A buffer for a tensor; a WeightsError where the process cannot have one. */
function allocate<Buffer>(make: () => Buffer, bytes: number, where: string): Buffer {
  try {
    return make()
  } catch (error) {
    throw new WeightsError(`${where}: no memory for a tensor of ${bytes} bytes`, { cause: error })
  }
}

class OpenSafetensors implements SafetensorsFile {
  constructor(
    readonly file: string,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    readonly metadata: Readonly<Record<string, string>>,
    private readonly handle: FileHandle,
  ) {}

  #info(name: string): TensorInfo {
    const info = this.tensors.get(name)
    if (info === undefined) throw new WeightsError(`${this.file}: there is no tensor ${quote(name)}`)
    return info
  }

  async read(name: string): Promise<Float32Array> {
    const { dtype, offset, length } = this.#info(name)
    if (!Object.hasOwn(FLOAT_WIDTHS, dtype)) {
      throw new WeightsError(
        `${this.file}: tensor ${quote(name)}: expected dtype F32, F16, BF16 or F64, but it is ${dtype}`,
      )
    }
    const float = dtype as FloatDtype
    const count = length / FLOAT_WIDTHS[float]
    const values = allocate(() => new Float32Array(count), 4 * count, this.file)
    if (float === 'F32') {
      await readFully(this.handle, new Uint8Array(values.buffer), offset, this.file)
      return values
    }
    const perPiece = PIECE_BYTES / FLOAT_WIDTHS[float]
    for (let from = 0; from < count; from += perPiece) {
      const target = values.subarray(from, from + perPiece)
      const stored = new Uint8Array(target.length * FLOAT_WIDTHS[float])
      await readFully(this.handle, stored, offset + from * FLOAT_WIDTHS[float], this.file)
      toFloat32(float, stored.buffer, target)
    }
    return values
  }

  async readRaw(name: string): Promise<Uint8Array> {
    const { offset, length } = this.#info(name)
    const bytes = allocate(() => new Uint8Array(length), length, this.file)
    await readFully(this.handle, bytes, offset, this.file)
    return bytes
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

/**
 * Opens a safetensors file and checks its whole header; tensors are read when asked for. A malformed, truncated or
 * overlong file is a WeightsError, a file that cannot be opened a FileError.
 */
export async function openSafetensors(file: string): Promise<SafetensorsFile> {
  const handle = await openFile(file)
  try {
    const { size } = await guarded('read', file, () => handle.stat())
    if (size < LENGTH_BYTES) {
      throw new WeightsError(`${file}: ${size} bytes are too few for a safetensors file; is it truncated?`)
    }
    const start = new Uint8Array(LENGTH_BYTES)
    await readFully(handle, start, 0, file)
    const headerLength = new DataView(start.buffer).getBigUint64(0, true)
    if (headerLength > BigInt(size - LENGTH_BYTES)) {
      throw new WeightsError(
        `${file}: the header should have ${headerLength} bytes, but the file has ${size}; is it truncated or another format?`,
      )
    }
    if (headerLength > BigInt(MAX_HEADER_BYTES)) {
      throw new WeightsError(`${file}: the header has ${headerLength} bytes; at most ${MAX_HEADER_BYTES} are accepted`)
    }
    const header = new Uint8Array(Number(headerLength))
    await readFully(handle, header, LENGTH_BYTES, file)
    const { tensors, metadata } = parseHeader(header, size - LENGTH_BYTES - header.length, file)
    return new OpenSafetensors(file, tensors, metadata, handle)
  } catch (error) {
    await handle.close()
    throw error
  }
}

const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** The first bytes of a file of float32 tensors in the given order: length, JSON, and spaces up to a multiple of 8. */
function makeHeader(
  tensors: readonly { name: string; shape: readonly number[] }[],
  metadata: Record<string, string>,
): Uint8Array {
  let end = 0
  const entries = [`"__metadata__":${JSON.stringify(metadata)}`]
  for (const { name, shape } of tensors) {
    const begin = end
    end += 4 * elementsOf(shape)
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: 'F32', shape, data_offsets: [begin, end] })}`)
  }
  const json = new TextEncoder().encode(`{${entries.join(',')}}`)
  const padded = Math.ceil(json.length / 8) * 8
  const header = new Uint8Array(LENGTH_BYTES + padded).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true)
  header.set(json, LENGTH_BYTES)
  return header
}

/**
 * Writes float32 tensors, sorted by name as safetensors' own writer does, and replaces `file` only when all is on disk.
 * `data` is asked for one tensor at a time, so that a model is never twice in memory; a length that does not fit the
 * shape is an ArgumentError and leaves the old file as it was.
 */
export async function writeSafetensors(
  file: string,
  tensors: Iterable<{ name: string; shape: readonly number[] }>,
  data: (name: string) => Promise<Float32Array> | Float32Array,
  metadata: Record<string, string> = { format: 'pt' },
): Promise<void> {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  for (const [i, { name }] of sorted.entries()) {
    if (name === '__metadata__' || name === sorted[i - 1]?.name) {
      throw new ArgumentError(`${file}: a tensor cannot be called ${quote(name)}: the name is taken`)
    }
  }
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield makeHeader(sorted, metadata)
    for (const { name, shape } of sorted) {
      const values = await data(name)
      if (values.length !== elementsOf(shape)) {
        throw new ArgumentError(
          `${file}: expected ${elementsOf(shape)} values of shape [${shape}] for ${quote(name)}, but found ${values.length}`,
        )
      }
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    }
  }
  await writeAtomic(file, chunks())
}
