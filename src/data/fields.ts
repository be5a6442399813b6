// What the readers of all tasks ask of a row: a field, and what it has to be. Everything else is a DataError at its line.
import { DataError } from '../errors.ts'
import { isJsonObject, type JsonValue, kindOf, quote } from '../json.ts'
import type { Row } from './readers/rows.ts'

export type Fail = (reason: string) => DataError

export const failAt =
  (file: string, line: number): Fail =>
  (reason) =>
    new DataError(reason, file, line)

/** What a reader gives for bytes that are no text, in an object: only where a text is wanted is it an error. */
export const NOT_TEXT = 'bytes that are not valid UTF-8'

const kindOfField = (value: JsonValue): string =>
  isJsonObject(value) && Object.hasOwn(value, NOT_TEXT) ? NOT_TEXT : kindOf(value)

/** Whether a row has a field; null, which JSON and Parquet have for an empty one, is none. */
export const hasField = ({ fields }: Row, column: string): boolean =>
  fields[column] !== undefined && fields[column] !== null

/** The first of `columns` that a row has, else one that it has empty, else the first; for fields that go by several names. */
export const columnOf = (row: Row, columns: readonly string[]): string =>
  columns.find((column) => hasField(row, column)) ??
  columns.find((column) => row.fields[column] !== undefined) ??
  columns[0]

/** A field that JSON may lack; tables have been checked by their header. `others` are names that would have done too. */
export function fieldOf(
  { fields, line }: Row,
  column: string,
  file: string,
  others: readonly string[] = [],
): JsonValue {
  const value = fields[column]
  if (value !== undefined) return value
  const found = Object.keys(fields)
    .slice(0, 20)
    .map((name) => quote(name))
    .join(', ')
  const wanted = [column, ...others].map((name) => quote(name)).join(' or ')
  throw new DataError(
    `expected a field ${wanted}, but found ${found || 'none'}; say which fields to use (--text-column, --label-column, ...)`,
    file,
    line,
  )
}

/** A field that is a text. */
export const textOf = (row: Row, column: string, file: string): string =>
  textFrom(fieldOf(row, column, file), quote(column), failAt(file, row.line))

/** A text, or a number as the text that a table would have. `what` says in errors what it is. */
export function textFrom(value: JsonValue, what: string, fail: Fail): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number') return digitsOf(value, what, fail)
  throw fail(`expected ${what} to be a string, but it is ${kindOfField(value)}`)
}

/** A name, or a number, true or false as a name, without the space around it. `what` says in errors what it is. */
export function nameOf(value: JsonValue, what: string, fail: Fail): string {
  if (typeof value === 'number') return digitsOf(value, what, fail)
  if (typeof value === 'boolean') return String(value)
  if (typeof value !== 'string')
    throw fail(`expected ${what} to be a name or a number, but it is ${kindOfField(value)}`)
  const trimmed = value.trim()
  if (trimmed === '') throw fail(`expected ${what} to be a name or a number, but it is empty`)
  return trimmed
}

/** A number in digits. One that JSON.parse cannot have kept as the file has it is an error: two of them may be the same. */
function digitsOf(value: number, what: string, fail: Fail): string {
  const isKept = Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value)
  if (isKept) return String(value)
  throw fail(
    `expected ${what} to be a number of at most ${Number.MAX_SAFE_INTEGER}, because greater ones are not kept exactly, but it is about ${value}; write it as a string, in quotes`,
  )
}

/** A number, or a text of one. `column` says in errors what it is. */
export function numberOf(value: JsonValue, column: string, fail: Fail): number {
  const text = typeof value === 'string' ? value.trim() : value
  const number = text === '' || (typeof text !== 'string' && typeof text !== 'number') ? Number.NaN : Number(text)
  if (Number.isFinite(number)) return number
  throw fail(`expected ${quote(column)} to be a number, but it is ${quote(value)}`)
}
