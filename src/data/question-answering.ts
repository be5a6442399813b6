import { DataError } from '../errors.ts'
import { isJsonObject, type JsonObject, type JsonValue, kindOf, quote } from '../json.ts'
import { type Fail, failAt, nameOf, textOf } from './fields.ts'
import { parseLiteral } from './literals.ts'
import { type NamedBytes, type ReadOptions, type Row, readRows } from './readers/rows.ts'

export interface Answer {
  text: string
  /** Where it begins in the context, in UTF-16 units; -1: nowhere (see `QuestionOptions.purpose`). */
  answerStart: number
}

export interface QuestionExample {
  /** The file's "id" or "guid", or the 1-based number of the question. */
  id: string
  question: string
  context: string
  /** None: the context does not answer the question. undefined where they were not asked for. */
  answers?: Answer[]
  /** The 1-based line where the example begins, of a SQuAD file that where its article begins. */
  line: number
}

/** An answer that does not stand where the file says, or a question that cannot be told from another. */
export interface QuestionFault {
  /**
   * 'moved': to the nearest place where the answer stands. 'unplaced': the file does not say where, so that the first place is taken.
   * 'missing': the context does not have it. 'repeated': the id of the question.
   */
  kind: 'moved' | 'unplaced' | 'missing' | 'repeated'
  id: string
  line: number
}

export interface QuestionOptions extends Omit<ReadOptions, 'required'> {
  /** Of the question. Of SQuAD's nested files no name can be chosen. */
  textColumn?: string
  /** Of the context. */
  textPairColumn?: string
  /** Of the answers. */
  labelColumn?: string
  /**
   * - 'train': an answer that its context does not have is left out, and so is a question that has no other.
   * - 'evaluate': every question and the text of every answer is given, with answerStart -1 where the context does not have it:
   *   metrics compare texts. Each question is scored by itself, also where two have the same id, which is a fault.
   * - 'predict': answers are not read.
   */
  purpose?: 'train' | 'evaluate' | 'predict'
  /** Called for each answer that had to be moved or is missing, and each id that was there before, so that they can be counted. */
  onFault?: (fault: QuestionFault) => void
}

/** A question as the file has it. */
interface Question {
  id: JsonValue | undefined
  question: string
  context: string
  /** undefined: not there. */
  answers: JsonValue | undefined
  isImpossible: boolean
  fail: Fail
}

/**
 * Streams the questions of SQuAD 1.1 and 2.0 files ({data: [{paragraphs: [{context, qas: [...]}]}]}), or flat rows
 * {id?, question, context, answers}, where answers are {text, answer_start}, a list of them or, as of the package `datasets`,
 * {text: [...], answer_start: [...]}; in a cell of a table in JSON's or Python's notation. answer_start counts Unicode code points. A
 * malformed question is a DataError with file and line.
 */
export async function* questionRows(
  source: string | NamedBytes,
  options: QuestionOptions = {},
): AsyncGenerator<QuestionExample> {
  const { textColumn = 'question', textPairColumn = 'context', labelColumn = 'answers', purpose = 'train' } = options
  const file = typeof source === 'string' ? source : source.name
  const names = { textColumn, textPairColumn, labelColumn }
  const ids = new Set<string>()
  let count = 0
  for await (const row of readRows(source, { ...options, required: [textColumn, textPairColumn] })) {
    for (const found of questionsOf(row, names, file)) {
      const { question, context, fail } = found
      count++
      const id = found.id === undefined ? String(count) : nameOf(found.id, '"id"', fail)
      const example: QuestionExample = { id, question, context, line: row.line }
      const report = (kind: QuestionFault['kind']): void => options.onFault?.({ kind, id, line: row.line })
      if (purpose === 'evaluate') {
        if (ids.has(id)) report('repeated')
        ids.add(id)
      }
      if (purpose !== 'predict') {
        const given = answersOf(found, labelColumn)
        const placed = given.map((answer) => placeAnswer(answer, context, report))
        example.answers = purpose === 'train' ? placed.filter(({ answerStart }) => answerStart >= 0) : placed
        if (example.answers.length === 0 && given.length > 0) continue
      }
      yield example
    }
  }
}

type Names = Required<Pick<QuestionOptions, 'textColumn' | 'textPairColumn' | 'labelColumn'>>

function* questionsOf(row: Row, names: Names, file: string): Generator<Question> {
  const { fields, line } = row
  if (Array.isArray(fields.paragraphs)) {
    for (const [index, paragraph] of fields.paragraphs.entries())
      yield* questionsOfParagraph(paragraph, line, file, `paragraphs[${index}]`)
  } else if (Array.isArray(fields.qas)) {
    yield* questionsOfParagraph(fields, line, file, 'the paragraph')
  } else {
    yield {
      id: idOf(fields),
      question: textOf(row, names.textColumn, file),
      context: textOf(row, names.textPairColumn, file),
      answers: fields[names.labelColumn],
      isImpossible: isTrue(fields.is_impossible),
      fail: failAt(file, line),
    }
  }
}

