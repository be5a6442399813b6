import { isJsonObject, type JsonObject, type JsonValue, kindOf, quote } from '../json.ts'
import { columnOf, type Fail, failAt, fieldOf, hasField, nameOf, textFrom, textOf } from './fields.ts'
import { idsOfLabels } from './label-names.ts'
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

export interface ChoiceOptions extends Omit<ReadOptions, 'required' | 'requiredOne'> {
  /** Of the context. Default: one of `CONTEXTS`, else the question alone. */
  textColumn?: string
  /** Of the question. Default: "question" or "sent2", where there is one that is not the context. */
  textPairColumn?: string
  /** Default: "label", "answerKey" or "answer". */
  labelColumn?: string
  /** 'required' (for training and evaluation), or 'ignored' (for prediction). */
  labels?: 'required' | 'ignored'
}

/** SWAG's, COPA's, RACE's, HellaSwag's and PIQA's. */
const CONTEXTS = ['context', 'sent1', 'premise', 'article', 'ctx', 'goal']
/** Of questions that are about nothing but themselves; the second is OpenBookQA's. */
const QUESTIONS_ALONE = ['question', 'question_stem']
const QUESTIONS = ['question', 'sent2']
const LABELS = ['label', 'answerKey', 'answer']
/** What a list of the choices is called. */
const LISTS = ['choices', 'endings', 'options']
/** What choices in fields of their own are called, before their number: SWAG's, COPA's, PIQA's and CosmosQA's. */
const FIELDS = ['ending', 'choice', 'sol', 'answer']
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'

/**
 * Streams the examples of a multiple-choice data set. The choices are a list "choices", "endings" (as in HellaSwag) or "options" (RACE),
 * whose elements may have labels of their own, {label, text} (ARC, CommonsenseQA), or fields "ending0", "ending1", ... as in SWAG, or
 * "choice1", "choice2", ... as in COPA. The label is a choice's own, else its number from 0, or its letter. A missing field, fewer than two
 * choices, or a label that is none of them is a DataError with file and line.
 */
export async function* choiceRows(
  source: string | NamedBytes,
  options: ChoiceOptions = {},
): AsyncGenerator<ChoiceExample> {
  const { textColumn, textPairColumn, labelColumn, labels = 'required' } = options
  const file = typeof source === 'string' ? source : source.name
  const contexts = textColumn === undefined ? [...CONTEXTS, ...QUESTIONS_ALONE] : [textColumn]
  const labelColumns = labelColumn === undefined ? LABELS : [labelColumn]
  const given = [textColumn, textPairColumn, labels === 'required' ? labelColumn : undefined]
  const required = given.filter((name) => name !== undefined)
  for await (const read of readRows(source, { ...options, required, requiredOne: contexts })) {
    const row = withPlainQuestion(read)
    const fail = failAt(file, row.line)
    const context = columnOf(row, contexts)
    fieldOf(row, context, file, contexts.slice(1))
    const choices = choicesOf(row, file, fail)
    const example: ChoiceExample = { context: textOf(row, context, file), choices: choices.texts, line: row.line }
    const question = textPairColumn ?? QUESTIONS.find((name) => name !== context && hasField(row, name))
    if (question !== undefined) example.question = textOf(row, question, file)
    if (labels === 'required') {
      const column = columnOf(row, labelColumns)
      example.label = indexOf(fieldOf(row, column, file, labelColumns.slice(1)), column, choices, fail)
    }
    yield example
  }
}

/** CommonsenseQA and ARC have the choices within the question: {stem, choices}. */
function withPlainQuestion({ fields, line }: Row): Row {
  const { question } = fields
  if (!isJsonObject(question) || typeof question.stem !== 'string') return { fields, line }
  const { choices, stem } = question
  return { fields: Object.assign(Object.create(null), { choices }, fields, { question: stem }), line }
}

interface Choices {
  readonly texts: string[]
  /** What the row calls them itself. */
  readonly names?: readonly string[]
  /** The fields that they are in, which the classes of COPA's label are called by. */
  readonly fields?: readonly string[]
}

const isList = (value: JsonValue | undefined): value is JsonValue[] | { text: JsonValue[]; label?: JsonValue } =>
  Array.isArray(value) || (isJsonObject(value) && Array.isArray(value.text))

