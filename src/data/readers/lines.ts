import { DataError } from '../../errors.ts'

// A file without line ends would otherwise gather in memory.
const MAX_LINE_BYTES = 64 * 2 ** 20
const LINE_FEED = 10

/** Whole lines of text, the last without a line feed where the file ends without one. */
export interface Block {
  text: string
  /** Of the first line, 1-based. */
  line: number
}

/** Decodes strictly; a fault is a DataError at its line. */
function decode(bytes: Uint8Array, firstLine: number, file: string | undefined): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  try {
    return decoder.decode(bytes)
  } catch {
    // A line feed is never part of a longer UTF-8 sequence, so lines can be tried one by one.
    let line = firstLine
    for (let start = 0; start < bytes.length; line++) {
      const end = bytes.indexOf(LINE_FEED, start)
      try {
        decoder.decode(bytes.subarray(start, end < 0 ? bytes.length : end))
      } catch {
        break
      }
      start = end < 0 ? bytes.length : end + 1
    }
    throw new DataError('the line is not valid UTF-8', file, line)
  }
}

function join(parts: Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Cuts a stream at line feeds and decodes it; a byte order mark at its start is dropped. `file` names it in errors. */
export async function* blocksOf(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<Block> {
  let line = 1
  let parts: Uint8Array[] = []
  let gathered = 0
  const take = (): Block => {
    const whole = join(parts)
    const text = decode(whole, line, file)
    const block = { text: line === 1 && text.startsWith('\ufeff') ? text.slice(1) : text, line }
    for (let at = whole.indexOf(LINE_FEED); at >= 0; at = whole.indexOf(LINE_FEED, at + 1)) line++
    parts = []
    gathered = 0
    return block
  }
  for await (const chunk of bytes) {
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

/** The lines of a UTF-8 stream without their ends (LF or CRLF); a last line needs none. `file` names it in errors. */
export async function* linesOf(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<string> {
  for await (const { text } of blocksOf(bytes, file)) {
    const lines = text.split('\n')
    if (text.endsWith('\n')) lines.pop()
    for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line
  }
}
