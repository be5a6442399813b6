import { DataError } from '../errors.ts'
import { type JsonValue, quote } from '../json.ts'
import { type Fail, failAt, fieldOf, hasField, nameOf, numberOf, textOf } from './fields.ts'
import {
  columnsIn,
  type LabelColumn,
  type LabelColumns,
  labelColumnsOf,
  labelsInColumns,
  numbersInColumns,
} from './label-columns.ts'
import {
  areNames,
  type ClassificationProblem,
  idsOfLabels,
  type LabelSet,
  labelKey,
  sortLabels,
} from './label-names.ts'
import { beginsAsList, parseLiteral } from './literals.ts'
import { type NamedBytes, type ReadOptions, type Row, readRows } from './readers/rows.ts'

export interface ClassificationExample {
  text: string
  textPair?: string
  /**
   * As the file has it, split but not yet looked up: one name; a list of names (multi-label); one number or a list of
   * numbers (regression, with one or several columns). undefined where labels were not asked for.
   */
  label?: string | string[] | number | number[]
  /** Where labels or numbers have a column each: their names, all of them. */
  columns?: readonly string[]
  /** The 1-based line where the example begins. */
  line: number
  /** Its file, where there are several. */
  file?: string
}

export interface ClassificationOptions extends Omit<ReadOptions, 'required'> {
  textColumn?: string
  /** Where it is not named, a column "text_pair" is used if there is one. */
  textPairColumn?: string
  /** Default: "label". */
  labelColumn?: LabelColumn
  /** What a label is. Default: one name, or of several columns those whose cell is 1. */
  problemType?: ClassificationProblem | null
  /** 'required' (for training and evaluation), or 'ignored' (for prediction). */
  labels?: 'required' | 'ignored'
  /** Called for a label that may not be meant as it is read; `what` tells why. */
  onFault?: (what: string) => void
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
  const columns = labels === 'required' ? labelColumnsOf(labelColumn, options.problemType) : undefined
  const required = [textColumn, ...(textPairColumn === undefined ? [] : [textPairColumn])]
  // of names that may be one, the rows tell which columns there are
  if (columns !== undefined && columns.written === undefined) required.push(...columns.names)
  for await (const row of readRows(source, { ...options, required })) {
    const example: ClassificationExample = { text: textOf(row, textColumn, file), line: row.line }
    if (textPairColumn !== undefined || hasField(row, 'text_pair')) {
      example.textPair = textOf(row, textPairColumn ?? 'text_pair', file)
    }
    if (columns !== undefined) Object.assign(example, labelledBy(row, columns, options, file))
    yield example
  }
}

function labelledBy(
  row: Row,
  given: LabelColumns,
  options: ClassificationOptions,
  file: string,
): Pick<ClassificationExample, 'label' | 'columns'> {
  const { problemType } = options
  const columns = columnsIn(row, given)
  if (columns.length === 1) return { label: labelOf(row, columns[0], options, file) }
  const fail = failAt(file, row.line)
  if (problemType === 'regression') return { label: numbersInColumns(row, columns, file, fail), columns }
  const hint = problemType ? '' : '; numbers need --problem-type regression'
  return { label: labelsInColumns(row, columns, file, fail, hint), columns }
}

/** What to do where each example has several labels, in a list. */
export const SEVERAL_LABELS =
  'several labels need --problem-type multi_label_classification (problemType, in a call of the library)'

const partsOfLabel = (label: string | string[] | number | number[]): readonly (string | number)[] =>
  Array.isArray(label) ? label : [label]

