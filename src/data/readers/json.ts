import { DataError } from '../../errors.ts'
import { type JsonValue, parseJson, quote } from '../../json.ts'
import { slices } from '../../turns.ts'
import { gather } from './bytes.ts'
import { rowOfJson } from './jsonl.ts'
import { asBuffer, checkUtf8, countFeeds, withoutMark } from './lines.ts'
import { refuseNotText } from './not-text.ts'
import type { Row } from './table.ts'

/** How many bytes are scanned between two looks at the clock. */
const SCAN_BYTES = 2 ** 18
/** A record is parsed in one go. */
const MAX_RECORD_BYTES = 64 * 2 ** 20
const DATA = 'data'

const char = (text: string): number => text.charCodeAt(0)
const [QUOTE, BACKSLASH, COMMA, COLON] = ['"', '\\', ',', ':'].map(char)
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = ['{', '}', '[', ']'].map(char)
const isSpace = (byte: number): boolean => byte === 32 || byte === 10 || byte === 13 || byte === 9

/**
 * JSON, read whole up to 256 MiB. The rows are the objects of
 * - an array: [{...}, ...];
 * - an object with one array of objects, or one named "data": {"version": "2.0", "data": [{...}, ...]};
 * - the file, one after another, as pandas and jq write them; one with all the fields `required` is a row by itself.
 * Only the borders of records are found in the whole; each record is parsed by itself, at the line where it begins. What is
 * not JSON is a DataError.
 */
export async function* jsonRows(
  stream: AsyncIterable<Uint8Array>,
  required: readonly string[],
  file: string,
): AsyncGenerator<Iterable<Row>> {
  const whole = await gather(stream, file, 'write one object a line and call the file .jsonl, which is streamed')
  refuseNotText(whole, file)
  const text = new JsonText(withoutMark(asBuffer(whole)), file)
  for await (const record of recordsOf(text, required)) {
    if (record.end - record.start > MAX_RECORD_BYTES) {
      throw text.fault(`the object that begins here has more than ${MAX_RECORD_BYTES} bytes`, record.start)
    }
    yield [rowOfJson(text.slice(record), text.lineAt(record.start), file)]
  }
}

/** Where a value lies. */
interface Extent {
  start: number
  end: number
}

async function* recordsOf(text: JsonText, required: readonly string[]): AsyncGenerator<Extent> {
  const start = text.skipSpace(0)
  if (start === text.bytes.length) return
  if (text.bytes[start] === OPEN_ARRAY) {
    const end = yield* elementsOf(text, start)
    if (text.skipSpace(end) < text.bytes.length)
      throw text.fault('expected nothing after the array', text.skipSpace(end))
    return
  }
  const first = await text.objectAt(start)
  let at = text.skipSpace(first.end)
  if (at === text.bytes.length) return yield* recordsWithin(text, first, required)
  yield first
  while (at < text.bytes.length) {
    const next = await text.objectAt(at)
    yield next
    at = text.skipSpace(next.end)
  }
}

/** The elements of the array at `start`, which have to be objects; returns the place after it. */
async function* elementsOf(text: JsonText, start: number): AsyncGenerator<Extent, number> {
  let at = text.skipSpace(start + 1)
  if (text.bytes[at] === CLOSE_ARRAY) return at + 1
  for (;;) {
    const element = await text.objectAt(at)
    yield element
    at = text.skipSpace(element.end)
    if (text.bytes[at] === CLOSE_ARRAY) return at + 1
    text.expect(COMMA, at, '"," or "]" after an object')
    at = text.skipSpace(at + 1)
  }
}

/** The records of a file that is one object. */
async function* recordsWithin(text: JsonText, object: Extent, required: readonly string[]): AsyncGenerator<Extent> {
  const members = await membersOf(text, object.start)
  const names = members.map(({ name }) => name)
  const tables = members.filter(
    ({ name, start }) =>
      text.bytes[start] === OPEN_ARRAY && (name === DATA || text.bytes[text.skipSpace(start + 1)] === OPEN_OBJECT),
  )
  const isRow = required.length > 0 && required.every((name) => names.includes(name))
  if (isRow || tables.length === 0) return yield object
  const table = tables.find(({ name }) => name === DATA) ?? tables[0]
  if (tables.length > 1 && table.name !== DATA) {
    const found = tables.slice(0, 20).map(({ name }) => quote(name))
    throw text.fault(`expected one array of objects, or one named "data", but found ${found.join(', ')}`, object.start)
  }
  for (const { start, end } of members) if (start !== table.start) text.parse({ start, end })
  yield* elementsOf(text, table.start)
}

