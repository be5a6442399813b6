import { ArgumentError } from '../errors.ts'
import { type JsonValue, kindOf, quote } from '../json.ts'
import { columnOf, type Fail, failAt, fieldOf, nameOf, textFrom } from './fields.ts'
import { CONLLU_COLUMNS } from './readers/conllu.ts'
import {
  formatOfName,
  isConlluName,
  NAMED_FORMATS,
  type NamedBytes,
  type ReadOptions,
  type Row,
  readRows,
} from './readers/rows.ts'

/** A sentence whose words, or characters, carry a tag each. */
export interface TokenExample {
  tokens: string[]
  /** One for each token, as the file has them (numbers as digits); undefined where they were not asked for. */
  tags?: string[]
  /** The 1-based line where the example begins. */
  line: number
  /** Its file, where there are several. */
  file?: string
}

export interface TokenOptions extends Omit<ReadOptions, 'required'> {
  /** Default: "tokens", or "words". Of .conll only with `columns`: else its first column is the token and its last the tag. */
  textColumn?: string
  /** Default: "tags", "ner_tags" or "ner". Of .conllu UPOS; its others are lemma, xpos, feats, head, deprel, deps and misc. */
  labelColumn?: string
  /** 'required' (for training and evaluation), or 'ignored' (for prediction). */
  labels?: 'required' | 'ignored'
}

const TOKENS = ['tokens', 'words']
const TAGS = ['tags', 'ner_tags', 'ner']
const FORMATS = ['conll', ...NAMED_FORMATS.filter((format) => format !== 'csv' && format !== 'tsv')] as const

/**
 * Streams the sentences of .conll, or {tokens, tags} rows of .jsonl, .json and .parquet. Tokens and tags of different number, or a
 * token without its tag, are a DataError with file and line; names that are not among the columns are an ArgumentError. A row of JSON
 * may have no tokens.
 */
export async function* tokenRows(
  source: string | NamedBytes,
  options: TokenOptions = {},
): AsyncGenerator<TokenExample> {
  const { labels = 'required', ...reading } = options
  const file = typeof source === 'string' ? source : source.name
  const tagged = labels === 'required'
  const { required, tags, tokens } = namesOf(file, options, tagged)
  for await (const row of readRows(source, { ...reading, formats: FORMATS, required, tagged })) {
    const fail = failAt(file, row.line)
    const words = listOf(row, tokens, file).map((token, index) => textFrom(token, `token ${index}`, fail))
    if (tagged) yield { tokens: words, tags: tagsOf(row, words.length, tags, file, fail), line: row.line }
    else yield { tokens: words, line: row.line }
  }
}

/** What the tokens and the tags may be called, and the names that have to be there. */
function namesOf(
  file: string,
  { columns, format, labelColumn, textColumn }: TokenOptions,
  tagged: boolean,
): { required: string[]; tags: readonly string[]; tokens: readonly string[] } {
  const tokens = textColumn === undefined ? TOKENS : [textColumn]
  const tags = labelColumn === undefined ? TAGS : [labelColumn]
  if ((format ?? formatOfName(file)) !== 'conll') {
    const given = [textColumn, tagged ? labelColumn : undefined]
    return { required: given.filter((name) => name !== undefined), tags, tokens }
  }
  const wanted = tagged ? [tokens, tags] : [tokens]
  const named = columns ?? (isConlluName(file) ? CONLLU_COLUMNS : undefined)
  if (named !== undefined) return { required: wanted.map((names) => amongColumns(names, named)), tags, tokens }
  // the reader itself gives the first column and the last these names
  const given = textColumn ?? (tagged ? labelColumn : undefined)
  if (given !== undefined)
    throw new ArgumentError(
      `columns: expected the names of the columns of ${file}, such as _,tokens,${given}, with ${quote(given)} but received none`,
    )
  return { required: [], tags: TAGS, tokens: TOKENS }
}

/** The one of `names` that a column has; none is an ArgumentError. */
function amongColumns(names: readonly string[], columns: readonly string[]): string {
  const found = names.find((name) => columns.includes(name))
  if (found !== undefined) return found
  const listed = (each: readonly string[], by: string): string => each.map((name) => quote(name)).join(by)
  throw new ArgumentError(
    `columns: expected ${listed(names, ' or ')} among them, but they are ${listed(columns.slice(0, 20), ', ')}`,
  )
}

function tagsOf(row: Row, count: number, columns: readonly string[], file: string, fail: Fail): string[] {
  const values = listOf(row, columns, file)
  if (values.length !== count) throw fail(`expected ${count} tags, one for each token, but found ${values.length}`)
  return values.map((value, index) => nameOf(value, `tag ${index}`, fail))
}

function listOf(row: Row, columns: readonly string[], file: string): JsonValue[] {
  const column = columnOf(row, columns)
  const value = fieldOf(row, column, file, columns.slice(1))
  if (Array.isArray(value)) return value
  throw failAt(file, row.line)(`expected ${quote(column)} to be a list, but it is ${kindOf(value)}`)
}
