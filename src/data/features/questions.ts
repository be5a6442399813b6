// Questions and contexts as windows of tokens. Transformers' examples/pytorch/question-answering/run_qa.py: prepare_train_features.

import type { BertTokenizer } from '../tokenizer/tokenizer.ts'
import { cut } from '../tokenizer/truncation.ts'
import { checkAtLeast, type SequenceExample } from './example.ts'
import { pairOf } from './pair.ts'

/** A question about a context; `answerStart` counts UTF-16 units. */
export interface QuestionInput {
  readonly question: string
  readonly context: string
  /** The first is learned. None at all: the question is impossible; undefined: labels were not asked for. */
  readonly answers?: readonly { readonly text: string; readonly answerStart: number }[]
}

export interface QuestionOptions {
  /** Tokens of a window, special ones included. */
  readonly maxLength: number
  /** Tokens that neighbouring windows share. Default: 128, but at most half of what the question leaves of a window. */
  readonly docStride?: number
  /** Tokens that a question is cut to if the context would get no window wider than `docStride`; default 64. */
  readonly maxQuestionLength?: number
}

/** `[CLS] question [SEP] part of the context [SEP]`. */
export interface QuestionWindow {
  /** With startPositions and endPositions where the answers are known. */
  readonly inputs: SequenceExample
  /** Of each token its [start, end) in the context, in UTF-16 units; null for what is not context. */
  readonly offsets: readonly (readonly [number, number] | null)[]
  /** The example that it is a window of. */
  readonly example: number
}

/** Tokens of the context in one window, and where they are. */
interface ContextPart {
  readonly offsets: readonly (readonly [number, number])[]
  /** Place of the first of them among all tokens of the window. */
  readonly first: number
}

/**
 * First and last token of the answer, which lies at `start` to `end` of the context; [0, 0], [CLS], if it does not lie in this window
 * as a whole. run_qa.py goes on past the end of the context where the answer begins with its last token; here the answer is that token.
 */
function positionsOf({ offsets, first }: ContextPart, start: number, end: number): [number, number] {
  const last = offsets.length - 1
  if (start === end || last < 0 || offsets[0][0] > start || offsets[last][1] < end) return [0, 0]
  let from = 0
  while (from < last && offsets[from + 1][0] <= start) from++
  let to = last
  while (to > 0 && offsets[to - 1][1] >= end) to--
  return [first + from, first + to]
}

/** The least `maxLength`: three special tokens, one of the question, and one of the context. */
export const LEAST_WINDOW = 5

/** run_qa.py's. */
const DOC_STRIDE = 128

/**
 * How many tokens of a question are kept, and how many neighbouring windows share. As asked for, if that leaves windows of the context
 * that progress; where nothing was, if it leaves them a quarter of a window. Otherwise Transformers fails; here a question is cut, to
 * at most half of the window, and then windows share at most half of what is left to them, as they do where nobody asked.
 */
function splitRoom(question: number, context: number, options: QuestionOptions): { kept: number; stride: number } {
  const { maxLength, docStride, maxQuestionLength = 64 } = options
  const room = maxLength - 3
  const isWhole = room - question > (docStride ?? maxLength / 4) || room - question >= context
  const kept = isWhole ? question : Math.min(question, maxQuestionLength, Math.floor(room / 2))
  if (isWhole && docStride !== undefined) return { kept, stride: docStride }
  return { kept, stride: Math.min(docStride ?? DOC_STRIDE, Math.floor((room - kept) / 2)) }
}

/**
 * The windows of one question: only the context is cut. `example` is its number, for whoever puts windows together again.
 * @throws ArgumentError for options that leave no room.
 */
export function encodeQuestion(
  { question, context, answers }: QuestionInput,
  example: number,
  tokenizer: BertTokenizer,
  options: QuestionOptions,
): QuestionWindow[] {
  checkAtLeast('maxLength', options.maxLength, LEAST_WINDOW)
  checkAtLeast('docStride', options.docStride ?? DOC_STRIDE, 0)
  checkAtLeast('maxQuestionLength', options.maxQuestionLength ?? 64, 1)
  const whole = { addSpecialTokens: false, truncation: false, returnOffsets: true }
  const { inputIds: questionIds } = tokenizer.encode(question, { ...whole, returnOffsets: false })
  const { inputIds: contextIds, offsets = [] } = tokenizer.encode(context, whole)
  const { kept, stride } = splitRoom(questionIds.length, contextIds.length, options)
  const asked = questionIds.slice(0, kept)
  const first = kept + 2
  const windows = cut(contextIds.length, options.maxLength - kept - 3, stride, tokenizer.truncationSide)
  return windows.map(({ from, to }) => {
    const part = { offsets: offsets.slice(from, to), first }
    return {
      inputs: { ...pairOf(asked, contextIds.slice(from, to), tokenizer), ...labelsOf(part, answers) },
      offsets: [...new Array<null>(first).fill(null), ...part.offsets, null],
      example,
    }
  })
}

function labelsOf(
  part: ContextPart,
  answers: QuestionInput['answers'],
): { startPositions?: number; endPositions?: number } {
  if (answers === undefined) return {}
  if (answers.length === 0) return { startPositions: 0, endPositions: 0 }
  const { text, answerStart } = answers[0]
  const [startPositions, endPositions] = positionsOf(part, answerStart, answerStart + text.length)
  return { startPositions, endPositions }
}
