import {
  encodeQuestion,
  LEAST_WINDOW,
  type QuestionOptions,
  type QuestionWindow,
} from '../../data/features/questions.ts'
import { type QuestionExample, type QuestionFault, questionRows } from '../../data/question-answering.ts'
import { BertForQuestionAnswering } from '../../session/models.ts'
import { type AnswerOptions, type AnswerWindow, bestAnswer } from '../answers.ts'
import { QuestionAnsweringEvaluation } from '../metrics/question-answering.ts'
import type { Example } from '../types.ts'
import { windowOutputs, withOneLabel } from './shared.ts'
import type { Task, TaskOptions } from './task.ts'

/** A window, and the question that it belongs to: what an evaluation puts together again. */
interface QuestionFeature extends Example {
  readonly offsets: QuestionWindow['offsets']
  readonly question: QuestionExample
}

const isFeature = (example: Example): example is QuestionFeature => 'offsets' in example

const FAULTS: Readonly<Record<QuestionFault['kind'], string>> = {
  moved: 'answers stand elsewhere in their context than the file says, and were taken from there',
  unplaced:
    'answers have no answer_start in the file, and the first place in their context that reads as they do is taken',
  missing: 'answers do not stand in their context, and cannot be learnt',
  repeated: 'questions share an id with another',
}

/** The answer to a question as a stretch of a text. */
export function questionAnswering(options: TaskOptions): Task<QuestionExample> {
  const { docStride, maxAnswerLength, nBestSize, nullScoreDiffThreshold, version2WithNegative } = options
  const windowOptions = (maxLength: number): QuestionOptions => ({ maxLength, docStride })
  const answerOptions = (negative: boolean): AnswerOptions => ({
    maxAnswerLength,
    nBestSize,
    nullScoreDiffThreshold,
    versionTwoWithNegative: version2WithNegative ?? negative,
  })
  return {
    name: 'question-answering',
    model: BertForQuestionAnswering,
    files: '.json (SQuAD), .jsonl or .parquet',
    bestMetric: 'f1',
    metrics: ['exact_match', 'f1', 'HasAns_exact', 'HasAns_f1', 'NoAns_exact', 'NoAns_f1'],
    leastLength: LEAST_WINDOW,
    rowsAreExamples: false,
    async *rows(source, settings, purpose) {
      const onFault = ({ kind }: QuestionFault): void => settings.onFault?.(FAULTS[kind])
      for await (const question of questionRows(source, { ...withOneLabel(settings), purpose, onFault })) {
        if (question.answers?.length === 0 && version2WithNegative === undefined)
          settings.onFault?.(
            'questions have no answer; with --version-2-with-negative predictions leave such ones unanswered, too',
          )
        yield question
      }
    },
    modelFields: () => ({ numLabels: 2 }),
    async *examples(rows, { maxLength, purpose, tokenizer }) {
      let count = 0
      for await (const question of rows) {
        // training needs neither, and has many windows
        for (const { inputs, offsets } of encodeQuestion(question, count, tokenizer, windowOptions(maxLength)))
          yield purpose === 'train' ? inputs : ({ ...inputs, offsets, question } satisfies QuestionFeature)
        count++
      }
    },
    evaluation(examples) {
      const features = examples.filter(isFeature)
      const numbers = new Map<QuestionExample, number>()
      for (const { question } of features) if (!numbers.has(question)) numbers.set(question, numbers.size)
      const questions = Array.from(numbers.keys(), ({ answers = [], context }) => ({
        context,
        answers: answers.map(({ text }) => text),
      }))
      const windows = features.map(({ offsets, question }) => ({ offsets, question: numbers.get(question) ?? 0 }))
      const negative = questions.some(({ answers }) => answers.length === 0)
      return new QuestionAnsweringEvaluation(questions, windows, answerOptions(negative))
    },
    async predict(model, rows, { maxLength, signal, tokenizer }) {
      const answered: object[] = []
      for (const [i, row] of rows.entries()) {
        const windows = encodeQuestion({ ...row, answers: undefined }, i, tokenizer, windowOptions(maxLength))
        const found: AnswerWindow[] = []
        const inputs = windows.map(({ inputs, offsets }) => ({ ...inputs, offsets }))
        for await (const { end, first, outputs, window } of windowOutputs(model, inputs, { signal })) {
          const [startLogits, endLogits] = [outputs.startLogits, outputs.endLogits].map(({ data }) =>
            data.slice(first, end),
          )
          found.push({ startLogits, endLogits, offsets: window.offsets })
        }
        const { end, score, start, text } = bestAnswer(row.context, found, answerOptions(false))
        answered.push({ id: row.id, answer: text, score, start, end })
      }
      return answered
    },
  }
}
