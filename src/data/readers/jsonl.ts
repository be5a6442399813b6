import { DataError } from '../../errors.ts'
import { isJsonObject, kindOf, parseJson } from '../../json.ts'
import { type LineBlock, lineBlocksOf } from './lines.ts'
import type { Row } from './table.ts'

/** How the first line of a .json file looks that is written over several lines, or is a list. */
const FIRST_OF_JSON = /^\s*(?:\[|\{\s*$)/
const HINT = '; it looks like a .json file, not one object a line (--file-format json)'

/** JSON lines: one object a line, empty lines skipped. A line that is no object is a DataError. */
export async function* jsonlRows(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<Iterable<Row>> {
  const place = { isFirst: true }
  for await (const block of lineBlocksOf(bytes, file)) yield rowsOf(block, place, file)
}

function* rowsOf(
  { lines, line: first }: LineBlock,
  place: { isFirst: boolean },
  file: string | undefined,
): Generator<Row> {
  for (const [index, text] of lines.entries()) {
    if (text.trim() === '') continue
    yield rowOfJson(text, first + index, file, place.isFirst && FIRST_OF_JSON.test(text) ? HINT : '')
    place.isFirst = false
  }
}

/** A row of the text of a JSON object. What is none is a DataError, which ends in `hint`. */
export function rowOfJson(text: string, line: number, file: string | undefined, hint = ''): Row {
  const fail = (reason: string): DataError => new DataError(`${reason}${hint}`, file, line)
  const value = parseJson(text, fail)
  if (!isJsonObject(value)) throw fail(`expected an object, but found ${kindOf(value)}`)
  return { fields: Object.setPrototypeOf(value, null), line }
}
