// The answer to a question in a text, by the rules of Transformers 4's question_answering.py, which version 5.3 took out.
import { pairOf } from '../data/features/pair.ts'
import type { BertTokenizer, Encoding } from '../data/tokenizer/tokenizer.ts'
import { cut, type Window } from '../data/tokenizer/truncation.ts'
import { ArgumentError } from '../errors.ts'
import { atLeast, BOOLEAN } from '../options.ts'
import { softmax } from '../scores.ts'
import { BertForQuestionAnswering } from '../session/models.ts'
import { Best } from './best.ts'
import { OFFSET_UNIT, type OffsetUnit, offsetConverter } from './offsets.ts'
import { type Context, checkTexts, infer, type Pause, type Sequence, type Task, tokenRowsOf } from './task.ts'

export interface QuestionAnsweringOptions {
  /** How many answers, best first; default 1: one, not in a list. */
  readonly topK?: number
  /** Tokens that windows of a long context share; default 128, or half of maxSeqLen, or half of what a long question leaves of it. */
  readonly docStride?: number
  /** The longest answer, in tokens; default 15. */
  readonly maxAnswerLen?: number
  /** Tokens of a window, question included; default 384, or the model's limit where that is less. */
  readonly maxSeqLen?: number
  /** Tokens to cut a question to; default 64, or half of a window that has no room for more. */
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

/** Tokens of the context, found in a window of it. */
interface Span {
  readonly first: number
  readonly last: number
  readonly window: Window
}

/** A question and a context as ids, and how the context is cut into windows. */
interface Encoded {
  readonly question: readonly number[]
  readonly context: Encoding
  readonly windows: readonly Window[]
}

type WindowOptions = Pick<QuestionAnsweringOptions, 'docStride' | 'maxQuestionLen'> & { readonly maxSeqLen: number }

/**
 * Only the context is cut. Where the defaults leave it no windows that progress, Transformers fails; here a question is cut to at most
 * half of a window, and windows share at most half of what is left to them. (Questions that are learned leave a quarter at least.)
 */
function encode(
  { question, context }: QuestionInput,
  tokenizer: BertTokenizer,
  { docStride, maxSeqLen, maxQuestionLen }: WindowOptions,
): Encoded {
  const idsOf = (text: string, returnOffsets: boolean) =>
    tokenizer.encode(text, { addSpecialTokens: false, truncation: false, returnOffsets })
  const whole = idsOf(question, false).inputIds
  const encoding = idsOf(context, true)
  const room = maxSeqLen - 3
  const most = maxQuestionLen ?? (Math.min(whole.length, 64) < room ? 64 : Math.max(Math.floor(room / 2), 1))
  const questionIds = whole.slice(0, most)
  const left = room - questionIds.length
  if (left < 1)
    throw new ArgumentError(
      `Expected maxSeqLen to leave room beside ${questionIds.length} tokens of the question and 3 special ones but received ${maxSeqLen}`,
    )
  const usual = Math.min(Math.floor(maxSeqLen / 2), 128)
  const stride = docStride ?? (usual < left ? usual : Math.floor(left / 2))
  const { length } = encoding.inputIds
  if (stride >= left && length > left)
    throw new ArgumentError(
      `Expected docStride below ${left}, the tokens that the question leaves to a window, but received ${stride}`,
    )
  return { question: questionIds, context: encoding, windows: cut(length, left, stride, tokenizer.truncationSide) }
}

/** `[CLS] question [SEP] window [SEP]` of each window. */
function* sequencesOf({ question, context, windows }: Encoded, tokenizer: BertTokenizer): Generator<Sequence> {
  for (const { from, to } of windows) yield pairOf(question, context.inputIds.slice(from, to), tokenizer)
}

interface Search {
  readonly best: Best<Span | undefined>
  readonly maxAnswerLen: number
  readonly clsTokenId: number
  readonly pause: Pause
}

/** Adds the spans of a window, in tokens of the context, to `best`; how likely it is that the window holds no answer. */
async function findSpans(
  { question }: Encoded,
  window: Window,
  { start, end }: Logits,
  { best, maxAnswerLen, clsTokenId, pause }: Search,
): Promise<number> {
  const begin = question.length + 2
  const stop = begin + window.to - window.from
  // a [CLS] that the question itself has counts as the tokenizer's does
  const counts = (i: number) => i === 0 || (i >= begin && i < stop) || question[i - 1] === clsTokenId
  const probabilities = (logits: Float32Array) => softmax(logits.map((logit, i) => (counts(i) ? logit : -10000)))
  const [first, last] = [probabilities(start), probabilities(end)]
  const shift = window.from - begin
  for (let i = begin; i < stop; i++) {
    const limit = Math.min(i + maxAnswerLen, stop)
    for (let k = i; k < limit; k++) {
      const score = first[i] * last[k]
      if (best.takes(score)) best.add(score, { first: i + shift, last: k + shift, window })
    }
    await pause()
  }
  return first[0] * last[0]
}

/** [start, end) of a span in the context; with `words` of the words that it is part of, as far as its window has them. */
function place({ wordIds, offsets = [] }: Encoding, { first, last, window }: Span, words: boolean): [number, number] {
  let [from, to] = [first, last]
  while (words && from > window.from && wordIds[from - 1] === wordIds[first]) from--
  while (words && to + 1 < window.to && wordIds[to + 1] === wordIds[last]) to++
  return [offsets[from][0], offsets[to][1]]
}

const NO_ANSWER = { start: 0, end: 0, answer: '' }

/** Tokens of a window where the caller does not say. `limit`: the model's. */
const defaultLength = (limit: number): number => Math.min(limit, 384)

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
    topK: atLeast(1),
    docStride: atLeast(0),
    maxAnswerLen: atLeast(1),
    maxSeqLen: atLeast(1),
    maxQuestionLen: atLeast(1),
    handleImpossibleAnswer: BOOLEAN,
    alignToWords: BOOLEAN,
    offsetUnit: OFFSET_UNIT,
  },
  check({ maxSeqLen, docStride }, { model, maxLength }) {
    const most = model.config.maxPositionEmbeddings
    if (maxSeqLen !== undefined && maxSeqLen > most)
      throw new ArgumentError(`Expected maxSeqLen to be at most ${most}, the model's, but received ${maxSeqLen}`)
    const room = (maxSeqLen ?? defaultLength(maxLength)) - 3
    if (docStride !== undefined && docStride > 0 && docStride >= room)
      throw new ArgumentError(
        `Expected docStride below ${room}, maxSeqLen less 3 special tokens, but received ${docStride}`,
      )
  },

  start(input, options, { tokenizer, maxLength }: Context<BertForQuestionAnswering>) {
    const { topK = 1, docStride, maxAnswerLen = 15, maxQuestionLen, handleImpossibleAnswer = false } = options
    const { maxSeqLen = defaultLength(maxLength), alignToWords = true, offsetUnit = 'utf16' } = options
    checkTexts(input, ['question', 'context'])
    const { context } = input
    for (const name of ['question', 'context'] as const)
      if (input[name] === '') throw new ArgumentError(`Expected a ${name} but received an empty text`)
    const encoded = encode(input, tokenizer, { docStride, maxSeqLen, maxQuestionLen })
    return {
      sequences: sequencesOf(encoded, tokenizer),
      async finish(logits, pause) {
        const best = new Best<Span | undefined>(topK)
        const search = { best, maxAnswerLen, clsTokenId: tokenizer.clsTokenId, pause }
        let nullScore = Number.POSITIVE_INFINITY
        for (const [i, window] of encoded.windows.entries())
          nullScore = Math.min(nullScore, await findSpans(encoded, window, logits[i], search))
        // no answer is the last one of equal scores
        if (handleImpossibleAnswer) best.add(nullScore, undefined)
        const convert = offsetConverter(context, offsetUnit)
        const answers = (await best.ranked(pause)).map(({ score, item }): Answer => {
          if (item === undefined) return { score, ...NO_ANSWER }
          const [start, end] = place(encoded.context, item, alignToWords)
          return { score, start: convert(start), end: convert(end), answer: context.slice(start, end) }
        })
        // a context without a token, as one of spaces, has no answer
        return topK > 1 ? answers : (answers[0] ?? { score: 0, ...NO_ANSWER })
      },
    }
  },

  async compute({ model }, sequences, signal) {
    const { startLogits, endLogits } = await infer(model, sequences, signal)
    const ends = tokenRowsOf(endLogits, sequences)
    return tokenRowsOf(startLogits, sequences).map((start, i) => ({ start, end: ends[i] }))
  },
}
