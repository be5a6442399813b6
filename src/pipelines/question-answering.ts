// The answer to a question in a text, by the rules of Transformers 4's question_answering.py, which version 5.3 took out.
import { BOOLEAN } from '../data/tokenizer/options.ts'
import type { BertTokenizer, Encoding } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../errors.ts'
import { Best, softmax } from '../scores.ts'
import { BertForQuestionAnswering } from '../session/models.ts'
import { OFFSET_UNIT, type OffsetUnit, offsetConverter } from './offsets.ts'
import { type Context, checkTexts, infer, POSITIVE, type Task, tokenRowsOf } from './task.ts'

export interface QuestionAnsweringOptions {
  /** How many answers, best first; default 1: one, not in a list. */
  readonly topK?: number
  /** Tokens that windows of a long context share; default 128, or half of maxSeqLen where that is less. */
  readonly docStride?: number
  /** The longest answer, in tokens; default 15. */
  readonly maxAnswerLen?: number
  /** Tokens of a window, question included; default 384, or the model's limit where that is less. */
  readonly maxSeqLen?: number
  /** Tokens to cut a question to; default 64. */
  readonly maxQuestionLen?: number
  /** Whether the answer may be that there is none: '' at 0. Default false. */
  readonly handleImpossibleAnswer?: boolean
  /** Whether an answer begins and ends with whole words; default true. */
  readonly alignToWords?: boolean
  /** What start and end count; default utf16, as JavaScript's strings. */
  readonly offsetUnit?: OffsetUnit
}

export interface QuestionInput {
  readonly question: string
  readonly context: string
}

export interface Answer {
  /** The product of the probabilities of its first and its last token, from 0 to 1. */
  readonly score: number
  /** [start, end) in the context. */
  readonly start: number
  readonly end: number
  readonly answer: string
}

interface Logits {
  readonly start: Float32Array
  readonly end: Float32Array
}

interface Span {
  readonly first: number
  readonly last: number
}

/** The best spans of a window, and how likely it is that it holds no answer. */
function findSpans(
  { inputIds, sequenceIds }: Encoding,
  { start, end }: Logits,
  clsTokenId: number,
  { topK, maxAnswerLen }: { topK: number; maxAnswerLen: number },
): { spans: Best<Span>; nullScore: number } {
  const isContext = sequenceIds.map((id) => id === 1)
  const counts = (i: number) => isContext[i] || inputIds[i] === clsTokenId
  const probabilities = (logits: Float32Array) => softmax(logits.map((logit, i) => (counts(i) ? logit : -10000)))
  const [first, last] = [probabilities(start), probabilities(end)]
  const spans = new Best<Span>(topK)
  for (let i = 0; i < inputIds.length; i++) {
    const limit = isContext[i] ? Math.min(i + maxAnswerLen, inputIds.length) : i
    for (let k = i; k < limit; k++) if (isContext[k]) spans.add(first[i] * last[k], { first: i, last: k })
  }
  return { spans, nullScore: first[0] * last[0] }
}

/** [start, end) of a span in the context; with `words` of the words that it is part of, as far as the window has them. */
function place({ wordIds, sequenceIds, offsets = [] }: Encoding, span: Span, words: boolean): [number, number] {
  let { first, last } = span
  const isSameWord = (a: number, b: number) => sequenceIds[a] === sequenceIds[b] && wordIds[a] === wordIds[b]
  while (words && isSameWord(first, first - 1)) first--
  while (words && isSameWord(last, last + 1)) last++
  return [offsets[first][0], offsets[last][1]]
}

/** A question of at most `limit` tokens. */
function cutQuestion(question: string, limit: number, tokenizer: BertTokenizer): string {
  const { offsets = [] } = tokenizer.encode(question, { addSpecialTokens: false, returnOffsets: true })
  return offsets.length > limit ? question.slice(0, offsets[limit - 1][1]) : question
}

export const questionAnswering: Task<
  BertForQuestionAnswering,
  QuestionInput,
  QuestionAnsweringOptions,
  Logits,
  Answer | Answer[]
> = {
  name: 'question-answering',
  modelClass: BertForQuestionAnswering,
  architectures: ['BertForQuestionAnswering'],
  checks: {
    topK: POSITIVE,
    docStride: ['an integer of at least 0', (value) => Number.isInteger(value) && (value as number) >= 0],
    maxAnswerLen: POSITIVE,
    maxSeqLen: POSITIVE,
    maxQuestionLen: POSITIVE,
    handleImpossibleAnswer: BOOLEAN,
    alignToWords: BOOLEAN,
    offsetUnit: OFFSET_UNIT,
  },
  check({ maxSeqLen }, { model }) {
    const most = model.config.maxPositionEmbeddings
    if (maxSeqLen !== undefined && maxSeqLen > most)
      throw new ArgumentError(`Expected maxSeqLen to be at most ${most}, the model's, but received ${maxSeqLen}`)
  },

  start(input, options, { tokenizer, maxLength }: Context<BertForQuestionAnswering>) {
    const { topK = 1, maxAnswerLen = 15, maxQuestionLen = 64, handleImpossibleAnswer = false } = options
    const { maxSeqLen = Math.min(maxLength, 384), alignToWords = true, offsetUnit = 'utf16' } = options
    const { docStride = Math.min(Math.floor(maxSeqLen / 2), 128) } = options
    checkTexts(input, ['question', 'context'])
    const { question, context } = input
    for (const name of ['question', 'context'] as const)
      if (input[name] === '') throw new ArgumentError(`Expected a ${name} but received an empty text`)
    const encoding = tokenizer.encode(cutQuestion(question, maxQuestionLen, tokenizer), context, {
      truncation: 'only_second',
      maxLength: maxSeqLen,
      stride: docStride,
      returnOverflowingTokens: true,
      returnOffsets: true,
    })
    const windows = [encoding, ...(encoding.overflowing ?? [])]
    return {
      sequences: windows.map(({ inputIds, tokenTypeIds }) => ({ inputIds, tokenTypeIds })),
      finish(logits) {
        const convert = offsetConverter(context, offsetUnit)
        const found = windows.map((each, i) => findSpans(each, logits[i], tokenizer.clsTokenId, { topK, maxAnswerLen }))
        const answers = found.flatMap(({ spans }, i) =>
          spans.ranked.map(({ score, item }) => {
            const [start, end] = place(windows[i], item, alignToWords)
            return { score, start: convert(start), end: convert(end), answer: context.slice(start, end) }
          }),
        )
        const none = { score: Math.min(...found.map(({ nullScore }) => nullScore)), start: 0, end: 0, answer: '' }
        if (handleImpossibleAnswer) answers.push(none)
        const best = answers.sort((a, b) => b.score - a.score).slice(0, topK)
        // a context without a token, as one of spaces, has no answer
        return topK > 1 ? best : (best[0] ?? { ...none, score: 0 })
      },
    }
  },

  async compute(model, sequences, signal) {
    const { startLogits, endLogits } = await infer(model, sequences, signal)
    const ends = tokenRowsOf(endLogits, sequences)
    return tokenRowsOf(startLogits, sequences).map((start, i) => ({ start, end: ends[i] }))
  },
}
