import { DataError } from '../errors.ts'
import { type JsonValue, kindOf, parseJson, quote } from '../json.ts'
import { type NamedBytes, type ReadOptions, type Row, readRows } from './readers/rows.ts'

export type ClassificationProblem = 'regression' | 'single_label_classification' | 'multi_label_classification'

export interface ClassificationExample {
  text: string
  textPair?: string
  /**
   * As the file has it, split but not yet looked up: one name; a list of names (multi-label); one number or a list of
   * numbers (regression, with one or several columns). undefined where labels were not asked for.
   */
  label?: string | string[] | number | number[]
  /** The 1-based line where the example begins. */
  line: number
}

export interface ClassificationExamples {
  /** Names the file in errors. */
  file: string
  problemType: ClassificationProblem
  examples: ClassificationExample[]
  hasPairs: boolean
  hasLabels: boolean
  /** The different names among the labels, in no order; empty for regression. */
  labelNames: ReadonlySet<string>
}

export interface ClassificationOptions extends Omit<ReadOptions, 'required'> {
  textColumn?: string
  /** Where it is not named, a column "text_pair" is used if there is one. */
  textPairColumn?: string
  labelColumn?: string
  /** What a label is. Default: one name. */
  problemType?: ClassificationProblem | null
  /** 'required' (for training and evaluation), or 'ignored' (for prediction). */
  labels?: 'required' | 'ignored'
}

/** The classes of a data set or of a model: names by id. For regression the names stand for columns. */
export interface LabelSet {
  problemType: ClassificationProblem
  names: string[]
}

/** A class id; a number or several of regression; 0 or 1 for each class of multi-label. */
export type EncodedLabel = number | number[]

/** Reads {text, text_pair?, label} rows. A missing column, an empty or malformed label is a DataError with file and line. */
export async function readClassificationExamples(
  source: string | NamedBytes,
  options: ClassificationOptions = {},
): Promise<ClassificationExamples> {
  const { textColumn = 'text', textPairColumn, labelColumn = 'label', labels = 'required' } = options
  const file = typeof source === 'string' ? source : source.name
  const problemType = options.problemType ?? 'single_label_classification'
  const hasLabels = labels === 'required'
  const required = [textColumn, ...(textPairColumn === undefined ? [] : [textPairColumn])]
  if (hasLabels) required.push(labelColumn)
  const examples: ClassificationExample[] = []
  const labelNames = new Set<string>()
  let hasPairs = false
  for await (const row of readRows(source, { ...options, required })) {
    const example: ClassificationExample = { text: textOf(row, textColumn, file), line: row.line }
    const pair = row.fields[textPairColumn ?? 'text_pair']
    if (textPairColumn !== undefined || (pair !== undefined && pair !== null)) {
      example.textPair = textOf(row, textPairColumn ?? 'text_pair', file)
      hasPairs = true
    }
    if (hasLabels) {
      example.label = labelOf(row, labelColumn, problemType, file)
      if (problemType !== 'regression') for (const name of partsOfLabel(example.label)) labelNames.add(String(name))
    }
    examples.push(example)
  }
  return { file, problemType, examples, hasPairs, hasLabels, labelNames }
}

const partsOfLabel = (label: string | string[] | number | number[]): readonly (string | number)[] =>
  Array.isArray(label) ? label : [label]

/** A field that JSON lines may lack; tables have been checked by their header. */
function fieldOf({ fields, line }: Row, column: string, file: string): JsonValue {
  const value = fields[column]
  if (value !== undefined) return value
  const found = Object.keys(fields)
    .slice(0, 20)
    .map((name) => quote(name))
    .join(', ')
  throw new DataError(
    `expected a field ${quote(column)}, but found ${found || 'none'}; say which fields to use (--text-column, --label-column, ...)`,
    file,
    line,
  )
}

function textOf(row: Row, column: string, file: string): string {
  const value = fieldOf(row, column, file)
  if (typeof value === 'string') return value
  throw new DataError(`expected ${quote(column)} to be a string, but it is ${kindOf(value)}`, file, row.line)
}

function labelOf(
  row: Row,
  column: string,
  problemType: ClassificationProblem,
  file: string,
): string | string[] | number | number[] {
  const value = fieldOf(row, column, file)
  const fail = (reason: string) => new DataError(reason, file, row.line)
  switch (problemType) {
    case 'single_label_classification':
      return nameOf(value, column, fail)
    case 'multi_label_classification':
      return partsOf(value, fail).map((part) => nameOf(part, column, fail))
    case 'regression': {
      const numbers = partsOf(value, fail).map((part) => numberOf(part, column, fail))
      if (numbers.length === 0) throw fail(`expected ${quote(column)} to be a number, but it is empty`)
      return numbers.length === 1 ? numbers[0] : numbers
    }
  }
}

type Fail = (reason: string) => DataError