function labelOf(
  row: Row,
  column: string,
  { onFault, problemType }: ClassificationOptions,
  file: string,
): string | string[] | number | number[] {
  const value = fieldOf(row, column, file)
  const fail = failAt(file, row.line)
  switch (problemType ?? 'single_label_classification') {
    case 'single_label_classification':
      if (Array.isArray(value) && !problemType)
        throw fail(`expected ${quote(column)} to be a name or a number, but it is a list; ${SEVERAL_LABELS}`)
      return nameOf(value, quote(column), fail)
    case 'multi_label_classification':
      return namesOf(value, column, fail, onFault)
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
const INSTEAD_OF_FLAGS =
  'write the places of those that apply, e.g. [0], or their names, or give each label a column and name them all'
const SPACED_FLAGS = /^[01](?:[\s;|]+[01])+$/
/** What other programs put between labels; a space alone belongs to a name. */
const SEPARATED = /[;|]|^\d+(?:\s+\d+)+$/

/** The labels that apply. A list such as [1, 0, 0] has one value for each label instead. */
function namesOf(value: JsonValue, column: string, fail: Fail, onFault?: (what: string) => void): string[] {
  const parts = partsOf(value, fail)
  const names = parts.map((part) => nameOf(part, quote(column), fail))
  const keys = names.map(labelKey)
  const flags = FLAGS.find((each) => keys.every((key) => each.includes(key)))
  const isBooleans = names.length > 1 && parts.every((part) => typeof part === 'boolean')
  if (flags !== undefined && (isBooleans || new Set(keys).size < keys.length))
    throw fail(
      `expected ${quote(column)} to be the labels that apply, each once, but found columns of ${flags.join(' and ')}: ${quote(value)}; ${INSTEAD_OF_FLAGS}`,
    )
  // names in a list are what they are
  if (typeof value !== 'string' || beginsAsList(value)) return names
  if (names.some((name) => SPACED_FLAGS.test(name)))
    throw fail(
      `expected ${quote(column)} to be the labels that apply, with commas between them, but found columns of 0 and 1: ${quote(value)}; ${INSTEAD_OF_FLAGS}`,
    )
  if (names.some((name) => SEPARATED.test(name)))
    onFault?.(
      'labels have ";", "|" or spaces between numbers in them and are taken for one name each; between several labels are commas',
    )
  return names
}

/** Tells two columns of flags, [1, 0] and [0, 1], of which each row seems to have both labels. */
export class FlagPairs {
  #rows = 0
  #pairs = 0
  #falling = 0

  add({ columns, label }: ClassificationExample): void {
    this.#rows++
    // what columns are called is no flag
    if (columns !== undefined || !Array.isArray(label) || label.length !== 2) return
    const keys = label.map((part) => labelKey(String(part)))
    if (!FLAGS.some((each) => each.every((flag) => keys.includes(flag)))) return
    this.#pairs++
    if (keys[0] > keys[1]) this.#falling++
  }

  /** Whether all rows are such pairs; with `falling`, some of which nobody would write as labels in their order. */
  areAll({ falling = false } = {}): boolean {
    return this.#rows > 0 && this.#pairs === this.#rows && (!falling || this.#falling > 0)
  }

  error(file: string): DataError {
    return new DataError(
      `expected the labels that apply, but every row has both 0 and 1, or false and true, as two columns would; ${INSTEAD_OF_FLAGS}`,
      file,
    )
  }
}

/** Tells one column of flags from labels: of a model of several, each row seems to have its first or its second. */
export class FlagColumn {
  #rows = 0
  #flags = 0

  add({ columns, label }: ClassificationExample): void {
    this.#rows++
    const [part, ...others] = label === undefined ? [] : partsOfLabel(label)
    if (columns === undefined && others.length === 0 && FLAGS.flat().includes(labelKey(String(part)))) this.#flags++
  }

  /** Whether all rows are flags, and none of the labels is called so. */
  isOneOf(names: readonly string[]): boolean {
    return this.#rows > 0 && this.#flags === this.#rows && names.length > 1 && areNames(names)
  }

  error(names: readonly string[], file: string): DataError {
    return new DataError(
      `expected a column for each label, but one column has 0 and 1, or false and true, alone; name them all (--label-column): ${names.slice(0, 10).join(', ')}`,
      file,
    )
  }
}

/** The parts of "2,5", of "[2, 5]" in JSON or Python's notation, and of a JSON array; an empty cell has none. */
function partsOf(value: JsonValue, fail: Fail): JsonValue[] {
  if (typeof value !== 'string') return Array.isArray(value) ? value : [value]
  const text = value.trim()
  if (text === '') return []
  if (!beginsAsList(text)) return text.split(',')
  const parsed = parseLiteral(text, (reason) => fail(`the label ${quote(text)} begins like a list, but is ${reason}`))
  return Array.isArray(parsed) ? parsed : [parsed]
}

const columnsOf = (example: ClassificationExample | undefined): number =>
  Array.isArray(example?.label) ? example.label.length : 1

/** Turns an example's label into what the model takes, by `idsOfLabels`. A label that is none of them is a DataError at its line. */
export function labelEncoder(
  labels: LabelSet,
  file: string,
  onFault?: (what: string) => void,
): (example: ClassificationExample) => EncodedLabel {
  const { names, problemType } = labels
  const idOfName = idsOfLabels(names, onFault)
  const idOf = (label: string | number, { file: own = file, line }: ClassificationExample): number => {
    const name = String(label)
    const id = idOfName(name)
    if (id !== undefined) return id
    const known = names
      .slice(0, 10)
      .map((each) => quote(each, 30))
      .join(', ')
    const more = names.length > 10 ? `, ... (${names.length} in all)` : ''
    throw new DataError(`label ${quote(name)} is not one of ${known}${more}`, own, line)
  }
  let checked: readonly string[] | undefined
  /** A label without a column would be one that never applies. */
  const checkColumns = (columns: readonly string[], example: ClassificationExample): void => {
    const ids = columns.map((column) => idOf(column, example))
    const missing = names.find((_, id) => !ids.includes(id))
    if (missing === undefined) checked = columns
    else
      throw new DataError(
        `expected a column for each label, but ${quote(missing)} has none among ${quote(columns)}; name them all (--label-column)`,
        example.file ?? file,
        example.line,
      )
  }
  return (example) => {
    const { columns, file: own = file, label, line } = example
    if (label === undefined) throw new DataError('expected a label, but labels were not read', own, line)
    if (problemType === 'regression') return numbersOf(example, names, own)
    if (problemType === 'single_label_classification') {
      if (!Array.isArray(label)) return idOf(label, example)
      throw new DataError(`expected one label, but found ${label.length}`, own, line)
    }
    if (columns !== undefined && columns !== checked) checkColumns(columns, example)
    const hot = new Array<number>(names.length).fill(0)
    for (const each of partsOfLabel(label)) hot[idOf(each, example)] = 1
    return hot
  }
}

/** The numbers in the order of `names`, where these are the columns that they stand in. */
function numbersOf(example: ClassificationExample, names: readonly string[], file: string): EncodedLabel {
  const columns = names.length
  const fail = (reason: string) => new DataError(reason, file, example.line)
  const found = columnsOf(example)
  if (found !== columns) {
    throw fail(`expected ${columns} ${columns === 1 ? 'number' : 'numbers'} as the label, but found ${found}`)
  }
  const numbers = partsOfLabel(example.label ?? []).map(Number)
  if (!numbers.every(Number.isFinite)) throw fail(`expected a number as the label, but found ${quote(example.label)}`)
  if (columns === 1) return numbers[0]
  const places = names.map((name) => example.columns?.indexOf(name) ?? -1)
  return places.includes(-1) ? numbers : places.map((place) => numbers[place])
}

/**
 * Finds the labels of a data set, row by row. Of labels with a column each all columns are labels, also of which no row has a 1.
 * Regression has names for the numbers of a label: of their columns, or LABEL_0, LABEL_1, ... as Transformers does. `finish` throws
 * DataError where there are fewer than two classes, or a number is written in two ways.
 */
export function labelCollector(given: ClassificationProblem | undefined) {
  const names = new Set<string>()
  const spellings = new Map<string, string>()
  const pairs = new FlagPairs()
  let twice: { name: string; other: string; example: ClassificationExample } | undefined
  let columns: readonly string[] | undefined
  let numbers = 1
  const addName = (name: string, example: ClassificationExample): void => {
    if (names.has(name)) return
    names.add(name)
    const other = spellings.get(labelKey(name))
    if (other === undefined) spellings.set(labelKey(name), name)
    else twice ??= { name, other, example }
  }
  return {
    names: names as ReadonlySet<string>,
    add(example: ClassificationExample): void {
      columns ??= example.columns
      if (given === 'regression') numbers = Math.max(numbers, columnsOf(example))
      else for (const name of example.columns ?? partsOfLabel(example.label ?? [])) addName(String(name), example)
      pairs.add(example)
    },
    finish(file: string): LabelSet {
      if (given === 'regression') {
        const generated = Array.from({ length: numbers }, (_, column) => `LABEL_${column}`)
        return { problemType: given, names: columns?.length === numbers ? [...columns] : generated }
      }
      if (twice !== undefined)
        throw new DataError(
          `expected each label to be written in one way, but ${quote(twice.name)} here is the same number as ${quote(twice.other)} before`,
          twice.example.file ?? file,
          twice.example.line,
        )
      if (pairs.areAll()) throw pairs.error(file)
      const sorted = sortLabels(names)
      if (sorted.length < 2) {
        const only = sorted.length === 0 ? 'none' : `only ${quote(sorted[0])}`
        throw new DataError(`expected at least two different labels, but found ${only}`, file)
      }
      const several = columns === undefined ? 'single_label_classification' : 'multi_label_classification'
      return { problemType: given ?? several, names: sorted }
    },
  }
}
