// Files of each format from a description, right or wrong, byte by byte and without the code under test.
import { crc32 } from 'node:zlib'

const u16 = (n) => [n & 255, (n >> 8) & 255]
const u32 = (n) => [n & 255, (n >>> 8) & 255, (n >>> 16) & 255, (n >>> 24) & 255]
const u64 = (n) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(Math.trunc(n))))
  return [...bytes]
}
const text = (string) => [...Buffer.from(string)]

/** Little-endian numbers and bytes one after another; a campaign makes millions of files, so this does not make lists of numbers. */
class Writer {
  buffer = Buffer.allocUnsafe(2 ** 16)
  length = 0
  /** For another file; what was written stays its own, being a copy. */
  reset() {
    this.length = 0
    return this
  }
  #room(count) {
    const start = this.length
    this.length += count
    if (this.length > this.buffer.length) {
      const larger = Buffer.allocUnsafe(2 * this.length)
      this.buffer.copy(larger, 0, 0, start)
      this.buffer = larger
    }
    return start
  }
  u16(...numbers) {
    for (const n of numbers) {
      const at = this.#room(2)
      this.buffer[at] = n
      this.buffer[at + 1] = n >> 8
    }
    return this
  }
  u32(...numbers) {
    for (const n of numbers) {
      const at = this.#room(4)
      this.buffer[at] = n
      this.buffer[at + 1] = n >> 8
      this.buffer[at + 2] = n >> 16
      this.buffer[at + 3] = n >> 24
    }
    return this
  }
  u64(...numbers) {
    for (const n of numbers) {
      const at = this.#room(8)
      if (n >= 0 && n < 2 ** 32) {
        this.buffer.writeUInt32LE(n, at)
        this.buffer.fill(0, at + 4, at + 8)
      } else this.buffer.writeBigUInt64LE(BigInt.asUintN(64, BigInt(Math.trunc(n))), at)
    }
    return this
  }
  bytes(list) {
    const at = this.#room(list.length) // which may replace the buffer
    this.buffer.set(list, at)
    return this
  }
  zeros(count) {
    const at = this.#room(count)
    this.buffer.fill(0, at, at + count)
    return this
  }
  get written() {
    return Buffer.from(this.buffer.subarray(0, this.length))
  }
}
const archiveWriter = new Writer()
const directoryWriter = new Writer()
const pickleWriter = new Writer()

/**
 * A zip archive of stored entries, with zip64 records as torch.save writes them. `change(kind, fields)` may replace a header's
 * fields before they are written; sizes and checksums are right otherwise.
 * @param {{ name: string, data: Uint8Array }[]} entries
 * @param {{ zip64?: boolean, crc?: boolean, change?: (kind: string, fields: Record<string, number>) => void }} [options]
 */
export function zipOf(entries, { zip64 = true, crc = true, change = () => {} } = {}) {
  const out = archiveWriter.reset()
  const directory = directoryWriter.reset()
  for (const { name, data } of entries) {
    const bytes = Buffer.from(name)
    const at = out.length
    const fields = {
      method: 0,
      flags: 0x800,
      crc: crc ? crc32(data) : 0,
      stored: data.length,
      size: data.length,
      header: at,
    }
    const local = { ...fields, signature: 0x04034b50, extra: (64 - ((at + 30 + bytes.length) % 64)) % 64 }
    change('local', local)
    out.u32(local.signature).u16(20, local.flags, local.method).u32(0, local.crc, local.stored, local.size)
    out.u16(bytes.length, local.extra).bytes(bytes)
    out.zeros(Math.min(64, Math.max(0, local.extra))).bytes(data)
    const central = { ...fields, signature: 0x02014b50, wide: 0 }
    change('central', central)
    const low = (n) => (central.wide ? 0xffffffff : n)
    directory.u32(central.signature).u16(20, 20, central.flags, central.method)
    directory.u32(0, central.crc, low(central.stored), low(central.size))
    directory
      .u16(bytes.length, central.wide ? 28 : 0, 0, 0, 0)
      .u32(0, low(central.header))
      .bytes(bytes)
    if (central.wide) directory.u16(1, 24).u64(central.size, central.stored, central.header)
  }
  const end = { entries: entries.length, size: directory.length, offset: out.length, end64: 0, comment: 0 }
  end.end64 = end.offset + end.size
  change('end', end)
  out.bytes(directory.written)
  if (zip64) {
    out.u32(0x06064b50).u64(44).u16(45, 45).u32(0, 0).u64(end.entries, end.entries, end.size, end.offset)
    out.u32(0x07064b50, 0).u64(end.end64).u32(1)
  }
  out.u32(0x06054b50).u16(0, 0, end.entries, end.entries).u32(end.size, end.offset).u16(end.comment)
  return out.written
}

