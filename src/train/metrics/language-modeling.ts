import { ArgumentError } from '../../errors.ts'
import { countLabelled, IGNORE_INDEX } from '../../labels.ts'
import { argmax } from '../../scores.ts'
import type { Tensor } from '../../tensor.ts'
import { slices } from '../../turns.ts'
import {
  type EvaluatedBatch,
  type EvaluatedOutputs,
  type Evaluation,
  Hits,
  outputOf,
  tokenLabelsIn,
} from './evaluation.ts'

/** The perplexity of a mean cross-entropy per token, in nats. */
export const perplexity = (meanLoss: number): number => Math.exp(meanLoss)

/**
 * Counts the greatest logits that are their row's target, giving the event loop turns: a row is as wide as a vocabulary.
 *
 * @param logits a row for each target, or a row only for each that is not -100. The shape's last number is the vocabulary's size.
 */
export async function countHits(hits: Hits, { data, shape }: Tensor, targets: readonly number[]): Promise<void> {
  const V = shape.at(-1) ?? 0
  const rows = data.length / V
  const labelled = targets.filter((target) => target !== IGNORE_INDEX)
  if (rows !== targets.length && rows !== labelled.length)
    throw new ArgumentError(
      `Expected logits of ${targets.length} tokens, or of the ${labelled.length} labelled ones, but received [${shape}]`,
    )
  const turn = slices()
  for (const [row, target] of (rows === targets.length ? targets : labelled).entries()) {
    if (target === IGNORE_INDEX) continue
    hits.add(argmax(data, row * V, V), target)
    await turn()
  }
}

/** What each token of a causal model is scored with: the label of the token after it. */
const shifted = (labels: readonly number[]): number[] => labels.map((_, i) => labels[i + 1] ?? IGNORE_INDEX)

/**
 * Masked and causal language models: perplexity, of the mean loss of all labelled tokens, and accuracy, the fraction of them whose
 * greatest logit is right. `logits` are [tokens, vocabulary] or the rows of labelled tokens alone.
 *
 * Both are NaN where nothing has a label: the masks of few words may be none.
 *
 * With `causal`, labels are those of the tokens themselves and a row is scored with the next token's, as in BertLMHeadModel's loss.
 */
export class LanguageModelEvaluation implements Evaluation {
  readonly labelledOnly: boolean
  private readonly hits = new Hits()
  private readonly causal: boolean
  private lossSum = 0

  constructor({ causal = false }: { causal?: boolean } = {}) {
    this.causal = causal
    this.labelledOnly = !causal
  }

  /** Predicted tokens: the loss is that of a token, whatever the size of batches. */
  weigh(batch: EvaluatedBatch): number {
    return countLabelled(this.#targets(batch))
  }

  #targets(batch: EvaluatedBatch): readonly number[] {
    return tokenLabelsIn(batch).flatMap((labels) => (this.causal ? shifted(labels) : labels))
  }

  async add(batch: EvaluatedBatch, outputs: EvaluatedOutputs, loss: number | null): Promise<void> {
    if (loss === null)
      throw new ArgumentError('Expected the model to compute a loss for the perplexity but it has none')
    const before = this.hits.rows
    const targets = this.#targets(batch)
    await countHits(this.hits, outputOf(outputs, 'logits'), targets)
    if (this.hits.rows > before) this.lossSum += loss * (this.hits.rows - before)
  }

  finish(): { perplexity: number; accuracy: number } {
    const accuracy = this.hits.accuracyOfAny()
    return { perplexity: perplexity(this.lossSum / this.hits.rows), accuracy }
  }
}