function* questionsOfParagraph(paragraph: JsonValue, line: number, file: string, where: string): Generator<Question> {
  const failIn = (place: string) => (reason: string) => new DataError(`${place}: ${reason}`, file, line)
  if (!isJsonObject(paragraph)) throw failIn(where)(`expected an object, but found ${kindOf(paragraph)}`)
  const { context, qas } = paragraph
  checkFields(paragraph, ['context', 'qas'], failIn(where))
  if (typeof context !== 'string')
    throw failIn(where)(`expected "context" to be a string, but it is ${kindOf(context)}`)
  if (!Array.isArray(qas)) throw failIn(where)(`expected "qas" to be a list, but it is ${kindOf(qas)}`)
  for (const [index, each] of qas.entries()) {
    const fail = failIn(`${where}.qas[${index}]`)
    if (!isJsonObject(each)) throw fail(`expected an object, but found ${kindOf(each)}`)
    checkFields(each, ['question'], fail)
    const { question, answers, is_impossible: impossible } = each
    if (typeof question !== 'string') throw fail(`expected "question" to be a string, but it is ${kindOf(question)}`)
    yield { id: idOf(each), question, context, answers, isImpossible: isTrue(impossible), fail }
  }
}

/** Throws where one of `names` is missing, with those that are there: of nested files none can be chosen. */
function checkFields(object: Readonly<JsonObject>, names: readonly string[], fail: Fail): void {
  const missing = names.find((name) => object[name] === undefined)
  if (missing === undefined) return
  const found = Object.keys(object).slice(0, 20)
  throw fail(
    `expected a field ${quote(missing)}, as SQuAD calls it, but found ${found.map((name) => quote(name)).join(', ') || 'none'}`,
  )
}

/** KLUE-MRC calls it "guid". */
const idOf = ({ guid, id }: Readonly<JsonObject>): JsonValue | undefined => id ?? guid ?? undefined

/** Of JSON, or of a cell of a table. */
const isTrue = (value: JsonValue | undefined): boolean =>
  value === true || (typeof value === 'string' && value.trim().toLowerCase() === 'true')

/** The answers as the file has them; `start` is in code points, -1 where it is not given. */
function answersOf({ answers, isImpossible, fail }: Question, column: string): { text: string; start: number }[] {
  if (isImpossible) return []
  const read = pairsOf(answers, column, fail).map(([text, start = -1]) => {
    if (typeof text !== 'string') throw fail(`expected the text of an answer to be a string, but it is ${kindOf(text)}`)
    if (start !== null && !Number.isInteger(start)) {
      throw fail(`expected answer_start to be a whole number, but it is ${quote(start)}`)
    }
    return { text, start: Number(start ?? -1) }
  })
  // Some data sets say so that a question has no answer.
  return read.filter(({ text }) => text !== '')
}

type AnswerPair = readonly [text: JsonValue | undefined, start: JsonValue | undefined]

function pairsOf(answers: JsonValue | undefined, column: string, fail: Fail): AnswerPair[] {
  if (typeof answers === 'string' && /^\s*[[{]/.test(answers)) {
    const parsed = parseLiteral(answers, (reason) => fail(`${quote(column)} begins like JSON, but is ${reason}`))
    return pairsOf(parsed, column, fail)
  }
  if (Array.isArray(answers))
    return answers.map((answer) => {
      if (isJsonObject(answer)) return [answer.text, answer.answer_start]
      throw fail(`expected an answer to be an object {text, answer_start}, but it is ${kindOf(answer)}`)
    })
  const { text, answer_start: starts } = isJsonObject(answers) ? answers : {}
  if (typeof text === 'string') return [[text, starts]]
  if (Array.isArray(text) && (starts === undefined || Array.isArray(starts)))
    return text.map((each, index) => [each, starts?.[index]])
  throw fail(
    `expected ${quote(column)} to be a list of {text, answer_start}, or lists {text: [...], answer_start: [...]}, but it is ${kindOf(answers)}`,
  )
}

function placeAnswer(
  { text, start }: { text: string; start: number },
  context: string,
  report: (kind: QuestionFault['kind']) => void,
): Answer {
  const place = start < 0 ? -1 : utf16Offset(context, start)
  if (place >= 0 && context.startsWith(text, place)) return { text, answerStart: place }
  const before = place > 0 ? context.lastIndexOf(text, place) : -1
  const after = context.indexOf(text, Math.max(place, 0))
  report(before < 0 && after < 0 ? 'missing' : start < 0 ? 'unplaced' : 'moved')
  const isBefore = before >= 0 && (after < 0 || place - before <= after - place)
  return { text, answerStart: isBefore ? before : after }
}

/** Where code point number `count` begins, in UTF-16 units; the length of the text where it has fewer. */
function utf16Offset(text: string, count: number): number {
  let at = 0
  for (let left = count; left > 0 && at < text.length; left--) at += text.codePointAt(at)! > 0xffff ? 2 : 1
  return at
}
