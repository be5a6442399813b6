import { WeightsError } from '../errors.ts'
import { quote } from '../json.ts'
import { elementsOf } from '../tensor.ts'
import { crc32c, maskedCrc32c } from './crc.ts'
import { DTYPE_BITS } from './dtypes.ts'
import { tableEntries } from './leveldb-table.ts'
import { type ByteSource, readRange } from './source.ts'
import { isTransposed, isWeight, nameOf } from './tensorflow-names.ts'
import { MAX_NAME_LENGTH, MAX_TENSORS, StoredTensors, type TensorPlace } from './tensors.ts'
import { messageFields, type WireValue } from './wire.ts'

// A TensorFlow checkpoint (core/util/tensor_bundle, core/protobuf/tensor_bundle.proto): `prefix.index`, a table of names with dtype,
// shape and place, and `prefix.data-00000-of-00001`, ..., the numbers. Google published BERT's weights so. Tensors get
// Transformers' names and shapes; what the optimiser kept is left out.

const MAX_INDEX_BYTES = 32 * 2 ** 20
const MAX_NAME_BYTES = 16 * 2 ** 20
const MAX_DATA_FILES = 512
const MAX_AXES = 8
const PIECE_BYTES = 2 ** 20

/** DataType of types.proto -> safetensors' dtypes. */
const DTYPES: Readonly<Record<number, string>> = {
  1: 'F32',
  2: 'F64',
  3: 'I32',
  4: 'U8',
  5: 'I16',
  6: 'I8',
  9: 'I64',
  10: 'BOOL',
  14: 'BF16',
  17: 'U16',
  19: 'F16',
  22: 'U32',
  23: 'U64',
}

type Fail = (reason: string) => WeightsError

/** BundleEntryProto. */
interface Entry {
  dtype: number
  shape: number[]
  shard: number
  offset: number
  size: number
  /** Masked. */
  crc: number
  sliced: boolean
}

/**
 * Reads a checkpoint. `openData` opens the i-th of n data files; it is called for those that hold weights, which then belong
 * to what is returned. `index` may be closed after this.
 */
export async function readTensorFlow(
  index: ByteSource,
  openData: (i: number, n: number) => Promise<ByteSource>,
): Promise<StoredTensors> {
  const fail: Fail = (reason) => new WeightsError(`${index.name}: ${reason}`)
  if (index.size > MAX_INDEX_BYTES)
    throw fail(`the index has ${index.size} bytes; at most ${MAX_INDEX_BYTES} are accepted`)
  const { entries, dataFiles } = parseIndex(await readRange(index, 0, index.size), fail)
  const opened = new Map<number, ByteSource>()
  try {
    for (const { shard } of entries.values()) {
      if (shard >= dataFiles) throw fail(`a tensor is in data file ${shard} of ${dataFiles}`)
      if (!opened.has(shard)) opened.set(shard, await openData(shard, dataFiles))
    }
    const tensors = new Map<string, TensorPlace>()
    for (const [variable, entry] of entries) {
      const name = nameOf(variable)
      if (tensors.has(name)) throw fail(`two variables would be ${quote(name)}`)
      tensors.set(name, placeOf(variable, entry, opened.get(entry.shard)!, fail))
    }
    return new StoredTensors(index.name, tensors, [...opened.values()])
  } catch (error) {
    await Promise.all(Array.from(opened.values(), (source) => source.close()))
    throw error
  }
}

function parseIndex(bytes: Uint8Array, fail: Fail): { entries: Map<string, Entry>; dataFiles: number } {
  const limits = { entries: 4 * MAX_TENSORS, keyLength: MAX_NAME_LENGTH, keyBytes: MAX_NAME_BYTES }
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const entries = new Map<string, Entry>()
  let dataFiles = 0
  for (const { key, value } of tableEntries(bytes, limits, fail)) {
    // the header's key is empty, so it comes first
    if (key.length === 0) {
      dataFiles = parseHeader(value, fail)
      continue
    }
    if (dataFiles === 0) throw fail('its header is missing')
    let variable: string
    try {
      variable = decoder.decode(key)
    } catch {
      throw fail('a name is not valid UTF-8')
    }
    if (/\/\.ATTRIBUTES\/|^_CHECKPOINTABLE_OBJECT_GRAPH$/.test(variable))
      throw fail('it was saved by TensorFlow 2 with names of objects; only the names of Google’s BERT can be read')
    if (isWeight(variable)) entries.set(variable, parseEntry(variable, value, fail))
    if (entries.size > MAX_TENSORS) throw fail(`it names more than ${MAX_TENSORS} tensors`)
  }
  if (dataFiles === 0) throw fail('its header is missing')
  return { entries, dataFiles }
}

