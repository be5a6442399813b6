import { ArgumentError } from '../../errors.ts'
import { countLabelled, IGNORE_INDEX } from '../../labels.ts'
import type { Tensor } from '../../tensor.ts'
import { argmaxRows } from './classification.ts'
import {
  classesIn,
  type EvaluatedBatch,
  type EvaluatedOutputs,
  type Evaluation,
  Hits,
  outputOf,
  tokenLabelsIn,
} from './evaluation.ts'
import { countHits } from './language-modeling.ts'

function countRows(hits: Hits, predictions: Int32Array, labels: readonly number[]): void {
  for (const [row, label] of labels.entries()) hits.add(predictions[row], label)
}

/** Next-sentence prediction: accuracy of logits [sequences, 2]. */
export class NextSentenceEvaluation implements Evaluation {
  private readonly hits = new Hits()

  add(batch: EvaluatedBatch, outputs: EvaluatedOutputs): void {
    countRows(this.hits, argmaxRows(outputOf(outputs, 'logits')), classesIn(batch, 'labels'))
  }

  finish(): { accuracy: number } {
    return { accuracy: this.hits.accuracy() }
  }
}

/** The sum of the cross-entropies of logits [rows, 2], of the rows whose label is not -100. */
function sumOfLosses({ data }: Tensor, labels: readonly number[]): number {
  return labels.reduce((sum, label, row) => {
    if (label === IGNORE_INDEX) return sum
    const behind = data[2 * row + 1 - label] - data[2 * row + label]
    return sum + Math.max(behind, 0) + Math.log1p(Math.exp(-Math.abs(behind)))
  }, 0)
}

/**
 * Pre-training: mlm_accuracy of predictionLogits, [tokens, vocabulary] or the rows of labelled tokens alone, and nsp_accuracy of
 * seqRelationshipLogits [sequences, 2]; and the loss in its two parts, mlm_loss of a hidden token and nsp_loss of a pair. mlm_loss is
 * what nsp_loss leaves of the loss, of smoothed labels where the loss is. Those of hidden tokens are NaN where chance hid none.
 */
export class PreTrainingEvaluation implements Evaluation {
  readonly labelledOnly = true
  private readonly words = new Hits()
  private readonly pairs = new Hits()
  private wordLosses = 0
  private pairLosses = 0

  /** Masked tokens, on which most of the loss hangs. */
  weigh(batch: EvaluatedBatch): number {
    return countLabelled(tokenLabelsIn(batch).flat())
  }

  async add(batch: EvaluatedBatch, outputs: EvaluatedOutputs, loss: number | null): Promise<void> {
    if (loss === null) throw new ArgumentError('Expected the model to compute a loss but it has none')
    const relationships = outputOf(outputs, 'seqRelationshipLogits')
    const labels = classesIn(batch, 'nextSentenceLabel')
    const [words, pairs] = [this.words.rows, this.pairs.rows]
    countRows(this.pairs, argmaxRows(relationships), labels)
    await countHits(this.words, outputOf(outputs, 'predictionLogits'), tokenLabelsIn(batch).flat())
    const losses = sumOfLosses(relationships, labels)
    this.pairLosses += losses
    if (this.words.rows > words)
      this.wordLosses += (loss - losses / Math.max(this.pairs.rows - pairs, 1)) * (this.words.rows - words)
  }

  finish(): { mlm_accuracy: number; mlm_loss: number; nsp_accuracy: number; nsp_loss: number } {
    return {
      mlm_accuracy: this.words.accuracyOfAny(),
      mlm_loss: this.wordLosses / this.words.rows,
      nsp_accuracy: this.pairs.accuracy(),
      nsp_loss: this.pairLosses / this.pairs.rows,
    }
  }
}