/** The names of an object's members and where their values lie. */
async function membersOf(text: JsonText, start: number): Promise<(Extent & { name: JsonValue })[]> {
  const members: (Extent & { name: JsonValue })[] = []
  let at = text.skipSpace(start + 1)
  if (text.bytes[at] === CLOSE_OBJECT) return members
  for (;;) {
    text.expect(QUOTE, at, 'a name in quotes')
    const name = { start: at, end: await text.endOf(at) }
    at = text.skipSpace(name.end)
    text.expect(COLON, at, '":" after a name')
    const value = text.skipSpace(at + 1)
    const end = await text.endOf(value)
    members.push({ name: text.parse(name), start: value, end })
    at = text.skipSpace(end)
    if (text.bytes[at] === CLOSE_OBJECT) return members
    text.expect(COMMA, at, '"," or "}" after a value')
    at = text.skipSpace(at + 1)
  }
}

/** The bytes of a file, in which the borders of values are found without looking into them. */
class JsonText {
  readonly bytes: Buffer
  readonly #file: string
  readonly #turn = slices()
  #counted = { at: 0, line: 1 }

  constructor(bytes: Buffer, file: string) {
    this.bytes = bytes
    this.#file = file
  }

  slice({ start, end }: Extent): string {
    const bytes = this.bytes.subarray(start, end)
    checkUtf8(bytes, this.lineAt(start), this.#file)
    return bytes.toString()
  }

  parse(extent: Extent): JsonValue {
    return parseJson(this.slice(extent), (reason) => this.fault(reason, extent.start))
  }

  /** The 1-based line of a place; counted on from the last place asked for, where that lies before it. */
  lineAt(place: number): number {
    if (place < this.#counted.at) this.#counted = { at: 0, line: 1 }
    const { at, line } = this.#counted
    this.#counted = { at: place, line: line + countFeeds(this.bytes, at, place) }
    return this.#counted.line
  }

  fault(reason: string, place: number): DataError {
    return new DataError(reason, this.#file, this.lineAt(place))
  }

  expect(byte: number, place: number, what: string): void {
    if (this.bytes[place] === byte) return
    const [char] = this.bytes.toString('utf8', place, place + 4)
    const found = place < this.bytes.length ? quote(char) : 'the end of the file'
    throw this.fault(`expected ${what}, but found ${found}`, place)
  }

  /** The place of the next byte that is no white space. */
  skipSpace(start: number): number {
    let at = start
    while (at < this.bytes.length && isSpace(this.bytes[at])) at++
    return at
  }

  async objectAt(start: number): Promise<Extent> {
    this.expect(OPEN_OBJECT, start, 'an object')
    return { start, end: await this.endOf(start) }
  }

  /** The place after the value that begins at `start`. One that is not closed is a DataError at its line. */
  async endOf(start: number): Promise<number> {
    const scan = new ValueScan(this.bytes, start)
    while (!scan.advance(SCAN_BYTES)) {
      if (scan.at >= this.bytes.length) throw this.fault('what begins here is never closed', start)
      await this.#turn()
    }
    await this.#turn()
    return scan.at
  }
}

/** Looks for the end of one value, some bytes at a time. */
class ValueScan {
  at: number
  readonly #bytes: Buffer
  #depth = 0
  #quoted = false

  constructor(bytes: Buffer, start: number) {
    this.#bytes = bytes
    this.at = start
  }

  /** Looks at some more bytes; whether `at` is now the place after the value. */
  advance(count: number): boolean {
    const end = Math.min(this.at + count, this.#bytes.length)
    while (this.at < end) {
      const byte = this.#bytes[this.at]
      if (this.#quoted) {
        if (byte === QUOTE) this.#quoted = false
        this.at += byte === BACKSLASH ? 2 : 1
        if (!this.#quoted && this.#depth === 0) return true
        continue
      }
      const closes = byte === CLOSE_OBJECT || byte === CLOSE_ARRAY
      // What ends a number or a word is no part of it.
      if (this.#depth === 0 && (closes || byte === COMMA || byte === COLON || isSpace(byte))) return true
      this.at++
      if (byte === QUOTE) this.#quoted = true
      else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) this.#depth++
      else if (closes && --this.#depth === 0) return true
    }
    return false
  }
}
