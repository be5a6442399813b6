import { ArgumentError, WeightsError } from '../errors.ts'
import { isJsonObject, type JsonValue, kindOf, parseJson, quote } from '../json.ts'
import { elementsOf } from '../tensor.ts'
import { DTYPE_BITS } from './dtypes.ts'
import { type ByteSource, readRange } from './source.ts'
import { MAX_NAME_LENGTH, MAX_RANK, MAX_TENSORS, StoredTensors, type TensorInfo, type TensorPlace } from './tensors.ts'

// Format: https://github.com/huggingface/safetensors, README.md "Format". Accepted and refused as by its Rust reader
// (SafeTensors::read_metadata), but for: duplicate keys (refused here), the limits below (its header limit is 100 MB),
// whole numbers spelt as fractions such as 2.0 (accepted here), sizes above 2^53 bits (refused here even beside a 0).

const LENGTH_BYTES = 8
export const MAX_HEADER_BYTES = 8 * 2 ** 20
/** Header, then __metadata__ or a tensor, then its shape: three levels; 8 leaves room for unknown fields. */
const MAX_NESTING = 8

/** A tensor of a header; `offset` is in bytes from the start of the file. */
interface Entry extends TensorInfo {
  readonly offset: number
}

interface Header {
  tensors: Map<string, Entry>
  metadata: Record<string, string>
}

type Fail = (reason: string) => WeightsError

/**
 * Checks a safetensors header (the JSON after the first 8 bytes) against the number of bytes that follow it (Infinity: not known).
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

function parseTensor(name: string, entry: JsonValue, dataStart: number, dataLength: number, fail: Fail): Entry {
  if (name.length > MAX_NAME_LENGTH) throw fail(`a tensor's name has more than ${MAX_NAME_LENGTH} characters`)
  const failHere: Fail = (reason) => fail(`tensor ${quote(name)}: ${reason}`)
  if (!isJsonObject(entry)) throw failHere(`expected an object, but found ${kindOf(entry)}`)
  const own = (key: string): JsonValue | undefined => (Object.hasOwn(entry, key) ? entry[key] : undefined)
  const dtype = own('dtype')
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BITS, dtype)) throw failHere(`unknown dtype ${quote(dtype)}`)
  const shape = sizes(own('shape'))
  if (shape === undefined) throw failHere(`expected a shape of whole numbers, but found ${quote(own('shape'))}`)
  if (shape.length > MAX_RANK) throw failHere(`expected at most ${MAX_RANK} axes, but found ${shape.length}`)
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
function checkCoverage(tensors: Map<string, Entry>, dataStart: number, dataLength: number, fail: Fail): void {
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
  if (end !== dataStart + dataLength && Number.isFinite(dataLength)) {
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

/** The tensors of an open safetensors file. */
export class SafetensorsFile extends StoredTensors {
  constructor(
    source: ByteSource,
    tensors: ReadonlyMap<string, TensorPlace>,
    readonly metadata: Readonly<Record<string, string>>,
  ) {
    super(source.name, tensors, [source])
  }
}

/**
 * Reads and checks a safetensors file's whole header; tensors are read when asked for, and those of a stream in the order of the list.
 * A malformed, truncated or overlong file is a WeightsError.
 */
export async function readSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const { name, size } = source
  if (size < LENGTH_BYTES) {
    throw new WeightsError(`${name}: ${size} bytes are too few for a safetensors file; is it truncated?`)
  }
  const start = await readRange(source, 0, LENGTH_BYTES)
  const headerLength = new DataView(start.buffer).getBigUint64(0, true)
  if (Number.isFinite(size) && headerLength > BigInt(size - LENGTH_BYTES)) {
    throw new WeightsError(
      `${name}: the header should have ${headerLength} bytes, but the file has ${size}; is it truncated or another format?`,
    )
  }
  if (headerLength > BigInt(MAX_HEADER_BYTES)) {
    throw new WeightsError(`${name}: the header has ${headerLength} bytes; at most ${MAX_HEADER_BYTES} are accepted`)
  }
  const header = await readRange(source, LENGTH_BYTES, Number(headerLength))
  const { tensors, metadata } = parseHeader(header, size - LENGTH_BYTES - header.length, name)
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset)
  const places = inOrder.map(([each, entry]): [string, TensorPlace] => [each, { ...entry, source }])
  return new SafetensorsFile(source, new Map(places), metadata)
}

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

/** A tensor's values: all at once, or stretch by stretch, each written before the next one is asked for. */
export type TensorValues = Float32Array | Iterable<Float32Array> | AsyncIterable<Float32Array>

const stretchesOf = (values: TensorValues) => (values instanceof Float32Array ? [values] : values)

/** A file to be. */
export interface EncodedFile {
  /** In bytes. */
  readonly size: number
  /** Its content. The memory of a chunk is used again for the next one. */
  readonly chunks: AsyncIterable<Uint8Array>
}

/**
 * A safetensors file of float32 tensors, sorted by name as safetensors' own writer does. `data` is asked for one tensor at a time,
 * so that a model is never twice in memory; values that do not fit the shape are an ArgumentError. `file` begins errors.
 */
export function encodeSafetensors(
  file: string,
  tensors: Iterable<{ name: string; shape: readonly number[] }>,
  data: (name: string) => Promise<TensorValues> | TensorValues,
  metadata: Record<string, string> = { format: 'pt' },
): EncodedFile {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  for (const [i, { name }] of sorted.entries()) {
    if (name === '__metadata__' || name === sorted[i - 1]?.name) {
      throw new ArgumentError(`${file}: a tensor cannot be called ${quote(name)}: the name is taken`)
    }
  }
  const header = makeHeader(sorted, metadata)
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield header
    for (const { name, shape } of sorted) {
      let found = 0
      for await (const values of stretchesOf(await data(name))) {
        found += values.length
        yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
      }
      if (found !== elementsOf(shape)) {
        throw new ArgumentError(
          `${file}: expected ${elementsOf(shape)} values of shape [${shape}] for ${quote(name)}, but found ${found}`,
        )
      }
    }
  }
  const size = sorted.reduce((sum, { shape }) => sum + 4 * elementsOf(shape), header.length)
  return { size, chunks: chunks() }
}
