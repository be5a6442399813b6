// Labels with a column each: 0 or 1 of several labels, as Jigsaw's toxic comments have them, or several numbers to predict.

import { ArgumentError } from '../errors.ts'
import { type JsonValue, quote } from '../json.ts'
import { type Fail, fieldOf, numberOf } from './fields.ts'
import type { ClassificationProblem } from './label-names.ts'
import type { Row } from './readers/rows.ts'

/** The column of the label, or a column for each of several labels or numbers: a list of names, or with commas between them. */
export type LabelColumn = string | readonly string[]

export interface LabelColumns {
  /** The only column, or a column for each label. */
  readonly names: readonly string[]
  /** Names with commas between them, which may be the name of one column as well. */
  readonly written?: string
}

const areNames = (names: readonly unknown[]): boolean =>
  names.length > 0 &&
  new Set(names).size === names.length &&
  names.every((name) => typeof name === 'string' && name !== '')

/** The columns that a setting names. Throws ArgumentError for what are no names, and for several where each text has one label. */
export function labelColumnsOf(
  given: LabelColumn,
  problemType: ClassificationProblem | null | undefined,
): LabelColumns {
  const isOne = problemType === 'single_label_classification'
  if (typeof given === 'string') {
    const names = given.split(',').map((name) => name.trim())
    return isOne || names.length === 1 || !areNames(names) ? { names: [given] } : { names, written: given }
  }
  if (!Array.isArray(given) || !areNames(given))
    throw new ArgumentError(
      `Expected labelColumn to be a name or a list of different names but received ${quote(given)}`,
    )
  if (!isOne || given.length === 1) return { names: given }
  throw new ArgumentError(
    `Expected labelColumn to be one name but received ${quote(given)}; several are for sequence classification with multi_label_classification or regression`,
  )
}

/** The column of a task whose examples have one label. Throws ArgumentError for several. */
export const labelColumnOf = (given: LabelColumn | undefined): string | undefined =>
  given === undefined ? undefined : labelColumnsOf(given, 'single_label_classification').names[0]

/** The columns of a row: where one is called as all of them are written, that one alone. */
export const columnsIn = ({ fields }: Row, { names, written }: LabelColumns): readonly string[] =>
  written !== undefined && fields[written] !== undefined ? [written] : names

/** The columns whose cell is 1: names of the labels that apply. `hint` ends the error of a cell that is neither 1 nor 0. */
export const labelsInColumns = (
  row: Row,
  columns: readonly string[],
  file: string,
  fail: Fail,
  hint: string,
): string[] => columns.filter((column) => flagOf(fieldOf(row, column, file), column, fail, hint))

/** The numbers of the columns, in their order. */
export const numbersInColumns = (row: Row, columns: readonly string[], file: string, fail: Fail): number[] =>
  columns.map((column) => numberOf(fieldOf(row, column, file), column, fail))

const YES = /^(?:1(?:\.0*)?|true)$/i
const NO = /^(?:0(?:\.0*)?|false)$/i

function flagOf(value: JsonValue, column: string, fail: Fail, hint: string): boolean {
  const text = typeof value === 'object' ? '' : String(value).trim()
  if (YES.test(text)) return true
  if (NO.test(text)) return false
  throw fail(
    `expected ${quote(column)} to be 1 or 0, or true or false, as each of several columns of labels, but it is ${quote(value)}${hint}`,
  )
}
