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
  /**
   * Names from the left; `_` skips a column, further columns are ignored. In CSV rows have as many cells as the first line, as a comma
   * within a text would make one more; where only some have more, a last `_` says so, for which the first line has no cell. Needs
   * `header`, except for .conll; a file whose fields have names has no need of them.
   */
  columns?: readonly string[]
  /** false: the first line is a row already; true: it is a header, which `columns` replaces where given. */
  header?: boolean
  /** Columns that have to be there. */
  required?: readonly string[]
  /** Columns of which a header has to have one; fields and `columns` are looked at where a row lacks one. */
  requiredOne?: readonly string[]
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
  /** How many cells a row has: as many as the first line, which may have more than there are names. */
  width: number
  /** Rows may have more cells than that, which are ignored. */
  open: boolean
}

/** Throws ArgumentError for `columns` that do not have those of `required`, or have a name twice. */
export function checkColumns(columns: readonly string[], required: readonly string[]): void {
  const named = columns.filter((name) => name !== SKIPPED)
  const repeated = named.find((name, i) => named.indexOf(name) !== i)
  if (repeated !== undefined) throw new ArgumentError(`columns: ${quote(repeated)} is named twice`)
  const missing = required.filter((name) => !named.includes(name))
  if (missing.length > 0) {
    throw new ArgumentError(`columns: expected ${list(missing)} among them, but they are ${list(columns)}`)
  }
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
  return `${list(missing)}, ${foundInstead(names)}`
}

const foundInstead = (names: readonly string[]): string =>
  `but found ${list(names)}; say which columns to use (--text-column, --label-column, ...)`

function layoutOfHeader(
  { cells, line }: TableRecord,
  { required = [], requiredOne = [] }: TableOptions,
  file: string | undefined,
): Layout {
  const hasOne = requiredOne.length === 0 || requiredOne.some((name) => cells.includes(name))
  const either = requiredOne.map((name) => quote(name)).join(' or ')
  const missing = missingColumns(cells, required) ?? (hasOne ? undefined : `${either}, ${foundInstead(cells)}`)
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
  return { names: cells, width: cells.length, open: false }
}

/** Gives the cells of records their names. A row with fewer cells than the first line, or with more that are not empty, is a DataError. */
export async function* tableRows(
  blocks: AsyncIterable<Iterable<TableRecord>>,
  options: TableFormat,
  file?: string,
): AsyncGenerator<Iterable<Row>> {
  const { columns, header, required = [], unquoted = false } = options
  if (columns !== undefined && header === undefined) {
    throw new ArgumentError(
      'columns needs header: false if the first line is a row (--no-header), or true if it is not',
    )
  }
  if (columns === undefined && header === false) {
    throw new ArgumentError('a file without a header line needs the names of its columns (--columns)')
  }
  if (columns !== undefined) checkColumns(columns, required)
  let layout: Layout | undefined
  let skip = header !== false
  const rowsOf = function* (records: Iterable<TableRecord>): Generator<Row> {
    for (const record of records) {
      layout ??=
        columns === undefined ? layoutOfHeader(record, options, file) : layoutOfColumns(columns, record, unquoted)
      if (skip) skip = false
      else if (fits(record, layout)) yield nameCells(record, layout)
      else throw misfit(record, layout, { columns, unquoted }, file)
    }
  }
  for await (const records of blocks) yield rowsOf(records)
}

/** No text has a tab, and some rows of TSV have more cells than others: those of STS-B that have a licence on the right. */
function layoutOfColumns(columns: readonly string[], { cells }: TableRecord, unquoted: boolean): Layout {
  const open = unquoted || (columns.length > cells.length && columns.at(-1) === SKIPPED)
  const names = open ? columns.slice(0, columns.findLastIndex((name) => name !== SKIPPED) + 1) : columns
  // a header may lack a name for the numbers of the rows (R), so that names count too
  return { names, width: open ? names.length : Math.max(names.length, cells.length), open }
}

const fits = ({ cells }: TableRecord, { open, width }: Layout): boolean =>
  cells.length >= width && (open || cells.slice(width).every((cell) => cell === ''))

function nameCells({ cells, line }: TableRecord, { names }: Layout): Row {
  const fields: Record<string, JsonValue> = Object.create(null)
  for (let i = 0; i < names.length; i++) if (names[i] !== SKIPPED) fields[names[i]] = cells[i]
  return { fields, line }
}

function misfit(
  { cells, line }: TableRecord,
  { width }: Layout,
  { columns, unquoted }: TableFormat,
  file: string | undefined,
): DataError {
  const has = (character: string): boolean => cells.some((cell) => cell.includes(character))
  let hint = ''
  if (unquoted && has('"'))
    hint = '; cells of tsv are not quoted, a quote is a character like any other (csv has quotes)'
  else if (cells.length > width) {
    hint = '; is a separator within a cell?'
    if (columns !== undefined) hint += ' (where only some rows have further columns, --columns ends with ,_)'
  } else if (columns !== undefined && cells.length >= columns.length)
    hint = '; the first line has more: is a separator within a cell there?'
  else if (has('\t')) hint = '; the cells hold tabs: is it TSV?'
  return new DataError(`expected ${width} columns, but found ${cells.length}${hint}`, file, line)
}