function choicesOf(row: Row, file: string, fail: Fail): Choices {
  const list = LISTS.map((name) => row.fields[name]).find(isList)
  const choices = list === undefined ? numberedChoices(row, file, fail) : listedChoices(list, fail)
  const { length } = choices.texts
  if (length === 0 && list === undefined) throw fail(withoutChoices(row))
  if (length < 2) throw fail(`expected at least two choices, but found ${length}`)
  return choices
}

/** No option renames the choices, so it says what they have to be called. */
function withoutChoices(row: Row): string {
  const list = LISTS.find((name) => hasField(row, name))
  if (list !== undefined) return `expected ${quote(list)} to be a list, but it is ${kindOf(row.fields[list])}`
  const found = Object.keys(row.fields).slice(0, 20)
  return `expected the choices in a list "choices", "endings" or "options", or in fields "ending0", "ending1", ... or "choice1", "choice2", ... (or "sol" or "answer" with numbers), but found ${found.map((name) => quote(name)).join(', ')}`
}

/** Of a list of texts, a list of {label, text}, or lists {label: [...], text: [...]}. */
function listedChoices(list: JsonValue[] | { text: JsonValue[]; label?: JsonValue }, fail: Fail): Choices {
  const areObjects = (values: JsonValue[]): values is JsonObject[] => values.length > 0 && values.every(isJsonObject)
  if (!Array.isArray(list)) return namedChoices(list.text, list.label, fail)
  if (!areObjects(list)) return namedChoices(list, undefined, fail)
  const names = list.flatMap(({ label }) => label ?? [])
  return namedChoices(
    list.map(({ text }) => text ?? null),
    names.length === 0 ? undefined : names,
    fail,
  )
}

function namedChoices(texts: readonly JsonValue[], labels: JsonValue | undefined, fail: Fail): Choices {
  const choices = { texts: texts.map((text, index) => textFrom(text, `choice ${index}`, fail)) }
  if (labels === undefined || labels === null) return choices
  if (!Array.isArray(labels) || labels.length !== texts.length)
    throw fail(`expected a label for each of ${texts.length} choices, but found ${quote(labels)}`)
  return { ...choices, names: labels.map((label, index) => nameOf(label, `the label of choice ${index}`, fail)) }
}

const NUMBERED = new RegExp(`^(${FIELDS.join('|')})(0|[1-9]\\d{0,8})$`)

/**
 * The fields of one name with the numbers that follow each other, from 0 or 1. A table has empty cells where a row has fewer choices
 * than others: after the last choice they are none.
 */
function numberedChoices(row: Row, file: string, fail: Fail): Choices {
  const isThere = (column: string): boolean => hasField(row, column) && String(row.fields[column]).trim() !== ''
  const numbers = new Map(FIELDS.map((name) => [name, [] as number[]]))
  for (const column of Object.keys(row.fields)) {
    const [, name, number] = NUMBERED.exec(column) ?? []
    if (name !== undefined && isThere(column)) numbers.get(name)?.push(Number(number))
  }
  const [name, found] = [...numbers].find(([, { length }]) => length > 0) ?? [FIELDS[0], []]
  found.sort((a, b) => a - b)
  const first = hasField(row, `${name}0`) ? 0 : 1
  const fields = found.map((number, i) => {
    const expected = `${name}${first + i}`
    if (number === first + i) return expected
    const state = row.fields[expected] === undefined ? 'missing' : 'empty'
    throw fail(
      `expected the choices one after another, but found ${quote(`${name}${number}`)}, and ${quote(expected)} is ${state}`,
    )
  })
  return { texts: fields.map((field) => textOf(row, field, file)), fields }
}

/** The place of the right choice, by what the row calls its choices, else by letters or fields; where these are no numbers, by its number. */
function indexOf(value: JsonValue, column: string, choices: Choices, fail: Fail): number {
  const { fields = [], names, texts } = choices
  const { length } = texts
  const letters = texts.map((_, i) => LETTERS[i] ?? `choice ${i}`)
  if (typeof value === 'string' || typeof value === 'number')
    for (const known of names === undefined ? [letters, fields] : [names]) {
      const index = idsOfLabels(known)(String(value).trim())
      if (index !== undefined) return index
    }
  const expected =
    names === undefined
      ? `the number of a choice, from 0 to ${length - 1}, or its letter`
      : `the label of a choice, one of ${quote(names)}`
  throw fail(`expected ${quote(column)} to be ${expected}, but it is ${quote(value)}`)
}