function nameOf(value: JsonValue, column: string, fail: Fail): string {
  const name = typeof value === 'number' ? String(value) : value
  if (typeof name !== 'string')
    throw fail(`expected ${quote(column)} to be a name or a number, but it is ${kindOf(value)}`)
  const trimmed = name.trim()
  if (trimmed === '') throw fail(`expected ${quote(column)} to be a name or a number, but it is empty`)
  return trimmed
}

function numberOf(value: JsonValue, column: string, fail: Fail): number {
  const text = typeof value === 'string' ? value.trim() : value
  const number = text === '' || (typeof text !== 'string' && typeof text !== 'number') ? Number.NaN : Number(text)
  if (Number.isFinite(number)) return number
  throw fail(`expected ${quote(column)} to be a number, but it is ${quote(value)}`)
}

/** The parts of "2,5", of "[2, 5]" and of a JSON array; an empty cell has none. */
function partsOf(value: JsonValue, fail: Fail): JsonValue[] {
  if (typeof value !== 'string') return Array.isArray(value) ? value : [value]
  const text = value.trim()
  if (text === '') return []
  if (!text.startsWith('[')) return text.split(',')
  const parsed = parseJson(text, (reason) =>
    fail(`the label ${quote(text)} begins like a JSON array, but is ${reason}`),
  )
  return Array.isArray(parsed) ? parsed : [parsed]
}

const isNumeric = (name: string): boolean => name.trim() !== '' && Number.isFinite(Number(name))

/** Names in the order of their ids: by value where all are numbers, else sorted by UTF-16 code units. */
export function sortLabels(names: Iterable<string>): string[] {
  const sorted = [...new Set(names)].sort()
  return sorted.every(isNumeric) ? sorted.sort((a, b) => Number(a) - Number(b)) : sorted
}

/**
 * The label set of a training file. Regression has one column for each number of a label, called LABEL_0, LABEL_1, ...
 * as Transformers does. A DataError where there are fewer than two classes, or rows have different numbers of columns.
 */
export function inferLabels({ examples, problemType, file, labelNames }: ClassificationExamples): LabelSet {
  if (problemType === 'regression') {
    const columns = Math.max(1, columnsOf(examples[0]))
    return { problemType, names: Array.from({ length: columns }, (_, column) => `LABEL_${column}`) }
  }
  const names = sortLabels(labelNames)
  if (names.length < 2) {
    const only = names.length === 0 ? 'none' : `only ${quote(names[0])}`
    throw new DataError(`expected at least two different labels, but found ${only}`, file)
  }
  return { problemType, names }
}

const columnsOf = (example: ClassificationExample | undefined): number =>
  Array.isArray(example?.label) ? example.label.length : 1

/** Every example's label as the model takes it; see `labelEncoder`, which does one at a time. */
export function encodeLabels({ examples, file }: ClassificationExamples, labels: LabelSet): EncodedLabel[] {
  return examples.map(labelEncoder(labels, file))
}

/**
 * Turns an example's label into what the model takes, by the names of `labels`. Where no name is a number (LABEL_0, ...),
 * a label may be an id too. A label that is neither is a DataError at its line.
 */
export function labelEncoder(labels: LabelSet, file: string): (example: ClassificationExample) => EncodedLabel {
  const { names, problemType } = labels
  const ids = new Map(names.map((name, id) => [name, id]))
  const acceptsIds = !names.some(isNumeric)
  const idOf = (label: string | number, line: number): number => {
    const name = String(label)
    const id =
      ids.get(name) ?? (acceptsIds && /^\d{1,9}$/.test(name) && Number(name) < names.length ? Number(name) : undefined)
    if (id !== undefined) return id
    const known = names
      .slice(0, 10)
      .map((each) => quote(each, 30))
      .join(', ')
    const more = names.length > 10 ? `, ... (${names.length} in all)` : ''
    throw new DataError(`label ${quote(name)} is not one of ${known}${more}`, file, line)
  }
  return (example) => {
    const { label, line } = example
    if (label === undefined) throw new DataError('expected a label, but labels were not read', file, line)
    if (problemType === 'regression') return numbersOf(example, names.length, file)
    if (problemType === 'single_label_classification') {
      if (!Array.isArray(label)) return idOf(label, line)
      throw new DataError(`expected one label, but found ${label.length}`, file, line)
    }
    const hot = new Array<number>(names.length).fill(0)
    for (const each of partsOfLabel(label)) hot[idOf(each, line)] = 1
    return hot
  }
}

function numbersOf(example: ClassificationExample, columns: number, file: string): EncodedLabel {
  const fail = (reason: string) => new DataError(reason, file, example.line)
  const found = columnsOf(example)
  if (found !== columns) {
    throw fail(`expected ${columns} ${columns === 1 ? 'number' : 'numbers'} as the label, but found ${found}`)
  }
  const numbers = partsOfLabel(example.label ?? []).map(Number)
  if (!numbers.every(Number.isFinite)) throw fail(`expected a number as the label, but found ${quote(example.label)}`)
  return columns === 1 ? numbers[0] : numbers
}
