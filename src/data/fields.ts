// What the readers of all tasks ask of a row: a field, and what it has to be. Everything else is a DataError at its line.
import { DataError } from '../errors.ts'
import { type JsonValue, kindOf, quote } from '../json.ts'
import type { Row } from './readers/rows.ts'

export type Fail = (reason: string) => DataError

export const failAt =
  (file: string, line: number): Fail =>
  (reason) =>
    new DataError(reason, file, line)

/** Whether a row has a field; null, which JSON and Parquet have for an empty one, is none. */
export const hasField = ({ fields }: Row, column: string): boolean =>
  fields[column] !== undefined && fields[column] !== null

/** The first of `columns` that a row has, else the first; for fields that go by several names. */
export const columnOf = (row: Row, columns: readonly string[]): string =>
  columns.find((column) => row.fields[column] !== undefined) ?? columns[0]

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

export function textOf(row: Row, column: string, file: string): string {
  const value = fieldOf(row, column, file)
  if (typeof value === 'string') return value
  throw new DataError(`expected ${quote(column)} to be a string, but it is ${kindOf(value)}`, file, row.line)
}

/** A name, or a number as a name, without the space around it. `what` says in errors what it is. */
export function nameOf(value: JsonValue, what: string, fail: Fail): string {
  const name = typeof value === 'number' ? String(value) : value
  if (typeof name !== 'string') throw fail(`expected ${what} to be a name or a number, but it is ${kindOf(value)}`)
  const trimmed = name.trim()
  if (trimmed === '') throw fail(`expected ${what} to be a name or a number, but it is empty`)
  return trimmed
}
