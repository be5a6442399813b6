import { type JsonValue, kindOf, quote } from '../json.ts'
import { columnOf, type Fail, failAt, fieldOf, nameOf } from './fields.ts'
import { NAMED_FORMATS, type NamedBytes, type ReadOptions, type Row, readRows } from './readers/rows.ts'

/** A sentence whose words, or characters, carry a tag each. */
export interface TokenExample {
  tokens: string[]
  /** One for each token, as the file has them (numbers as digits); undefined where they were not asked for. */
  tags?: string[]
  /** The 1-based line where the example begins. */
  line: number
}

export interface TokenOptions extends Omit<ReadOptions, 'required' | 'columns' | 'header'> {
  /** Default: "tokens", or "words". Of .conll neither name counts: its first column is the token and its last the tag. */
  textColumn?: string
  /** Default: "tags", "ner_tags" or "ner". */
  labelColumn?: string
  /** 'required' (for training and evaluation), or 'ignored' (for prediction). */
  labels?: 'required' | 'ignored'
}

const TOKENS = ['tokens', 'words']
const TAGS = ['tags', 'ner_tags', 'ner']
const FORMATS = ['conll', ...NAMED_FORMATS.filter((format) => format !== 'csv' && format !== 'tsv')] as const

/**
 * Streams the sentences of .conll, or {tokens, tags} rows of .jsonl, .json and .parquet. Tokens and tags of different number, or a
 * token without its tag, are a DataError with file and line. A row of JSON may have no tokens.
 */
export async function* tokenRows(
  source: string | NamedBytes,
  { textColumn, labelColumn, labels = 'required', format }: TokenOptions = {},
): AsyncGenerator<TokenExample> {
  const file = typeof source === 'string' ? source : source.name
  const tagged = labels === 'required'
  const required = [textColumn, tagged ? labelColumn : undefined].filter((name) => name !== undefined)
  for await (const row of readRows(source, { format, formats: FORMATS, required, tagged })) {
    const fail = failAt(file, row.line)
    const tokens = listOf(row, textColumn === undefined ? TOKENS : [textColumn], file).map((token, index) => {
      if (typeof token === 'string') return token
      throw fail(`expected token ${index} to be a string, but it is ${kindOf(token)}`)
    })
    if (tagged) yield { tokens, tags: tagsOf(row, tokens.length, labelColumn, file, fail), line: row.line }
    else yield { tokens, line: row.line }
  }
}

function tagsOf(row: Row, count: number, column: string | undefined, file: string, fail: Fail): string[] {
  const values = listOf(row, column === undefined ? TAGS : [column], file)
  if (values.length !== count) throw fail(`expected ${count} tags, one for each token, but found ${values.length}`)
  return values.map((value, index) => nameOf(value, `tag ${index}`, fail))
}

function listOf(row: Row, columns: readonly string[], file: string): JsonValue[] {
  const column = columnOf(row, columns)
  const value = fieldOf(row, column, file, columns.slice(1))
  if (Array.isArray(value)) return value
  throw failAt(file, row.line)(`expected ${quote(column)} to be a list, but it is ${kindOf(value)}`)
}
