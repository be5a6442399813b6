import { ArgumentError } from '../../errors.ts'
import { argmax } from '../../scores.ts'
import { classesIn, type EvaluatedBatch, type EvaluatedOutputs, type Evaluation, Hits, outputOf } from './evaluation.ts'

/**
 * Multiple choice: accuracy. `logits` are [examples, choices] or, where examples differ in their number of choices, [sequences]: the
 * same numbers in the same order, a run of them for the choices of each example.
 */
export class MultipleChoiceEvaluation implements Evaluation {
  private readonly hits = new Hits()

  add(batch: EvaluatedBatch, outputs: EvaluatedOutputs): void {
    const labels = classesIn(batch, 'labels')
    const { data, shape } = outputOf(outputs, 'logits')
    const sequences = batch.inputIds.reduce((sum, choices) => sum + choices.length, 0)
    if (data.length !== sequences)
      throw new ArgumentError(`Expected logits of ${sequences} choices but received [${shape}]`)
    let start = 0
    for (const [i, { length }] of batch.inputIds.entries()) {
      this.hits.add(argmax(data, start, length), labels[i])
      start += length
    }
  }

  finish(): { accuracy: number } {
    return { accuracy: this.hits.accuracy() }
  }
}