/** BundleHeaderProto: the number of data files. */
function parseHeader(bytes: Uint8Array, fail: Fail): number {
  let dataFiles = 0
  for (const [field, value] of messageFields(bytes, fail)) {
    if (field === 1) dataFiles = numberOf(value, fail)
    if (field === 2 && value !== 0) throw fail('expected little-endian numbers, but it says otherwise')
  }
  if (dataFiles < 1 || dataFiles > MAX_DATA_FILES)
    throw fail(`expected from 1 to ${MAX_DATA_FILES} data files, but it names ${dataFiles}`)
  return dataFiles
}

function numberOf(value: WireValue, fail: Fail): number {
  if (typeof value === 'number') return value
  throw fail('a field is of another kind than expected')
}

function bytesOf(value: WireValue, fail: Fail): Uint8Array {
  if (typeof value !== 'number') return value
  throw fail('a field is of another kind than expected')
}

function parseEntry(variable: string, bytes: Uint8Array, fail: Fail): Entry {
  const failHere: Fail = (reason) => fail(`variable ${quote(variable)}: ${reason}`)
  const entry: Entry = { dtype: 0, shape: [], shard: 0, offset: 0, size: 0, crc: 0, sliced: false }
  for (const [field, value] of messageFields(bytes, failHere)) {
    if (field === 1) entry.dtype = numberOf(value, failHere)
    if (field === 2) entry.shape = parseShape(bytesOf(value, failHere), failHere)
    if (field === 3) entry.shard = numberOf(value, failHere)
    if (field === 4) entry.offset = numberOf(value, failHere)
    if (field === 5) entry.size = numberOf(value, failHere)
    if (field === 6) entry.crc = numberOf(value, failHere)
    if (field === 7) entry.sliced = true
  }
  if (entry.sliced) throw failHere('it is stored in slices, which is not supported')
  return entry
}

/** TensorShapeProto: a Dim for each axis, whose size is left out where it is 0. */
function parseShape(bytes: Uint8Array, fail: Fail): number[] {
  const shape: number[] = []
  for (const [field, value] of messageFields(bytes, fail)) {
    if (field === 3 && value !== 0) throw fail('its shape is unknown')
    if (field !== 2) continue
    let size = 0
    for (const [inner, dim] of messageFields(bytesOf(value, fail), fail)) if (inner === 1) size = numberOf(dim, fail)
    if (shape.push(size) > MAX_AXES) throw fail(`it has more than ${MAX_AXES} axes`)
  }
  return shape
}

function placeOf(variable: string, entry: Entry, source: ByteSource, fail: Fail): TensorPlace {
  const failHere: Fail = (reason) => fail(`variable ${quote(variable)}: ${reason}`)
  const { shape, offset, size, crc } = entry
  const dtype = DTYPES[entry.dtype]
  if (dtype === undefined) throw failHere(`its dtype (${entry.dtype}) is not supported`)
  const length = (elementsOf(shape) * DTYPE_BITS[dtype]) / 8
  if (length !== size) throw failHere(`dtype ${dtype} and shape [${shape}] need ${length} bytes, but it has ${size}`)
  if (!(offset + size <= source.size)) throw failHere(`it reaches beyond ${source.name}; is that file truncated?`)
  let verified: Promise<void> | undefined
  const verify = () => {
    verified ??= verifyRange(source, offset, size, crc, variable)
    return verified
  }
  if (!isTransposed(variable)) return { dtype, shape, length, source, offset, verify }
  if (shape.length !== 2) throw failHere(`expected a kernel to have two axes, but its shape is [${shape}]`)
  const [inputs, outputs] = shape
  return { dtype, shape: [outputs, inputs], strides: [1, outputs], length, source, offset, verify }
}

async function verifyRange(
  source: ByteSource,
  offset: number,
  size: number,
  masked: number,
  variable: string,
): Promise<void> {
  let crc = 0
  const buffer = new Uint8Array(Math.min(size, PIECE_BYTES))
  for (let done = 0; done < size; done += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, size - done))
    await source.read(piece, offset + done)
    crc = crc32c(piece, crc)
  }
  if (maskedCrc32c(crc) !== masked)
    throw new WeightsError(`${source.name}: variable ${quote(variable)}: its checksum is wrong`)
}
