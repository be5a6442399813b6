import type { WeightsError } from '../errors.ts'
import { crc32c, maskedCrc32c } from './crc.ts'
import { WireReader } from './wire.ts'

// LevelDB's immutable table (its doc/table_format.md), which TensorFlow's checkpoints use as an index: blocks of sorted keys, each key
// stored as what differs from the one before it; an index block of the blocks' places; a footer.

const FOOTER_BYTES = 48
const MAGIC = 0xdb4775248b80fb57n
/** Behind each block: how it is compressed, and a checksum. */
const TRAILER_BYTES = 5

type Fail = (reason: string) => WeightsError

export interface TableLimits {
  readonly entries: number
  /** Of one key, in bytes. Prefixes make keys longer than the file's bytes for them. */
  readonly keyLength: number
  /** Of all keys together. */
  readonly keyBytes: number
}

/** The entries of a table in the order of their keys. Values are parts of `bytes`. */
export function* tableEntries(
  bytes: Uint8Array,
  limits: TableLimits,
  fail: Fail,
): Generator<{ key: Uint8Array; value: Uint8Array }> {
  if (bytes.length < FOOTER_BYTES) throw fail(`${bytes.length} bytes are too few for a table; is it truncated?`)
  const footer = bytes.subarray(-FOOTER_BYTES)
  const magic = new DataView(footer.buffer, footer.byteOffset, FOOTER_BYTES).getBigUint64(FOOTER_BYTES - 8, true)
  if (magic !== MAGIC) throw fail('it does not end as a table does; is it truncated or another format?')
  const handles = new WireReader(footer.subarray(0, FOOTER_BYTES - 8), fail)
  readHandle(handles) // the meta index: filters, of which TensorFlow writes none
  const index = readBlock(bytes, readHandle(handles), fail)
  let end = 0
  let last: Uint8Array | undefined
  let count = 0
  let keyBytes = 0
  for (const { value } of blockEntries(index, limits.keyLength, fail)) {
    const handle = readHandle(new WireReader(value, fail))
    // in order and apart, so that no block is read twice
    if (handle.offset < end) throw fail('its blocks overlap')
    end = handle.offset + handle.size
    for (const entry of blockEntries(readBlock(bytes, handle, fail), limits.keyLength, fail)) {
      if (last !== undefined && !isBefore(last, entry.key)) throw fail('its keys are not in order')
      last = entry.key
      keyBytes += entry.key.length
      if (++count > limits.entries || keyBytes > limits.keyBytes)
        throw fail(`it has more than ${limits.entries} entries, or ${limits.keyBytes} bytes of names`)
      yield entry
    }
  }
}

interface Handle {
  readonly offset: number
  readonly size: number
}

const readHandle = (reader: WireReader): Handle => ({ offset: reader.varint(), size: reader.varint() })

function readBlock(bytes: Uint8Array, { offset, size }: Handle, fail: Fail): Uint8Array {
  const end = offset + size
  if (!(end + TRAILER_BYTES <= bytes.length)) throw fail('a block lies outside the file; is it truncated?')
  const kind = bytes[end]
  if (kind !== 0) throw fail(`a block is compressed (kind ${kind}); TensorFlow writes checkpoints without compression`)
  const stored = new DataView(bytes.buffer, bytes.byteOffset + end + 1, 4).getUint32(0, true)
  if (maskedCrc32c(crc32c(bytes.subarray(offset, end + 1))) !== stored) throw fail("a block's checksum is wrong")
  return bytes.subarray(offset, end)
}

/** Entries of a block: shared length, own length, value's length, own part of the key, value. Restart points end it. */
function* blockEntries(
  block: Uint8Array,
  maxKeyLength: number,
  fail: Fail,
): Generator<{ key: Uint8Array; value: Uint8Array }> {
  const restarts =
    block.length < 4 ? -1 : new DataView(block.buffer, block.byteOffset, block.length).getUint32(block.length - 4, true)
  const end = block.length - 4 - 4 * restarts
  if (restarts < 0 || end < 0) throw fail('a block is malformed')
  const reader = new WireReader(block.subarray(0, end), fail)
  let key = new Uint8Array()
  while (!reader.done) {
    const [shared, own, length] = [reader.varint(), reader.varint(), reader.varint()]
    if (shared > key.length) throw fail('a block is malformed: a key shares more than the one before it has')
    if (shared + own > maxKeyLength) throw fail(`a name has more than ${maxKeyLength} bytes`)
    const whole = new Uint8Array(shared + own)
    whole.set(key.subarray(0, shared))
    whole.set(reader.take(own), shared)
    key = whole
    yield { key, value: reader.take(length) }
  }
}

/** Whether a key sorts before another one: by bytes, and a prefix before what it begins. */
function isBefore(a: Uint8Array, b: Uint8Array): boolean {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] < b[i]
  return a.length < b.length
}
