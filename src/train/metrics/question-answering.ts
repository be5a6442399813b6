import { ArgumentError } from '../../errors.ts'
import { slices } from '../../turns.ts'
import { type AnswerOptions, type AnswerWindow, chooseAnswer, type WindowAnswers, windowAnswers } from '../answers.ts'
import { type EvaluatedBatch, type EvaluatedOutputs, type Evaluation, outputOf } from './evaluation.ts'
import { SquadCounter, SquadV2Counter } from './squad.ts'

/** A question to score: where its answer is sought, and the texts of the right ones. */
export interface EvaluatedQuestion {
  readonly context: string
  /** Empty: it has no answer. */
  readonly answers: readonly string[]
}

/** Where an example, a window of a context, is from. */
export interface QuestionWindow {
  /** Index among the questions. */
  readonly question: number
  readonly offsets: AnswerWindow['offsets']
}

/**
 * Extractive question answering: exact_match and f1 of each question's best answer, with `versionTwoWithNegative` by the rules of
 * SQuAD 2.0 and with its HasAns_ and NoAns_ scores. `startLogits` and `endLogits` are [tokens].
 */
export class QuestionAnsweringEvaluation implements Evaluation {
  private readonly found: WindowAnswers[][]
  private added = 0

  /** @param windows one of each example, in the order of the examples; each question has at least one. */
  constructor(
    private readonly questions: readonly EvaluatedQuestion[],
    private readonly windows: readonly QuestionWindow[],
    private readonly options: AnswerOptions = {},
  ) {
    this.found = questions.map(() => [])
  }

  async add(batch: EvaluatedBatch, outputs: EvaluatedOutputs): Promise<void> {
    const starts = outputOf(outputs, 'startLogits').data
    const ends = outputOf(outputs, 'endLogits').data
    const turn = slices()
    let from = 0
    for (const { length } of batch.inputIds) {
      const window = this.windows.at(this.added++)
      if (!window) throw new ArgumentError(`Expected ${this.windows.length} windows to be evaluated but received more`)
      const to = from + length
      const logits = { startLogits: starts.subarray(from, to), endLogits: ends.subarray(from, to) }
      this.found[window.question].push(windowAnswers({ ...logits, offsets: window.offsets }, this.options))
      from = to
      await turn()
    }
  }

  async finish(): Promise<Record<string, number>> {
    if (this.added < this.windows.length)
      throw new ArgumentError(`Expected ${this.windows.length} windows to be evaluated but received ${this.added}`)
    const counter = this.options.versionTwoWithNegative ? new SquadV2Counter() : new SquadCounter()
    const turn = slices()
    for (const [i, { context, answers }] of this.questions.entries()) {
      counter.add(chooseAnswer(context, this.found[i], this.options).text, answers)
      await turn()
    }
    return { ...counter.scores() }
  }
}