/** Operations of a pickle, each the bytes of one. */
export const pickle = {
  proto: (version = 2) => [0x80, version],
  stop: () => [0x2e],
  mark: () => [0x28],
  none: () => [0x4e],
  true: () => [0x88],
  false: () => [0x89],
  int: (n) =>
    n >= 0 && n < 256 ? [0x4b, n] : n >= -(2 ** 31) && n < 2 ** 31 ? [0x4a, ...u32(n)] : [0x8a, 8, ...u64(n)],
  string: (value) => [0x58, ...u32(Buffer.byteLength(value)), ...text(value)],
  bytes: (value) => [0x55, Buffer.byteLength(value), ...text(value)],
  emptyTuple: () => [0x29],
  tuple: () => [0x74],
  emptyList: () => [0x5d],
  appends: () => [0x65],
  emptyDict: () => [0x7d],
  setItems: () => [0x75],
  global: (module, name) => [0x63, ...text(`${module}\n${name}\n`)],
  reduce: () => [0x52],
  build: () => [0x62],
  persistent: () => [0x51],
  put: (n) => [0x71, n],
  get: (n) => [0x68, n],
}
const p = pickle

/**
 * The operations of a state dict's pickle.
 * @param {{ name: string, storage: { key: string, type: string, size: number }, offset: number, shape: number[], strides: number[] }[]} tensors
 * @param {{ legacy?: boolean }} [options] the storages' description has one field more in the format before zip
 */
export function stateDictOps(tensors, { legacy = false } = {}) {
  const ordered = () => [p.global('collections', 'OrderedDict'), p.emptyTuple(), p.reduce()]
  const sizes = (list) => [p.mark(), ...list.map(p.int), p.tuple()]
  const ops = [p.proto(), ...ordered(), p.put(0), p.mark()]
  for (const { name, storage, offset, shape, strides } of tensors) {
    ops.push(p.string(name), p.global('torch._utils', '_rebuild_tensor_v2'), p.mark(), p.mark())
    ops.push(p.string('storage'), p.global('torch', storage.type), p.string(storage.key), p.string('cpu'))
    ops.push(p.int(storage.size), ...(legacy ? [p.none()] : []), p.tuple(), p.persistent())
    ops.push(p.int(offset), ...sizes(shape), ...sizes(strides), p.false(), ...ordered(), p.tuple(), p.reduce())
  }
  ops.push(p.setItems(), p.stop())
  return ops
}

export function bytesOf(ops) {
  const out = pickleWriter.reset()
  for (const op of ops) out.bytes(op)
  return out.written
}

/**
 * A pytorch_model.bin of a pickle and storages by key.
 * @param {number[][]} ops
 * @param {Record<string, Uint8Array>} storages
 * @param {Parameters<typeof zipOf>[1]} [options]
 */
export const archiveOf = (ops, storages, options) =>
  zipOf(
    [
      { name: 'model/data.pkl', data: bytesOf(ops) },
      { name: 'model/byteorder', data: Buffer.from('little') },
      ...Object.entries(storages).map(([key, data]) => ({ name: `model/data/${key}`, data })),
      { name: 'model/version', data: Buffer.from('3\n') },
    ],
    options,
  )

/** The format before zip: `storages` in the order in which they follow, with the elements that each says it has. */
export function legacyOf(ops, storages) {
  const magic = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]
  const machine = [p.emptyDict(), p.mark(), p.string('little_endian'), p.true(), p.setItems()]
  const keys = [p.emptyList(), p.mark(), ...storages.map(({ key }) => p.string(key)), p.appends()]
  return Buffer.concat([
    bytesOf([p.proto(), magic, p.stop()]),
    bytesOf([p.proto(), [0x4d, ...u16(1001)], p.stop()]),
    bytesOf([p.proto(), ...machine, p.stop()]),
    bytesOf(ops),
    bytesOf([p.proto(), ...keys, p.stop()]),
    ...storages.flatMap(({ elements, data }) => [Buffer.from(u64(elements)), data]),
  ])
}

