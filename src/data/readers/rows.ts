import { setImmediate } from 'node:timers/promises'
import { ArgumentError, DataError } from '../../errors.ts'
import { extensionOf, type NamedBytes, openData, refuseFolder } from './bytes.ts'
import { type ConllOptions, conllRows } from './conll.ts'
import { conlluColumns } from './conllu.ts'
import { csvRecords } from './csv.ts'
import { jsonRows } from './json.ts'
import { jsonlRows } from './jsonl.ts'
import { adviceOnEnding } from './not-text.ts'
import { parquetRows } from './parquet.ts'
import { tsvRecords } from './records.ts'
import { type Row, type TableOptions, tableRows } from './table.ts'
import { type TextLayout, textRows } from './text.ts'

export type { NamedBytes } from './bytes.ts'
export type { Row } from './table.ts'

export type RowFormat = 'csv' | 'tsv' | 'jsonl' | 'json' | 'parquet' | 'conll' | 'txt'

export interface ReadOptions extends TableOptions {
  /** Where the name of the file does not tell. */
  format?: RowFormat
  /** Of plain text; default: lines. */
  textLayout?: TextLayout
  /** Of Parquet whose classes have names (`datasets`): names are read where one of a column's is among these, else numbers; default: all. */
  classNames?: readonly string[]
}

/** What a task says about its files. */
export interface ReadRowsOptions extends ReadOptions {
  /** The formats that make sense; the default has those with named columns. */
  formats?: readonly RowFormat[]
  /** false: the tokens of .conll may lack tags, which are not read; `columns` say themselves what is there. */
  tagged?: boolean
}

/** Formats whose columns or fields have names. */
export const NAMED_FORMATS: readonly RowFormat[] = ['csv', 'tsv', 'jsonl', 'json', 'parquet']

/** Formats whose columns can be given names. */
export const COLUMN_FORMATS: readonly RowFormat[] = ['csv', 'tsv', 'conll']

const CONLLU = 'conllu'
/** Other endings of names that corpora come with. */
const ALIASES: Readonly<Record<string, RowFormat>> = {
  ndjson: 'jsonl',
  text: 'txt',
  raw: 'txt',
  tokens: 'txt',
  [CONLLU]: 'conll',
  bio: 'conll',
  bioes: 'conll',
  bmes: 'conll',
  iob: 'conll',
}

// How long rows may follow each other before other work of the process has its turn.
const SLICE_MILLISECONDS = 4

const either = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} or ${names[names.length - 1]}`

/** The endings of files of these formats. */
const endingsOf = (formats: readonly RowFormat[]): string[] =>
  formats.flatMap((format) => (format === 'conll' ? ['.conll', `.${CONLLU}`] : [`.${format}`]))

/** The format that the name of a file tells, .gz or not; an ending that is none as it is. */
export function formatOfName(name: string): string {
  const extension = extensionOf(name)
  return Object.hasOwn(ALIASES, extension) ? ALIASES[extension] : extension
}

function formatOf(name: string, formats: readonly RowFormat[]): RowFormat {
  const known = formatOfName(name)
  const format = formats.find((each) => each === known)
  if (format !== undefined) return format
  const extension = extensionOf(name)
  const advice = adviceOnEnding(extension) ?? 'say which format it has (--file-format)'
  throw new DataError(
    `expected a ${either(endingsOf(formats))} file (each also .gz), but the name ends in ${extension === '' ? 'no extension' : `.${extension}`}; ${advice}`,
    name,
  )
}

/**
 * Streams the rows of a file of one of `formats`, each also .gz, or of bytes whose `format` is given. At least one row,
 * or a DataError; malformed rows and text that is not UTF-8 are DataErrors with file and line. What is in memory is a piece
 * of the file, a row group of Parquet, or all of .json.
 */
export async function* readRows(source: string | NamedBytes, options: ReadRowsOptions = {}): AsyncGenerator<Row> {
  const { formats = NAMED_FORMATS } = options
  const name = typeof source === 'string' ? source : source.name
  if (typeof source === 'string') await refuseFolder(source)
  const format = options.format ?? formatOf(name, formats)
  if (!formats.includes(format)) {
    throw new ArgumentError(`Expected the format of ${name} to be ${either(formats)} but received ${format}`)
  }
  let empty = true
  let resumed = performance.now()
  for await (const rows of blocksOf(source, format, options)) {
    for (const row of rows) {
      empty = false
      yield row
      if (performance.now() - resumed > SLICE_MILLISECONDS) {
        await setImmediate()
        resumed = performance.now()
      }
    }
  }
  if (empty) throw new DataError('expected at least one row, but the file has none', name)
}

/** The rows in blocks, which are parsed as they are taken: the rows before a fault come before its error. */
function blocksOf(
  source: string | NamedBytes,
  format: RowFormat,
  options: ReadRowsOptions,
): AsyncIterable<Iterable<Row>> {
  const { classNames, required = [] } = options
  if (format === 'parquet') return parquetRows(source, required, classNames)
  const [bytes, name] = typeof source === 'string' ? [openData(source), source] : [source.bytes, source.name]
  switch (format) {
    case 'csv':
      return tableRows(csvRecords(bytes, name), options, name)
    case 'tsv':
      return tableRows(tsvRecords(bytes, name), { ...options, unquoted: true }, name)
    case 'jsonl':
      return jsonlRows(bytes, name)
    case 'json':
      return jsonRows(bytes, required, name)
    case 'conll':
      return conllRows(bytes, conllOptions(options, name), name)
    case 'txt':
      return textRows(bytes, options.textLayout, name)
  }
}

function conllOptions({ columns, required = [], tagged = true }: ReadRowsOptions, name: string): ConllOptions {
  if (!isConlluName(name)) return { columns, required, tagged }
  const named = tagged ? ['tokens', 'tags'] : ['tokens']
  const read = columns !== undefined || required.length > 0 ? required : named
  return { columns: columns ?? conlluColumns(read), required: read, tagged, universal: true }
}

/** Whether a file is CoNLL-U by its name. */
export const isConlluName = (name: string): boolean => extensionOf(name) === CONLLU
