import { setImmediate } from 'node:timers/promises'
import { DataError } from '../../errors.ts'
import { extensionOf, openData } from './bytes.ts'
import { jsonlRows } from './jsonl.ts'
import { csvRecords, tsvRecords } from './records.ts'
import { type Row, type TableOptions, tableRows } from './table.ts'

export type { Row } from './table.ts'

export type RowFormat = 'csv' | 'tsv' | 'jsonl'

export interface ReadOptions extends TableOptions {
  /** Where the name of the file does not tell. */
  format?: RowFormat
}

/** Bytes that are no file on disk, such as standard input; `name` stands for them in errors. */
export interface NamedBytes {
  bytes: AsyncIterable<Uint8Array>
  name: string
}

// How long rows may follow each other before other work of the process has its turn.
const SLICE_MILLISECONDS = 4

const FORMATS: readonly string[] = ['csv', 'tsv', 'jsonl'] satisfies RowFormat[]

function formatOf(name: string): RowFormat {
  const extension = extensionOf(name)
  if (FORMATS.includes(extension)) return extension as RowFormat
  throw new DataError(
    `expected a .csv, .tsv or .jsonl file (each also .gz), but the name ends in ${extension === '' ? 'no extension' : `.${extension}`}; say which format it has`,
    name,
  )
}

/**
 * Streams the rows of a .csv, .tsv or .jsonl file, each also .gz, or of bytes whose `format` is given. At least one row,
 * or a DataError; malformed rows and text that is not UTF-8 are DataErrors with file and line.
 */
export async function* readRows(source: string | NamedBytes, options: ReadOptions = {}): AsyncGenerator<Row> {
  const name = typeof source === 'string' ? source : source.name
  const format = options.format ?? formatOf(name)
  const bytes = typeof source === 'string' ? openData(source) : source.bytes
  let empty = true
  let resumed = performance.now()
  for await (const row of rowsOf(bytes, format, options, name)) {
    empty = false
    yield row
    if (performance.now() - resumed > SLICE_MILLISECONDS) {
      await setImmediate()
      resumed = performance.now()
    }
  }
  if (empty) throw new DataError('expected at least one row, but the file has none', name)
}

function rowsOf(
  bytes: AsyncIterable<Uint8Array>,
  format: RowFormat,
  options: TableOptions,
  name: string,
): AsyncIterable<Row> {
  if (format === 'jsonl') return jsonlRows(bytes, name)
  return tableRows(format === 'csv' ? csvRecords(bytes, name) : tsvRecords(bytes, name), options, name)
}
