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
import { countHits, countTargets } from './language-modeling.ts'

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

/**
 * Pre-training: mlm_accuracy of predictionLogits, [tokens, vocabulary] or the rows of labelled tokens alone, and nsp_accuracy of
 * seqRelationshipLogits [sequences, 2].
 */
export class PreTrainingEvaluation implements Evaluation {
  readonly labelledOnly = true
  private readonly words = new Hits()
  private readonly pairs = new Hits()

  /** Masked tokens, on which most of the loss hangs. */
  weigh(batch: EvaluatedBatch): number {
    return countTargets(tokenLabelsIn(batch).flat())
  }

  async add(batch: EvaluatedBatch, outputs: EvaluatedOutputs): Promise<void> {
    const relationships = argmaxRows(outputOf(outputs, 'seqRelationshipLogits'))
    countRows(this.pairs, relationships, classesIn(batch, 'nextSentenceLabel'))
    await countHits(this.words, outputOf(outputs, 'predictionLogits'), tokenLabelsIn(batch).flat())
  }

  finish(): { mlm_accuracy: number; nsp_accuracy: number } {
    return { mlm_accuracy: this.words.accuracy(), nsp_accuracy: this.pairs.accuracy() }
  }
}
