import { WeightsError } from '../errors.ts'
import { quote } from '../json.ts'
import { crc32 } from './crc.ts'
import { type ByteSource, readRange } from './source.ts'

// PKWARE's APPNOTE.TXT 6.3.10, as far as torch.save (caffe2/serialize/inline_container.cc) uses it: stored entries only, with
// zip64 records. Names are keys of a map and never paths. As nothing is compressed and nothing may overlap, what an
// archive yields is never more than the file holds.

const END = { signature: 0x06054b50, bytes: 22 }
const END64_LOCATOR = { signature: 0x07064b50, bytes: 20 }
const END64 = { signature: 0x06064b50, bytes: 56 }
const CENTRAL = { signature: 0x02014b50, bytes: 46 }
const LOCAL = { signature: 0x04034b50, bytes: 30 }
const ZIP64_EXTRA = 1
const MAX_COMMENT = 0xffff
const MAX_DIRECTORY_BYTES = 32 * 2 ** 20
const MAX_ENTRIES = 2 ** 17
const PIECE_BYTES = 2 ** 20

export interface ZipEntry {
  readonly name: string
  /** Of the content, in bytes from the start of the file. */
  readonly offset: number
  readonly size: number
  /** Of the content; 0 where the writer computed none, as torch.save may be told. */
  readonly crc: number
}

type Fail = (reason: string) => WeightsError

interface Central {
  readonly name: string
  readonly crc: number
  readonly size: number
  readonly header: number
}

/** Reads an archive's directory and checks that every entry is stored, inside the file, and overlaps no other. */
export async function readZip(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const fail: Fail = (reason) => new WeightsError(`${source.name}: ${reason}`)
  const directory = await findDirectory(source, fail)
  const bytes = await readRange(source, directory.offset, directory.size)
  const entries = parseDirectory(bytes, directory.entries, fail).sort((a, b) => a.header - b.header)
  const found = new Map<string, ZipEntry>()
  let end = 0
  for (const [i, entry] of entries.entries()) {
    const fail1: Fail = (reason) => fail(`entry ${quote(entry.name)}: ${reason}`)
    if (entry.header < end) throw fail1('it overlaps the entry before it')
    const limit = entries[i + 1]?.header ?? directory.offset
    if (entry.header + LOCAL.bytes > limit) throw fail1('its header lies outside the archive')
    const offset = await contentOf(source, entry, fail1)
    end = offset + entry.size
    if (end > limit) throw fail1(`its ${entry.size} bytes reach into what follows it; is the file truncated?`)
    if (found.has(entry.name)) throw fail1('the name appears twice')
    found.set(entry.name, { name: entry.name, offset, size: entry.size, crc: entry.crc })
  }
  return found
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** A 64-bit size; beyond 2^53 it is outside any file. */
const sizeAt = (view: DataView, at: number): number => Number(view.getBigUint64(at, true))

async function findDirectory(
  source: ByteSource,
  fail: Fail,
): Promise<{ offset: number; size: number; entries: number }> {
  const length = Math.min(source.size, END.bytes + MAX_COMMENT)
  const tail = await readRange(source, source.size - length, length)
  const view = viewOf(tail)
  // the record's comment ends with the file, so of all places where the signature stands only one can be the record
  let at = length - END.bytes
  while (
    at >= 0 &&
    (view.getUint32(at, true) !== END.signature || at + END.bytes + view.getUint16(at + 20, true) !== length)
  )
    at--
  if (at < 0) throw fail('the end of a zip archive is missing; is the file truncated or another format?')
  if (view.getUint16(at + 4, true) !== 0 || view.getUint16(at + 6, true) !== 0)
    throw fail('it is one part of an archive in several')
  let entries = view.getUint16(at + 10, true)
  let size = view.getUint32(at + 12, true)
  let offset = view.getUint32(at + 16, true)
  let end = source.size - length + at
  const locator = end - END64_LOCATOR.bytes
  if (locator >= 0) {
    const found = viewOf(await readRange(source, locator, END64_LOCATOR.bytes))
    if (found.getUint32(0, true) === END64_LOCATOR.signature) {
      end = sizeAt(found, 8)
      if (end + END64.bytes !== locator) throw fail('its zip64 end record is not where it should be')
      const record = viewOf(await readRange(source, end, END64.bytes))
      if (record.getUint32(0, true) !== END64.signature) throw fail('its zip64 end record is missing')
      entries = sizeAt(record, 32)
      size = sizeAt(record, 40)
      offset = sizeAt(record, 48)
    }
  }
  if (offset + size !== end) throw fail('its directory is not where it should be; is the file truncated?')
  if (size > MAX_DIRECTORY_BYTES || entries > MAX_ENTRIES)
    throw fail(
      `its directory has ${entries} entries in ${size} bytes; at most ${MAX_ENTRIES} in ${MAX_DIRECTORY_BYTES} are accepted`,
    )
  return { offset, size, entries }
}

function parseDirectory(bytes: Uint8Array, expected: number, fail: Fail): Central[] {
  const view = viewOf(bytes)
  const entries: Central[] = []
  let at = 0
  while (at < bytes.length) {
    if (at + CENTRAL.bytes > bytes.length || view.getUint32(at, true) !== CENTRAL.signature)
      throw fail(`its directory is malformed after ${entries.length} entries`)
    const nameEnd = at + CENTRAL.bytes + view.getUint16(at + 28, true)
    const extraEnd = nameEnd + view.getUint16(at + 30, true)
    const next = extraEnd + view.getUint16(at + 32, true)
    if (next > bytes.length) throw fail(`its directory is malformed after ${entries.length} entries`)
    const name = decodeName(bytes.subarray(at + CENTRAL.bytes, nameEnd), fail)
    const fail1: Fail = (reason) => fail(`entry ${quote(name)}: ${reason}`)
    if ((view.getUint16(at + 8, true) & 1) !== 0) throw fail1('it is encrypted')
    const method = view.getUint16(at + 10, true)
    if (method !== 0) throw fail1(`it is compressed (method ${method}); torch.save only stores`)
    const sizes = readSizes(bytes, at, nameEnd, extraEnd, fail1)
    if (sizes.stored !== sizes.size) throw fail1(`${sizes.stored} stored bytes cannot be ${sizes.size} bytes`)
    if (!Number.isSafeInteger(sizes.size) || !Number.isSafeInteger(sizes.header))
      throw fail1('its size or place is beyond any file')
    entries.push({ name, crc: view.getUint32(at + 16, true), size: sizes.size, header: sizes.header })
    at = next
  }
  if (entries.length !== expected)
    throw fail(`its directory has ${entries.length} entries, but should have ${expected}`)
  return entries
}

function decodeName(bytes: Uint8Array, fail: Fail): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw fail('the name of an entry is not valid UTF-8')
  }
}

