import { DataError } from '../errors.ts'
import { type JsonValue, parseJson, quote } from '../json.ts'
import { type Fail, failAt, fieldOf, hasField, nameOf, textOf } from './fields.ts'
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
  /** Its file, where there are several. */
  file?: string
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

/**
 * Streams {text, text_pair?, label} rows. A missing column, an empty or malformed label is a DataError with file and line.
 * Next-sentence data has the same rows.
 */
export async function* classificationRows(
  source: string | NamedBytes,
  options: ClassificationOptions = {},
): AsyncGenerator<ClassificationExample> {
  const { textColumn = 'text', textPairColumn, labelColumn = 'label', labels = 'required' } = options
  const file = typeof source === 'string' ? source : source.name
  const problemType = options.problemType ?? 'single_label_classification'
  const required = [textColumn, ...(textPairColumn === undefined ? [] : [textPairColumn])]
  if (labels === 'required') required.push(labelColumn)
  for await (const row of readRows(source, { ...options, required })) {
    const example: ClassificationExample = { text: textOf(row, textColumn, file), line: row.line }
    if (textPairColumn !== undefined || hasField(row, 'text_pair')) {
      example.textPair = textOf(row, textPairColumn ?? 'text_pair', file)
    }
    if (labels === 'required') example.label = labelOf(row, labelColumn, problemType, file)
    yield example
  }
}

const partsOfLabel = (label: string | string[] | number | number[]): readonly (string | number)[] =>
  Array.isArray(label) ? label : [label]

function labelOf(
  row: Row,
  column: string,
  problemType: ClassificationProblem,
  file: string,
): string | string[] | number | number[] {
  const value = fieldOf(row, column, file)
  const fail = failAt(file, row.line)
  switch (problemType) {
    case 'single_label_classification':
      return nameOf(value, quote(column), fail)
    case 'multi_label_classification':
      return namesOf(value, column, fail)
    case 'regression': {
      const numbers = partsOf(value, fail).map((part) => numberOf(part, column, fail))
      if (numbers.length === 0) throw fail(`expected ${quote(column)} to be a number, but it is empty`)
      return numbers.length === 1 ? numbers[0] : numbers
    }
  }
}

/** What a model has of several labels: a row of flags, of which names could not be told apart. */
const FLAGS: readonly (readonly string[])[] = [
  ['0', '1'],
  ['false', 'true'],
]

/** The labels that apply. A list such as [1, 0, 0] has one value for each label instead. */
function namesOf(value: JsonValue, column: string, fail: Fail): string[] {
  const names = partsOf(value, fail).map((part) => nameOf(part, quote(column), fail))
  const flags = FLAGS.find((each) => names.every((name) => each.includes(name)))
  if (flags === undefined || new Set(names).size === names.length) return names
  throw fail(
    `expected ${quote(column)} to be the labels that apply, each once, but found columns of ${flags.join(' and ')}: ${quote(value)}; write the places of those that apply, e.g. [0], or their names`,
  )
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

const columnsOf = (example: ClassificationExample | undefined): number =>
  Array.isArray(example?.label) ? example.label.length : 1

/**
 * Turns an example's label into what the model takes, by the names of `labels`. Where no name is a number (LABEL_0, ...),
 * a label may be an id too. A label that is neither is a DataError at its line.
 */
export function labelEncoder(labels: LabelSet, file: string): (example: ClassificationExample) => EncodedLabel {
  const { names, problemType } = labels
  const ids = new Map(names.map((name, id) => [name, id]))
  const acceptsIds = !names.some(isNumeric)
  const idOf = (label: string | number, { file: own = file, line }: ClassificationExample): number => {
    const name = String(label)
    const id =
      ids.get(name) ?? (acceptsIds && /^\d{1,9}$/.test(name) && Number(name) < names.length ? Number(name) : undefined)
    if (id !== undefined) return id
    const known = names
      .slice(0, 10)
      .map((each) => quote(each, 30))
      .join(', ')
    const more = names.length > 10 ? `, ... (${names.length} in all)` : ''
    throw new DataError(`label ${quote(name)} is not one of ${known}${more}`, own, line)
  }
  return (example) => {
    const { file: own = file, label, line } = example
    if (label === undefined) throw new DataError('expected a label, but labels were not read', own, line)
    if (problemType === 'regression') return numbersOf(example, names.length, own)
    if (problemType === 'single_label_classification') {
      if (!Array.isArray(label)) return idOf(label, example)
      throw new DataError(`expected one label, but found ${label.length}`, own, line)
    }
    const hot = new Array<number>(names.length).fill(0)
    for (const each of partsOfLabel(label)) hot[idOf(each, example)] = 1
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

/**
 * Finds the labels of a data set, row by row. Regression has one column for each number of a label, called LABEL_0, LABEL_1, ... as
 * Transformers does. `finish` throws DataError where there are fewer than two classes.
 */
export function labelCollector(problemType: ClassificationProblem) {
  const names = new Set<string>()
  let columns = 1
  return {
    names: names as ReadonlySet<string>,
    add(example: ClassificationExample): void {
      if (problemType === 'regression') columns = Math.max(columns, columnsOf(example))
      else for (const name of partsOfLabel(example.label ?? [])) names.add(String(name))
    },
    finish(file: string): LabelSet {
      if (problemType === 'regression')
        return { problemType, names: Array.from({ length: columns }, (_, column) => `LABEL_${column}`) }
      const sorted = sortLabels(names)
      if (sorted.length < 2) {
        const only = sorted.length === 0 ? 'none' : `only ${quote(sorted[0])}`
        throw new DataError(`expected at least two different labels, but found ${only}`, file)
      }
      return { problemType, names: sorted }
    },
  }
}
