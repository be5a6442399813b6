import { type JsonValue, kindOf, quote } from '../json.ts'
import { columnOf, type Fail, failAt, fieldOf, hasField, textFrom, textOf } from './fields.ts'
import { type NamedBytes, type ReadOptions, type Row, readRows } from './readers/rows.ts'

/** A situation and its possible continuations or answers. */
export interface ChoiceExample {
  context: string
  /** What stands before each choice: a question about the context, or the beginning of a sentence that the choices end. */
  question?: string
  /** At least two. */
  choices: string[]
  /** Which choice is right, from 0; undefined where it was not asked for. */
  label?: number
  /** The 1-based line where the example begins. */
  line: number
}

export interface ChoiceOptions extends Omit<ReadOptions, 'required'> {
  /** Of the context. Default: "context", "sent1" or "premise". */
  textColumn?: string
  /** Of the question. Default: "question" or "sent2", where there is one. */
  textPairColumn?: string
  labelColumn?: string
  /** 'required' (for training and evaluation), or 'ignored' (for prediction). */
  labels?: 'required' | 'ignored'
}

const CONTEXTS = ['context', 'sent1', 'premise']
const QUESTIONS = ['question', 'sent2']
/** What a list of the choices is called. */
const LISTS = ['choices', 'endings', 'options']

/**
 * Streams the examples of a multiple-choice data set. The choices are a list "choices", "endings" (as in HellaSwag) or "options", or
 * fields "ending0", "ending1", ... as in SWAG, or "choice1", "choice2", ... as in COPA. A missing field, fewer than two choices, or
 * a label that is none of them is a DataError with file and line.
 */
export async function* choiceRows(
  source: string | NamedBytes,
  options: ChoiceOptions = {},
): AsyncGenerator<ChoiceExample> {
  const { textColumn, textPairColumn, labelColumn = 'label', labels = 'required' } = options
  const file = typeof source === 'string' ? source : source.name
  const contexts = textColumn === undefined ? CONTEXTS : [textColumn]
  const required = [textColumn, textPairColumn].filter((name) => name !== undefined)
  if (labels === 'required') required.push(labelColumn)
  for await (const row of readRows(source, { ...options, required })) {
    const fail = failAt(file, row.line)
    const context = columnOf(row, contexts)
    fieldOf(row, context, file, contexts.slice(1))
    const choices = choicesOf(row, file, fail)
    const example: ChoiceExample = { context: textOf(row, context, file), choices, line: row.line }
    const question = textPairColumn ?? QUESTIONS.find((name) => hasField(row, name))
    if (question !== undefined) example.question = textOf(row, question, file)
    if (labels === 'required') {
      example.label = indexOf(fieldOf(row, labelColumn, file), labelColumn, choices.length, fail)
    }
    yield example
  }
}

function choicesOf(row: Row, file: string, fail: Fail): string[] {
  const list = LISTS.map((name) => row.fields[name]).find((value) => Array.isArray(value))
  const choices = list === undefined ? numberedChoices(row, file, fail) : listedChoices(list, fail)
  if (choices.length === 0 && list === undefined) throw fail(withoutChoices(row))
  if (choices.length < 2) throw fail(`expected at least two choices, but found ${choices.length}`)
  return choices
}

/** No option renames the choices, so it says what they have to be called. */
function withoutChoices(row: Row): string {
  const list = LISTS.find((name) => hasField(row, name))
  if (list !== undefined) return `expected ${quote(list)} to be a list, but it is ${kindOf(row.fields[list])}`
  const found = Object.keys(row.fields).slice(0, 20)
  return `expected the choices in a list "choices", "endings" or "options", or in fields "ending0", "ending1", ... or "choice1", "choice2", ..., but found ${found.map((name) => quote(name)).join(', ')}`
}

const listedChoices = (choices: readonly JsonValue[], fail: Fail): string[] =>
  choices.map((choice, index) => textFrom(choice, `choice ${index}`, fail))

const NUMBERED = /^(ending|choice)(0|[1-9]\d{0,8})$/

/**
 * The fields of one name with the numbers that follow each other, from 0 or 1. A table has empty cells where a row has fewer choices
 * than others: after the last choice they are none.
 */
function numberedChoices(row: Row, file: string, fail: Fail): string[] {
  const isThere = (column: string): boolean => hasField(row, column) && String(row.fields[column]).trim() !== ''
  const numbers: Record<string, number[]> = { ending: [], choice: [] }
  for (const column of Object.keys(row.fields)) {
    const [, name, number] = NUMBERED.exec(column) ?? []
    if (name !== undefined && isThere(column)) numbers[name].push(Number(number))
  }
  const name = numbers.ending.length > 0 ? 'ending' : 'choice'
  const found = numbers[name].sort((a, b) => a - b)
  const first = hasField(row, `${name}0`) ? 0 : 1
  return found.map((number, i) => {
    const expected = `${name}${first + i}`
    if (number === first + i) return textOf(row, expected, file)
    const state = row.fields[expected] === undefined ? 'missing' : 'empty'
    throw fail(
      `expected the choices one after another, but found ${quote(`${name}${number}`)}, and ${quote(expected)} is ${state}`,
    )
  })
}

function indexOf(value: JsonValue, column: string, count: number, fail: Fail): number {
  const text = typeof value === 'string' ? value.trim() : value
  const index = typeof text === 'number' || (typeof text === 'string' && /^\d+$/.test(text)) ? Number(text) : Number.NaN
  if (Number.isInteger(index) && index >= 0 && index < count) return index
  throw fail(
    `expected ${quote(column)} to be the number of a choice, from 0 to ${count - 1}, but it is ${quote(value)}`,
  )
}