/** Sizes and place of an entry; 32-bit fields that are full stand in the zip64 extra field, in this order. */
function readSizes(bytes: Uint8Array, at: number, extra: number, extraEnd: number, fail: Fail) {
  const view = viewOf(bytes)
  let size = view.getUint32(at + 24, true)
  let stored = view.getUint32(at + 20, true)
  let header = view.getUint32(at + 42, true)
  if (size !== 0xffffffff && stored !== 0xffffffff && header !== 0xffffffff) return { size, stored, header }
  for (let field = extra; field + 4 <= extraEnd; ) {
    const end = field + 4 + view.getUint16(field + 2, true)
    if (end > extraEnd) break
    if (view.getUint16(field, true) === ZIP64_EXTRA) {
      let next = field + 4
      const take = (): number => {
        if (next + 8 > end) throw fail('its zip64 field is too short')
        next += 8
        return sizeAt(view, next - 8)
      }
      if (size === 0xffffffff) size = take()
      if (stored === 0xffffffff) stored = take()
      if (header === 0xffffffff) header = take()
      return { size, stored, header }
    }
    field = end
  }
  throw fail('its zip64 field is missing')
}

/** Where an entry's content begins: behind its local header, which must tell of the same entry. */
async function contentOf(source: ByteSource, entry: Central, fail: Fail): Promise<number> {
  const view = viewOf(await readRange(source, entry.header, LOCAL.bytes))
  if (view.getUint32(0, true) !== LOCAL.signature) throw fail('its local header is missing')
  if (view.getUint16(8, true) !== 0) throw fail('its local header calls it compressed')
  const nameLength = view.getUint16(26, true)
  const offset = entry.header + LOCAL.bytes + nameLength + view.getUint16(28, true)
  if (offset > source.size) throw fail('its local header reaches beyond the file')
  const name = await readRange(source, entry.header + LOCAL.bytes, nameLength)
  if (decodeName(name, fail) !== entry.name) throw fail('its local header has another name')
  return offset
}

/** Compares an entry's content with its checksum. */
export async function verifyEntry(source: ByteSource, entry: ZipEntry): Promise<void> {
  if (entry.crc === 0) return
  let crc = 0
  const buffer = new Uint8Array(Math.min(entry.size, PIECE_BYTES))
  for (let done = 0; done < entry.size; done += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, entry.size - done))
    await source.read(piece, entry.offset + done)
    crc = crc32(piece, crc)
  }
  if (crc !== entry.crc) throw new WeightsError(`${source.name}: entry ${quote(entry.name)}: its checksum is wrong`)
}
