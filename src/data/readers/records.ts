import { pipeline, Readable } from 'node:stream'
import { DataError } from '../../errors.ts'
import { blocksOf, linesOf } from './lines.ts'

/** One line of a table, or several where a quoted cell of CSV holds line ends. */
export interface TableRecord {
  cells: string[]
  /** Of its first line, 1-based. */
  line: number
}

// An unclosed quote would otherwise gather the rest of the file.
const MAX_RECORD_CHARS = 64 * 2 ** 20
const PIECE_BYTES = 4096

/** TSV has no quoting: a quote is a character. Empty lines are skipped. */
export async function* tsvRecords(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<TableRecord> {
  let line = 0
  for await (const text of linesOf(bytes, file)) {
    line++
    if (text !== '') yield { cells: text.split('\t'), line }
  }
}

const occurrences = (text: string, char: string): number => text.split(char).length - 1

/** Pieces that the CSV parser, which does one whole piece at a time, is done with in a millisecond or two. */
async function* piecesOf(bytes: AsyncIterable<Uint8Array>, file: string | undefined): AsyncGenerator<Uint8Array> {
  for await (const { text } of blocksOf(bytes, file)) {
    const valid = Buffer.from(text)
    for (let at = 0; at < valid.length; at += PIECE_BYTES) yield valid.subarray(at, at + PIECE_BYTES)
  }
}

/** CSV by RFC 4180, with LF accepted for CRLF. Empty lines are skipped; a misplaced quote is a DataError at its line. */
export async function* csvRecords(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<TableRecord> {
  // Imported when needed: a program that reads no CSV runs without the package.
  const { CsvError, parse } = await import('csv-parse')
  // The parser counts a carriage return inside a cell as a line of its own, and names a record's last line. It reads
  // ahead, so both are counted as it parses and not as records are taken: an error comes before the records it follows.
  let returns = 0
  let last = 0
  const starts: number[] = []
  const locate = (cells: string[], { lines }: { lines: number }): string[] => {
    let feeds = 0
    for (const cell of cells) {
      returns += occurrences(cell, '\r')
      feeds += occurrences(cell, '\n')
    }
    last = lines - returns
    starts.push(last - feeds)
    return cells
  }
  const parser = parse({
    on_record: locate,
    record_delimiter: ['\r\n', '\n'],
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: MAX_RECORD_CHARS,
  })
  // An error destroys the parser and so surfaces from its iterator; the callback has nothing to do.
  const records: AsyncIterable<string[]> = pipeline(Readable.from(piecesOf(bytes, file)), parser, () => {})
  try {
    for await (const cells of records) yield { cells, line: starts.shift()! }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    throw csvFault(error, last, returns, file)
  }
}

function csvFault(error: Error & { code: string }, last: number, returns: number, file: string | undefined): DataError {
  const found = 'lines' in error && typeof error.lines === 'number' ? error.lines - returns : last + 1
  switch (error.code) {
    case 'CSV_QUOTE_NOT_CLOSED':
      return new DataError('a quote is opened in the row that begins here, and never closed', file, last + 1)
    case 'CSV_MAX_RECORD_SIZE':
      return new DataError(`a row has more than ${MAX_RECORD_CHARS} characters; is a quote not closed?`, file, last + 1)
    case 'INVALID_OPENING_QUOTE':
    case 'CSV_INVALID_CLOSING_QUOTE':
      return new DataError(
        'a quote stands in the middle of a cell; quote the whole cell and double the quotes in it',
        file,
        found,
      )
    default:
      return new DataError(`not valid CSV (${error.code})`, file, found)
  }
}