/** CRC-32C bit by bit. */
export function slowCrc32c(bytes) {
  let crc = -1
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}
export const mask = (crc) => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0

export function varint(n) {
  const bytes = []
  for (let rest = BigInt.asUintN(64, BigInt(Math.trunc(n))); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)]
    bytes.push(Number(rest & 127n) | 128)
  }
}

const field = (number, value) =>
  typeof value === 'number'
    ? [...varint(number * 8), ...varint(value)]
    : [...varint(number * 8 + 2), ...varint(value.length), ...value]

/**
 * A LevelDB table of entries in the order given, `perBlock` of them in a block.
 * @param {{ key: Uint8Array, value: Uint8Array, shared?: number }[]} entries
 * @param {{ perBlock?: number, crc?: (bytes: Uint8Array) => number, kind?: number }} [options]
 */
export function tableOf(entries, { perBlock = 3, crc = slowCrc32c, kind = 0 } = {}) {
  const parts = []
  let at = 0
  const addBlock = (list) => {
    const body = []
    let last = Buffer.alloc(0)
    for (const { key, value, shared: forced } of list) {
      let shared = 0
      while (shared < Math.min(last.length, key.length) && last[shared] === key[shared]) shared++
      const own = key.subarray(shared)
      body.push(...varint(forced ?? shared), ...varint(own.length), ...varint(value.length), ...own, ...value)
      last = key
    }
    body.push(...u32(0), ...u32(1), kind)
    const bytes = Buffer.from([...body, ...u32(mask(crc(Buffer.from(body))))])
    parts.push(bytes)
    const handle = [...varint(at), ...varint(bytes.length - 5)]
    at += bytes.length
    return handle
  }
  const index = []
  for (let i = 0; i < entries.length; i += perBlock) {
    const block = entries.slice(i, i + perBlock)
    index.push({ key: block[block.length - 1].key, value: Buffer.from(addBlock(block)) })
  }
  const meta = addBlock([])
  const footer = Buffer.alloc(48)
  Buffer.from([...meta, ...addBlock(index)]).copy(footer)
  footer.writeBigUInt64LE(0xdb4775248b80fb57n, 40)
  return Buffer.concat([...parts, footer])
}

/** BundleHeaderProto. */
export const bundleHeader = (dataFiles, endianness = 0) =>
  Buffer.from([...field(1, dataFiles), ...(endianness ? field(2, endianness) : []), ...field(3, [8, 1])])

/**
 * BundleEntryProto; zeros are left out, as protobuf does.
 * @param {{ dtype: number, shape: number[], shard?: number, offset?: number, size: number, crc: number, slices?: number }} entry
 */
export function bundleEntry({ dtype, shape, shard = 0, offset = 0, size, crc, slices = 0 }) {
  const dims = shape.flatMap((n) => field(2, n === 0 ? [] : field(1, n)))
  const optional = (number, value) => (value ? field(number, value) : [])
  return Buffer.from([
    ...field(1, dtype),
    ...field(2, dims),
    ...optional(3, shard),
    ...optional(4, offset),
    ...field(5, size),
    ...[6 * 8 + 5, ...u32(crc)],
    ...Array.from({ length: slices }, () => field(7, [])).flat(),
  ])
}

/**
 * A TensorFlow checkpoint: its index and data files.
 * @param {{ name: string, dtype?: number, shape: number[], data: Uint8Array, shard?: number }[]} variables
 * @param {{ dataFiles?: number, perBlock?: number, crc?: (bytes: Uint8Array) => number, kind?: number }} [options]
 */
export function bundleOf(variables, { dataFiles = 1, crc = slowCrc32c, ...options } = {}) {
  const data = Array.from({ length: dataFiles }, () => [])
  const sizes = data.map(() => 0)
  const entries = variables.map(({ name, dtype = 1, shape, data: bytes, shard = 0 }) => {
    const entry = { dtype, shape, shard, offset: sizes[shard], size: bytes.length, crc: mask(crc(bytes)) }
    data[shard].push(bytes)
    sizes[shard] += bytes.length
    return { key: Buffer.from(name), value: bundleEntry(entry) }
  })
  entries.push({ key: Buffer.alloc(0), value: bundleHeader(dataFiles) })
  entries.sort((a, b) => Buffer.compare(a.key, b.key))
  return { index: tableOf(entries, { crc, ...options }), data: data.map((parts) => Buffer.concat(parts)) }
}
