import { DataError } from '../../errors.ts'
import { isJsonObject, kindOf, parseJson } from '../../json.ts'
import { type LineBlock, lineBlocksOf } from './lines.ts'
import type { Row } from './table.ts'

/** JSON lines: one object a line, empty lines skipped. A line that is no object is a DataError. */
export async function* jsonlRows(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<Iterable<Row>> {
  for await (const block of lineBlocksOf(bytes, file)) yield rowsOf(block, file)
}

function* rowsOf({ lines, line: first }: LineBlock, file: string | undefined): Generator<Row> {
  for (const [index, text] of lines.entries()) if (text.trim() !== '') yield rowOfJson(text, first + index, file)
}

/** A row of the text of a JSON object. What is none is a DataError. */
export function rowOfJson(text: string, line: number, file: string | undefined): Row {
  const value = parseJson(text, (reason) => new DataError(reason, file, line))
  if (!isJsonObject(value)) throw new DataError(`expected an object, but found ${kindOf(value)}`, file, line)
  return { fields: Object.setPrototypeOf(value, null), line }
}
