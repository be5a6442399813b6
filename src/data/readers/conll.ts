import { DataError } from '../../errors.ts'
import { quote } from '../../json.ts'
import { lineBlocksOf } from './lines.ts'
import type { Row } from './table.ts'

// A file without blank lines would otherwise gather in memory.
const MAX_TOKENS = 2 ** 20

/** White space of ASCII only: a no-break or an ideographic space may be a token. */
const BLANK = /^[ \t\v\f\r]*$/
const DOCUMENT_START = '-DOCSTART-'

/**
 * CoNLL: a line for each token, with the token in its first and its tag in its last column; a blank line after each sentence.
 * Columns are separated by tabs where the line has one, else by spaces. Lines of -DOCSTART- are skipped. A row is a sentence:
 * {tokens, tags}, or {tokens} without `tagged`, when a line may have one column. A line without a tag is a DataError.
 */
export async function* conllRows(
  bytes: AsyncIterable<Uint8Array>,
  { tagged }: { tagged: boolean },
  file?: string,
): AsyncGenerator<Iterable<Row>> {
  let tokens: string[] = []
  let tags: string[] = []
  let first = 0
  const take = (): Row => {
    const fields = Object.assign(Object.create(null), tagged ? { tokens, tags } : { tokens })
    tokens = []
    tags = []
    return { fields, line: first }
  }
  const add = (text: string, line: number): void => {
    const [token, tag] = columnsOf(text)
    if (token === '') throw new DataError('expected a token in the first column, but it is empty', file, line)
    if (tagged && tag === undefined) {
      throw new DataError(
        `expected a token and its tag, separated by a tab or a space, but found ${quote(text)}`,
        file,
        line,
      )
    }
    if (tokens.length === 0) first = line
    if (tokens.length === MAX_TOKENS) {
      throw new DataError(
        `the sentence that begins in line ${first} has more than ${MAX_TOKENS} tokens; expected a blank line after each sentence`,
        file,
        line,
      )
    }
    tokens.push(token)
    if (tag !== undefined) tags.push(tag)
  }
  for await (const block of lineBlocksOf(bytes, file)) {
    const rows: Row[] = []
    for (const [index, text] of block.lines.entries()) {
      const ends = BLANK.test(text) || isDocumentStart(text)
      if (!ends) add(text, block.line + index)
      else if (tokens.length > 0) rows.push(take())
    }
    yield rows
  }
  if (tokens.length > 0) yield [take()]
}

const isDocumentStart = (text: string): boolean =>
  text.startsWith(DOCUMENT_START) && BLANK.test(text.charAt(DOCUMENT_START.length))

/** The token, and the tag where there is more than one column. */
function columnsOf(text: string): [token: string, tag?: string] {
  const whole = text.replace(/[ \t\v\f\r]+$/, '')
  const columns = whole.includes('\t') ? whole.split('\t') : whole.replace(/^ +/, '').split(/ +/)
  return columns.length < 2 ? [columns[0]] : [columns[0], columns[columns.length - 1].trim()]
}
