import { DataError } from '../../errors.ts'
import { isJsonObject, kindOf, parseJson } from '../../json.ts'
import { linesOf } from './lines.ts'
import type { Row } from './table.ts'

/** JSON lines: one object a line, empty lines skipped. A line that is no object is a DataError. */
export async function* jsonlRows(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<Row> {
  let line = 0
  for await (const text of linesOf(bytes, file)) {
    line++
    if (text.trim() === '') continue
    const value = parseJson(text, (reason) => new DataError(reason, file, line))
    if (!isJsonObject(value)) throw new DataError(`expected an object, but found ${kindOf(value)}`, file, line)
    yield { fields: Object.setPrototypeOf(value, null), line }
  }
}
