// From the logits of a question's windows to its answer: postprocess_qa_predictions of Transformers' question-answering/utils_qa.py.

/** What the model gave for one window of a question's context. */
export interface AnswerWindow {
  /** Of every token, special ones and the question included; the first is [CLS], which means "no answer". */
  readonly startLogits: ArrayLike<number>
  readonly endLogits: ArrayLike<number>
  /** Of each token, its [start, end) in the context, in UTF-16 units; null where it is no token of the context. */
  readonly offsets: readonly (readonly [number, number] | null)[]
}

export interface AnswerOptions {
  /** How many starts, ends and answers are kept to choose from; 20 by default. */
  readonly nBestSize?: number
  /** In tokens; 30 by default. */
  readonly maxAnswerLength?: number
  /** Whether a question may have no answer, as in SQuAD 2.0; false by default. */
  readonly versionTwoWithNegative?: boolean
  /** No answer is given when "no answer" scores more than this above the best answer; 0 by default. */
  readonly nullScoreDiffThreshold?: number
}

export interface Answer {
  /** '' when there is no answer; start and end are 0 then. */
  readonly text: string
  /** [start, end) in the context, in UTF-16 units. */
  readonly start: number
  readonly end: number
  /** Its probability among the best answers, "no answer" being one of them with `versionTwoWithNegative`. */
  readonly score: number
  /** With `versionTwoWithNegative`: what "no answer" scores, the least of the sums of [CLS]'s two logits. */
  readonly nullScore?: number
}

interface Candidate {
  readonly start: number
  readonly end: number
  /** The sum of a start's and an end's logit. */
  readonly score: number
}

/** What one window says: its best answers, best first, and the score of "no answer". */
export interface WindowAnswers {
  readonly candidates: readonly Candidate[]
  readonly nullScore: number
}

const N_BEST_SIZE = 20
const MAX_ANSWER_LENGTH = 30

/** Positions of the `count` greatest logits, greatest first; of equals, the first position first. */
const greatest = (logits: ArrayLike<number>, count: number): number[] =>
  Array.from({ length: logits.length }, (_, i) => i)
    .sort((a, b) => logits[b] - logits[a] || a - b)
    .slice(0, count)

/** The best `count`, best first; equals stay in their order. */
const bestOf = (candidates: Candidate[], count: number): Candidate[] =>
  candidates.sort((a, b) => b.score - a.score).slice(0, count)

/** The best answers of a window: pairs of its `nBestSize` best starts and ends that lie in the context and are not too long. */
export function windowAnswers(
  { startLogits, endLogits, offsets }: AnswerWindow,
  { nBestSize = N_BEST_SIZE, maxAnswerLength = MAX_ANSWER_LENGTH }: AnswerOptions = {},
): WindowAnswers {
  const candidates: Candidate[] = []
  const ends = greatest(endLogits, nBestSize)
  for (const start of greatest(startLogits, nBestSize)) {
    for (const end of ends) {
      const [first, last] = [offsets[start], offsets[end]]
      if (!first || !last || end < start || end - start + 1 > maxAnswerLength) continue
      candidates.push({ start: first[0], end: last[1], score: startLogits[start] + endLogits[end] })
    }
  }
  return { candidates: bestOf(candidates, nBestSize), nullScore: startLogits[0] + endLogits[0] }
}

/**
 * The answer to a question from what its windows say (at least one). Of equal answers the first window's wins, and in a window that of
 * the better start.
 *
 * One difference from Transformers: where no window has an answer that is allowed, it makes up the text "empty" with score 0; here
 * there is no answer then.
 */
export function chooseAnswer(
  context: string,
  windows: readonly WindowAnswers[],
  { nBestSize = N_BEST_SIZE, versionTwoWithNegative = false, nullScoreDiffThreshold = 0 }: AnswerOptions = {},
): Answer {
  const candidates = bestOf(
    windows.flatMap((window) => window.candidates),
    nBestSize,
  )
  const best = candidates.at(0)
  const nullScore = windows.reduce((least, window) => Math.min(least, window.nullScore), Number.POSITIVE_INFINITY)
  const scores = candidates.map(({ score }) => score)
  if (versionTwoWithNegative) {
    // "No answer" takes the place of the worst candidate, or is added behind it where it is worse itself.
    if (scores.length === nBestSize && nullScore > scores[nBestSize - 1]) scores.pop()
    scores.push(nullScore)
  }
  // not Math.max(...scores): there may be more of them than a call takes arguments
  const max = scores.reduce((most, score) => Math.max(most, score), Number.NEGATIVE_INFINITY)
  const total = scores.reduce((sum, score) => sum + Math.exp(score - max), 0)
  const probability = (score: number): number => Math.exp(score - max) / total
  const isNull = versionTwoWithNegative && (!best || nullScore - best.score > nullScoreDiffThreshold)
  const found = best && !isNull ? best : { start: 0, end: 0, score: nullScore }
  return {
    text: context.slice(found.start, found.end),
    start: found.start,
    end: found.end,
    score: best || isNull ? probability(found.score) : 0,
    ...(versionTwoWithNegative ? { nullScore } : {}),
  }
}

/** The answer to a question from the logits of its windows (at least one), in the order of the context. */
export const bestAnswer = (context: string, windows: readonly AnswerWindow[], options: AnswerOptions = {}): Answer =>
  chooseAnswer(
    context,
    windows.map((window) => windowAnswers(window, options)),
    options,
  )
