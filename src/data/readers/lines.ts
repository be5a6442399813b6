import { isUtf8 } from 'node:buffer'
import { DataError } from '../../errors.ts'
import { adviceOnEncoding, refuseNotText } from './not-text.ts'

// A file without line ends would otherwise gather in memory.
const MAX_LINE_BYTES = 64 * 2 ** 20
// What is done with a block holds the event loop for a millisecond or two.
const BLOCK_BYTES = 64 * 2 ** 10
export const LINE_FEED = 10
export const RETURN = 13

/** Whole lines, the last without a line feed where the file ends without one. */
export interface ByteBlock {
  /** Valid UTF-8. */
  bytes: Buffer
  /** Of the first line, 1-based. */
  line: number
}

/** The same, decoded. */
export interface Block {
  text: string
  line: number
}

/** The lines of a block without their ends. */
export interface LineBlock {
  lines: string[]
  line: number
}

/** Throws a DataError that names the first line which is not valid UTF-8. */
export function checkUtf8(bytes: Uint8Array, firstLine: number, file: string | undefined): void {
  if (isUtf8(bytes)) return
  // A line feed is never part of a longer UTF-8 sequence, so lines can be tried one by one.
  let line = firstLine
  for (let start = 0; start < bytes.length; line++) {
    const feed = bytes.indexOf(LINE_FEED, start)
    const end = feed < 0 ? bytes.length : feed
    if (!isUtf8(bytes.subarray(start, end))) break
    start = end + 1
  }
  throw new DataError(`the line is not valid UTF-8; ${adviceOnEncoding(bytes)}`, file, line)
}

/** The same bytes, for what only a Buffer can do. */
export const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength)

/** The bytes after a byte order mark, where there is one. */
export const withoutMark = (bytes: Buffer): Buffer =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes

async function* piecesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes)
    for (let at = 0; at < chunk.length; at += BLOCK_BYTES) yield chunk.subarray(at, at + BLOCK_BYTES)
}

/** How many lines end in `bytes`, from `start` to before `end`. */
export function countFeeds(bytes: Uint8Array, start = 0, end = bytes.length): number {
  // What is searched ends there: else each short piece of a long line would be searched to the end of that line.
  const piece = bytes.subarray(start, end)
  let count = 0
  for (let at = piece.indexOf(LINE_FEED); at >= 0; at = piece.indexOf(LINE_FEED, at + 1)) count++
  return count
}

/** Cuts a stream at line feeds; a byte order mark at its start is dropped. `file` names it in errors. */
export async function* byteBlocksOf(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<ByteBlock> {
  let line = 1
  let parts: Uint8Array[] = []
  let gathered = 0
  const take = (): ByteBlock => {
    const whole = parts.length === 1 ? asBuffer(parts[0]) : Buffer.concat(parts)
    if (line === 1) refuseNotText(whole, file)
    checkUtf8(whole, line, file)
    const block = { bytes: line === 1 ? withoutMark(whole) : whole, line }
    line += countFeeds(whole)
    parts = []
    gathered = 0
    return block
  }
  for await (const chunk of piecesOf(bytes)) {
    const end = chunk.lastIndexOf(LINE_FEED) + 1
    if (end > 0) {
      parts.push(chunk.subarray(0, end))
      yield take()
    }
    if (end < chunk.length) parts.push(chunk.subarray(end))
    gathered += chunk.length - end
    if (gathered > MAX_LINE_BYTES) throw new DataError(`the line has more than ${MAX_LINE_BYTES} bytes`, file, line)
  }
  if (gathered > 0) yield take()
}

/** Cuts a stream at line feeds and decodes it; a byte order mark at its start is dropped. `file` names it in errors. */
export async function* blocksOf(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<Block> {
  for await (const block of byteBlocksOf(bytes, file)) yield { text: block.bytes.toString(), line: block.line }
}

/** The lines of a UTF-8 stream without their ends (LF or CRLF), many at a time; a last line needs none. */
export async function* lineBlocksOf(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<LineBlock> {
  for await (const block of byteBlocksOf(bytes, file)) yield { lines: splitLines(block.bytes), line: block.line }
}

// Each line is decoded by itself: V8 keeps a whole string in memory for as long as a part of it is kept, for example to shuffle.
function splitLines(bytes: Buffer): string[] {
  const lines: string[] = []
  let start = 0
  do {
    const feed = bytes.indexOf(LINE_FEED, start)
    const end = feed < 0 ? bytes.length : feed
    lines.push(bytes.toString('utf8', start, end > start && bytes[end - 1] === RETURN ? end - 1 : end))
    start = end + 1
  } while (start < bytes.length)
  return lines
}

/** The lines of a UTF-8 stream, one by one. `file` names it in errors. */
export async function* linesOf(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<string> {
  for await (const { lines } of lineBlocksOf(bytes, file)) yield* lines
}
