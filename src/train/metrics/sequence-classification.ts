import { ArgumentError } from '../../errors.ts'
import { IGNORE_INDEX } from '../../labels.ts'
import type { ProblemType } from '../../model/config.ts'
import type { Tensor } from '../../tensor.ts'
import { accuracy, argmaxRows, matthews, multiLabelScores, precisionRecallF1 } from './classification.ts'
import { type EvaluatedBatch, type EvaluatedOutputs, type Evaluation, labelsIn, outputOf } from './evaluation.ts'
import { mean, type Numbers } from './numbers.ts'
import { meanSquaredError, pearson, spearman } from './regression.ts'

const column = (values: Numbers, index: number, C: number): Float64Array =>
  Float64Array.from({ length: values.length / C }, (_, row) => values[row * C + index])

/**
 * The metrics of sequence classification, keyed as they are logged (without `eval_` and without the loss).
 *
 * - single_label_classification, labels [N] of ids: accuracy, f1 (macro), matthews. Rows labelled -100 are left out, as in the loss.
 * - multi_label_classification, labels [N, C] of 0 and 1: f1_micro, f1_macro, accuracy (all columns right). A logit above 0, a
 *   probability above one half, is a yes.
 * - regression, labels [N, C]: pearson, spearman (each the mean over the columns), mse.
 *
 * @param logits [N, C]
 * @throws ArgumentError when the labels do not fit the logits, or no labelled row is left.
 */
export function classificationMetrics(
  problemType: ProblemType,
  logits: Tensor<Numbers>,
  labels: Numbers,
): Record<string, number> {
  const [N, C] = logits.shape
  if (logits.shape.length !== 2 || logits.data.length !== N * C)
    throw new ArgumentError(
      `Expected logits of shape [N, C] but received [${logits.shape}] with ${logits.data.length} values`,
    )
  const expected = problemType === 'single_label_classification' ? N : N * C
  if (labels.length !== expected)
    throw new ArgumentError(
      `Expected ${expected} labels for logits of shape [${logits.shape}] but received ${labels.length}`,
    )
  switch (problemType) {
    case 'single_label_classification': {
      const kept = Array.from({ length: N }, (_, row) => row).filter((row) => labels[row] !== IGNORE_INDEX)
      const best = argmaxRows(logits)
      const predictions = kept.map((row) => best[row])
      const wanted = kept.map((row) => labels[row])
      return {
        accuracy: accuracy(predictions, wanted),
        f1: precisionRecallF1(predictions, wanted, { average: 'macro' }).f1,
        matthews: matthews(predictions, wanted),
      }
    }
    case 'multi_label_classification': {
      const decisions = Uint8Array.from(logits.data, (logit) => (logit > 0 ? 1 : 0))
      const { f1Micro, f1Macro, subsetAccuracy } = multiLabelScores(decisions, labels, C)
      return { f1_micro: f1Micro, f1_macro: f1Macro, accuracy: subsetAccuracy }
    }
    case 'regression': {
      const overColumns = (metric: (x: Numbers, y: Numbers) => number): number =>
        mean(Array.from({ length: C }, (_, i) => metric(column(logits.data, i, C), column(labels, i, C))))
      return {
        pearson: overColumns(pearson),
        spearman: overColumns(spearman),
        mse: meanSquaredError(logits.data, labels),
      }
    }
    default:
      throw new ArgumentError(
        `Expected a problem type, regression, single_label_classification or multi_label_classification, but received ${String(problemType)}`,
      )
  }
}

/** Sequence classification: `classificationMetrics` of the logits [sequences, labels] of all batches together. */
export class SequenceClassificationEvaluation implements Evaluation {
  private readonly logits: Float32Array[] = []
  private readonly labels: number[] = []
  private columns = 0

  constructor(private readonly problemType: ProblemType) {}

  add(batch: EvaluatedBatch, outputs: EvaluatedOutputs): void {
    const { data, shape } = outputOf(outputs, 'logits')
    this.columns = shape[1]
    this.logits.push(data)
    for (const row of labelsIn(batch, 'labels')) this.labels.push(...(typeof row === 'number' ? [row] : row))
  }

  finish(): Record<string, number> {
    const data = new Float32Array(this.logits.reduce((sum, { length }) => sum + length, 0))
    let at = 0
    for (const each of this.logits) {
      data.set(each, at)
      at += each.length
    }
    const logits = { data, shape: [data.length / this.columns, this.columns] }
    return classificationMetrics(this.problemType, logits, this.labels)
  }
}
