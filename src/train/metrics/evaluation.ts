import { ArgumentError } from '../../errors.ts'
import { IGNORE_INDEX } from '../../labels.ts'
import type { Tensor } from '../../tensor.ts'

/** What evaluations read of a ragged batch (`ModelBatch`): entry i of each field is that of example i. */
export interface EvaluatedBatch {
  /** Ids of each example's tokens, or of the tokens of each of its choices. */
  readonly inputIds: readonly (readonly (number | readonly number[])[])[]
  readonly labels?: readonly (number | readonly number[])[]
  readonly nextSentenceLabel?: readonly number[]
  readonly startPositions?: readonly number[]
  readonly endPositions?: readonly number[]
}

/** A forward's outputs by the names that its model class gives them, such as logits. */
export type EvaluatedOutputs = Readonly<Record<string, Tensor>>

/**
 * The metrics of one pass over an evaluation set. It is given batch after batch, in the order of the examples, and keeps no more of
 * them than its metrics need; the logits of a language model, [tokens, vocabulary], are gone after `add`.
 */
export interface Evaluation {
  /** Outputs of tokens need only have the rows of those with a label. */
  readonly labelledOnly?: boolean
  /** What the loss of a batch counts for; default: its examples that have a label. One that counts for nothing may have any loss. */
  weigh?(batch: EvaluatedBatch): number
  /** @param loss the batch's mean loss as `forward` gives it, which perplexity is made of. */
  add(batch: EvaluatedBatch, outputs: EvaluatedOutputs, loss: number | null): void | Promise<void>
  /**
   * The metrics by their names in a log, without `eval_` and without the loss.
   * @throws ArgumentError when nothing that was added has a label.
   */
  finish(): Record<string, number> | Promise<Record<string, number>>
}

/** The named output. Throws ArgumentError where the model has none: the evaluation is another task's. */
export function outputOf(outputs: EvaluatedOutputs, name: string): Tensor {
  const output = outputs[name]
  if (output !== undefined) return output
  throw new ArgumentError(`Expected the model to give ${name} but it gives ${Object.keys(outputs).join(', ')}`)
}

/** The named labels, an entry for each example. */
export function labelsIn<Field extends 'labels' | 'nextSentenceLabel'>(
  batch: EvaluatedBatch,
  field: Field,
): NonNullable<EvaluatedBatch[Field]> {
  const labels = batch[field]
  if (labels === undefined)
    throw new ArgumentError(`Expected examples for evaluation to have ${field} but they have none`)
  if (labels.length === batch.inputIds.length) return labels
  throw new ArgumentError(`Expected ${field} for ${batch.inputIds.length} examples but received ${labels.length}`)
}

/** The named labels where each must be one number, a class. */
export function classesIn(batch: EvaluatedBatch, field: 'labels' | 'nextSentenceLabel'): number[] {
  return labelsIn(batch, field).map((label) => {
    if (typeof label === 'number') return label
    throw new ArgumentError(`Expected ${field} to hold one class an example but received ${label.length} numbers`)
  })
}

/** The labels of each sequence's tokens. Throws ArgumentError where they are not one a token. */
export function tokenLabelsIn(batch: EvaluatedBatch): (readonly number[])[] {
  return labelsIn(batch, 'labels').map((row, i) => {
    const tokens = batch.inputIds[i].length
    if (typeof row !== 'number' && row.length === tokens) return row
    throw new ArgumentError(
      `Expected a label for each of ${tokens} tokens but received ${typeof row === 'number' ? 'one number' : row.length}`,
    )
  })
}

/** How many labelled rows were predicted right. Rows labelled -100 are left out, as in the loss. */
export class Hits {
  rows = 0
  private right = 0

  add(prediction: number, label: number): void {
    if (label === IGNORE_INDEX) return
    this.rows++
    if (prediction === label) this.right++
  }

  /** @throws ArgumentError when no row has a label. */
  accuracy(): number {
    if (this.rows === 0) throw new ArgumentError('Expected a label to evaluate with but every label is -100')
    return this.accuracyOfAny()
  }

  /** The same of labels that are made by chance, of which there may be none: NaN then. */
  accuracyOfAny(): number {
    return this.right / this.rows
  }
}
