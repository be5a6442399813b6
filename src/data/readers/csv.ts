import { DataError } from '../../errors.ts'
import { byteBlocksOf, countFeeds, LINE_FEED, RETURN } from './lines.ts'
import type { TableRecord } from './records.ts'

// An unclosed quote would otherwise gather the rest of the file.
const MAX_RECORD_BYTES = 64 * 2 ** 20
const QUOTE = 34
const COMMA = 44

/**
 * CSV by RFC 4180, with LF accepted for CRLF. Empty lines are skipped. A quote counts where a cell begins: within a cell without quotes it
 * is a character, as Python's csv and pandas have it. Text after a closing quote is a DataError at its line.
 */
export async function* csvRecords(
  bytes: AsyncIterable<Uint8Array>,
  file?: string,
): AsyncGenerator<Iterable<TableRecord>> {
  const parser = new CsvParser(file)
  for await (const block of byteBlocksOf(bytes, file)) yield parser.records(block.bytes)
  parser.end()
}

/** Reads blocks of whole lines. Between two of them it is where a record begins, or within a quoted cell. */
class CsvParser {
  readonly #file: string | undefined
  /** Where the parser is, and where its record began. */
  #line = 1
  #first = 1
  #cells: string[] = []
  /** What the open quoted cell holds so far; undefined outside of one. */
  #quoted: string[] | undefined
  #recordBytes = 0

  constructor(file: string | undefined) {
    this.#file = file
  }

  *records(bytes: Buffer): Generator<TableRecord> {
    let at = 0
    while (at < bytes.length) {
      if (this.#quoted === undefined) {
        const end = endOfLine(bytes, at)
        if (this.#cells.length === 0 && end !== undefined) {
          at = end
          this.#first = ++this.#line
          continue
        }
        if (bytes[at] === QUOTE) {
          this.#quoted = []
          at++
        } else at = this.#plainCell(bytes, at)
      }
      if (this.#quoted !== undefined) at = this.#quotedCell(bytes, at, this.#quoted)
      if (this.#quoted !== undefined) return
      if (bytes[at] === COMMA) {
        at++
        if (at < bytes.length) continue
        this.#cells.push('') // the file ends with a comma
      } else at = endOfLine(bytes, at) ?? at
      const record = { cells: this.#cells, line: this.#first }
      this.#cells = []
      this.#recordBytes = 0
      this.#first = ++this.#line
      yield record
    }
  }

  /** To be called after the last block. */
  end(): void {
    if (this.#quoted === undefined) return
    throw this.#fault('a quote is opened in the row that begins here, and never closed', this.#first)
  }

  /** Reads a cell that begins at `at`; gives the place of what ends it. */
  #plainCell(bytes: Buffer, at: number): number {
    const end = endOfPlain(bytes, at)
    const place = bytes[end] === LINE_FEED && end > at && bytes[end - 1] === RETURN ? end - 1 : end
    this.#cells.push(bytes.toString('utf8', at, place))
    return place
  }

  /** Reads on within a quoted cell; gives the place of what ends it, or the end of the block. */
  #quotedCell(bytes: Buffer, start: number, pieces: string[]): number {
    for (let at = start; ; ) {
      const found = bytes.indexOf(QUOTE, at)
      const quote = found < 0 ? bytes.length : found
      const doubled = bytes[quote + 1] === QUOTE
      pieces.push(bytes.toString('utf8', at, doubled ? quote + 1 : quote))
      this.#line += countFeeds(bytes, at, quote)
      this.#recordBytes += quote - at
      if (this.#recordBytes > MAX_RECORD_BYTES) {
        throw this.#fault(`a row has more than ${MAX_RECORD_BYTES} bytes; is a quote not closed?`, this.#first)
      }
      if (found < 0) return bytes.length
      at = quote + (doubled ? 2 : 1)
      if (doubled) continue
      if (at < bytes.length && bytes[at] !== COMMA && endOfLine(bytes, at) === undefined) {
        throw this.#fault('text follows the quote that closes a cell; double the quotes within a quoted cell')
      }
      this.#cells.push(pieces.length === 1 ? pieces[0] : pieces.join(''))
      this.#quoted = undefined
      return at
    }
  }

  #fault(reason: string, line = this.#line): DataError {
    return new DataError(reason, this.#file, line)
  }
}

/** The place after the LF or CRLF at `at`; undefined where there is none. */
function endOfLine(bytes: Buffer, at: number): number | undefined {
  if (bytes[at] === LINE_FEED) return at + 1
  return bytes[at] === RETURN && bytes[at + 1] === LINE_FEED ? at + 2 : undefined
}

function endOfPlain(bytes: Buffer, start: number): number {
  let at = start
  while (at < bytes.length) {
    const byte = bytes[at]
    if (byte === COMMA || byte === LINE_FEED) break
    at++
  }
  return at
}
