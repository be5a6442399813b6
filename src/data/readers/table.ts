import { ArgumentError, DataError } from '../../errors.ts'
import type { JsonValue } from '../../json.ts'
import { quote } from '../../json.ts'
import type { TableRecord } from './records.ts'

/** One example of a data file. */
export interface Row {
  /** By column name; strings in tables, any JSON in JSON, JSON lines and Parquet. It has no prototype. */
  readonly fields: Readonly<Record<string, JsonValue>>
  /** The 1-based line where it begins; Parquet has no lines: the 1-based number of the row. */
  readonly line: number
}

/** Which columns a table has. Without either option the first line is a header. */
export interface TableOptions {
  /** Names from the left; `_` skips a column, further columns on the right are ignored. Needs `header`, except for .conll; a file whose fields have names has no need of them. */
  columns?: readonly string[]
  /** false: the first line is a row already; true: it is a header, which `columns` replaces where given. */
  header?: boolean
  /** Columns that have to be there. */
  required?: readonly string[]
}

/** What the format of a table says of it besides. */
interface TableFormat extends TableOptions {
  /** A quote is a character like any other. */
  unquoted?: boolean
}

/** Stands for the name of a column that is not read. */
export const SKIPPED = '_'

const SEPARATORS = 'columns are separated by commas in csv and by tabs in tsv (--file-format)'

interface Layout {
  /** A name for each column; SKIPPED or a repeated unwanted name is not read. */
  names: readonly string[]
  /** Whether cells on the right that have no name are a mistake. */
  exact: boolean
}

/** A layout that `columns` say, which have to have those of `required`. */
export function layoutOfColumns(columns: readonly string[], required: readonly string[]): Layout {
  const named = columns.filter((name) => name !== SKIPPED)
  const repeated = named.find((name, i) => named.indexOf(name) !== i)
  if (repeated !== undefined) throw new ArgumentError(`columns: ${quote(repeated)} is named twice`)
  const missing = required.filter((name) => !named.includes(name))
  if (missing.length > 0) {
    throw new ArgumentError(`columns: expected ${list(missing)} among them, but they are ${list(columns)}`)
  }
  return { names: columns, exact: false }
}

const list = (names: readonly string[]): string =>
  names
    .slice(0, 20)
    .map((name) => quote(name))
    .join(', ')

/** Says which columns of `required` are missing among `names`; undefined where none is. */
export function missingColumns(names: readonly string[], required: readonly string[]): string | undefined {
  const missing = required.filter((name) => !names.includes(name))
  if (missing.length === 0) return undefined
  return `${list(missing)}, but found ${list(names)}; say which columns to use (--text-column, --label-column, ...)`
}

function layoutOfHeader({ cells, line }: TableRecord, required: readonly string[], file: string | undefined): Layout {
  const missing = missingColumns(cells, required)
  if (missing !== undefined) {
    const other = cells.length === 1 && /[;,\t]/.test(cells[0]) ? `; ${SEPARATORS}` : ''
    throw new DataError(
      `expected a header line with ${missing}, or name them all with --columns and --no-header if this line is a row${other}`,
      file,
      line,
    )
  }
  const repeated = required.find((name) => cells.indexOf(name) !== cells.lastIndexOf(name))
  if (repeated !== undefined) throw new DataError(`the header has ${quote(repeated)} twice`, file, line)
  return { names: cells, exact: true }
}

/** Gives the cells of records their names. A row with too few cells is a DataError at its line, and one with too many by a header. */
export async function* tableRows(
  blocks: AsyncIterable<Iterable<TableRecord>>,
  { columns, header, required = [], unquoted = false }: TableFormat,
  file?: string,
): AsyncGenerator<Iterable<Row>> {
  if (columns !== undefined && header === undefined) {
    throw new ArgumentError(
      'columns needs header: false if the first line is a row (--no-header), or true if it is not',
    )
  }
  if (columns === undefined && header === false) {
    throw new ArgumentError('a file without a header line needs the names of its columns (--columns)')
  }
  let layout = columns && layoutOfColumns(columns, required)
  let skip = header !== false
  const rowsOf = function* (records: Iterable<TableRecord>): Generator<Row> {
    for (const record of records) {
      layout ??= layoutOfHeader(record, required, file)
      if (skip) skip = false
      else if (fits(record, layout)) yield nameCells(record, layout)
      else throw misfit(record, layout, unquoted, file)
    }
  }
  for await (const records of blocks) yield rowsOf(records)
}

function fits({ cells }: TableRecord, { names, exact }: Layout): boolean {
  if (cells.length <= names.length) return cells.length === names.length
  return !exact || cells.slice(names.length).every((cell) => cell === '')
}

function nameCells({ cells, line }: TableRecord, { names }: Layout): Row {
  const fields: Record<string, JsonValue> = Object.create(null)
  for (let i = 0; i < names.length; i++) if (names[i] !== SKIPPED) fields[names[i]] = cells[i]
  return { fields, line }
}

function misfit(
  { cells, line }: TableRecord,
  { names }: Layout,
  unquoted: boolean,
  file: string | undefined,
): DataError {
  const has = (character: string): boolean => cells.some((cell) => cell.includes(character))
  let hint = ''
  if (unquoted && has('"'))
    hint = '; cells of tsv are not quoted, a quote is a character like any other (csv has quotes)'
  else if (cells.length > names.length) hint = '; is a separator within a cell?'
  else if (has('\t')) hint = '; the cells hold tabs: is it TSV?'
  return new DataError(`expected ${names.length} columns, but found ${cells.length}${hint}`, file, line)
}
