import { ArgumentError } from '../../errors.ts'
import { IGNORE_INDEX } from '../../labels.ts'
import { argmaxRows } from './classification.ts'
import { type EvaluatedBatch, type EvaluatedOutputs, type Evaluation, outputOf, tokenLabelsIn } from './evaluation.ts'
import { SpanCounter, type SpanScores } from './spans.ts'

/**
 * Token classification: f1, precision and recall of spans and accuracy of tags, over the tokens with a label. `logits` are
 * [tokens, labels]; an example is a sentence.
 */
export class TokenClassificationEvaluation implements Evaluation {
  private readonly spans = new SpanCounter()

  /** @param names the tags by their class, as in config.json's id2label. */
  constructor(private readonly names: readonly string[]) {}

  add(batch: EvaluatedBatch, outputs: EvaluatedOutputs): void {
    const logits = outputOf(outputs, 'logits')
    const sentences = tokenLabelsIn(batch)
    const tokens = sentences.reduce((sum, { length }) => sum + length, 0)
    if (logits.shape[0] !== tokens || logits.shape[1] !== this.names.length)
      throw new ArgumentError(
        `Expected logits of shape [${tokens},${this.names.length}] but received [${logits.shape}]`,
      )
    const classes = argmaxRows(logits)
    let start = 0
    for (const labels of sentences) {
      const kept = [...labels.keys()].filter((i) => labels[i] !== IGNORE_INDEX)
      this.spans.add(
        kept.map((i) => this.names[classes[start + i]]),
        kept.map((i) => this.names[labels[i]]),
      )
      start += labels.length
    }
  }

  /** What `finish` is made of, with the scores of each type. */
  scores(): SpanScores {
    return this.spans.scores()
  }

  finish(): { f1: number; precision: number; recall: number; accuracy: number } {
    const { f1, precision, recall, accuracy } = this.scores()
    return { f1, precision, recall, accuracy }
  }
}
