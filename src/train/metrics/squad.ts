// The scores of SQuAD's official evaluation scripts, 1.1 and 2.0, which are also those of `evaluate`'s squad and squad_v2.
import { ArgumentError } from '../../errors.ts'

// Python's string.punctuation
const PUNCTUATION = /[!-/:-@[-`{-~]/g
// Python's \b and \w: JavaScript's know ASCII's letters only
const ARTICLES = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu
// biome-ignore lint/suspicious/noControlCharactersInRegex: Python's str.split() takes these four for white space
const WHITE_SPACE = /[\p{White_Space}\x1c-\x1f]+/u

/**
 * The words that answers are compared by: lower case, without ASCII punctuation and English articles. It is the scripts' rule for
 * every language: Chinese without spaces is one word, so that F1 is as strict as exact match.
 */
const wordsOf = (answer: string): string[] =>
  answer
    .toLowerCase()
    .replace(PUNCTUATION, '')
    .replace(ARTICLES, ' ')
    .split(WHITE_SPACE)
    .filter((word) => word !== '')

/** How many words two answers share, each as often as both have it. */
function shared(a: readonly string[], b: readonly string[]): number {
  const left = new Map<string, number>()
  for (const word of a) left.set(word, (left.get(word) ?? 0) + 1)
  return b.filter((word) => {
    const count = left.get(word) ?? 0
    left.set(word, count - 1)
    return count > 0
  }).length
}

const isSame = (a: readonly string[], b: readonly string[]): number => Number(a.join(' ') === b.join(' '))

const wordF1 = (a: readonly string[], b: readonly string[]): number => {
  const hits = shared(a, b)
  return hits === 0 ? 0 : (2 * hits) / (a.length + b.length)
}

/** In percent, as the scripts give them. */
export interface SquadScores {
  exact_match: number
  f1: number
}

/** Sums of the scores of questions. */
class Total {
  questions = 0
  private exact = 0
  private f1 = 0

  /** The best exact match and the best F1 among the right answers. */
  add(prediction: readonly string[], answers: readonly string[][], f1: typeof wordF1): void {
    this.questions++
    this.exact += Math.max(...answers.map((answer) => isSame(prediction, answer)))
    this.f1 += Math.max(...answers.map((answer) => f1(prediction, answer)))
  }

  scores(): SquadScores {
    if (this.questions === 0) throw new ArgumentError('Expected at least one question to score but received none')
    return { exact_match: (100 * this.exact) / this.questions, f1: (100 * this.f1) / this.questions }
  }
}

/** SQuAD 1.1: each question's best exact match and best F1 of words among its right answers, averaged over the questions. */
export class SquadCounter {
  private readonly all = new Total()

  /** @throws ArgumentError when there is no right answer: `SquadV2Counter` takes such questions. */
  add(prediction: string, answers: readonly string[]): void {
    if (answers.length === 0)
      throw new ArgumentError(
        `Expected each question to have an answer but question ${this.all.questions + 1} has none, as in SQuAD 2.0`,
      )
    this.all.add(wordsOf(prediction), answers.map(wordsOf), wordF1)
  }

  /** @throws ArgumentError when no question was added. */
  scores(): SquadScores {
    return this.all.scores()
  }
}

export interface SquadV2Scores extends SquadScores {
  /** Of the questions that have an answer, when there are some. */
  HasAns_exact?: number
  HasAns_f1?: number
  /** Of those that have none, when there are some: how many were left without one. */
  NoAns_exact?: number
  NoAns_f1?: number
}

const wordF1OrNone = (a: readonly string[], b: readonly string[]): number =>
  a.length === 0 || b.length === 0 ? isSame(a, b) : wordF1(a, b)

/** SQuAD 2.0: the same where a question may have no answer. It is right then to predict none: ''. */
export class SquadV2Counter {
  private readonly all = new Total()
  private readonly answered = new Total()
  private readonly unanswered = new Total()

  /** @param answers the right ones; empty when there is none. */
  add(prediction: string, answers: readonly string[]): void {
    const words = wordsOf(prediction)
    // An answer of which no word is left, such as "the", is none; where all are, none is right.
    const some = answers.map(wordsOf).filter((answer) => answer.length > 0)
    for (const total of [this.all, answers.length > 0 ? this.answered : this.unanswered])
      total.add(words, some.length > 0 ? some : [[]], wordF1OrNone)
  }

  /** @throws ArgumentError when no question was added. */
  scores(): SquadV2Scores {
    const result: SquadV2Scores = this.all.scores()
    if (this.answered.questions > 0) {
      const { exact_match, f1 } = this.answered.scores()
      Object.assign(result, { HasAns_exact: exact_match, HasAns_f1: f1 })
    }
    if (this.unanswered.questions > 0) {
      const { exact_match, f1 } = this.unanswered.scores()
      Object.assign(result, { NoAns_exact: exact_match, NoAns_f1: f1 })
    }
    return result
  }
}
