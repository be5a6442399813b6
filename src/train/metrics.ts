// Metrics of classification and regression: pure functions over whole evaluation sets, with scikit-learn's and SciPy's conventions.
import { ArgumentError } from '../errors.ts'
import type { Tensor } from '../tensor.ts'

type Numbers = ArrayLike<number>

/** What a sequence classifier's logits mean; the names of config.json's `problem_type`. */
export type ProblemType = 'regression' | 'single_label_classification' | 'multi_label_classification'

/** How the scores of several classes become one. */
export type Average = 'binary' | 'macro' | 'micro' | 'weighted'

export interface PrecisionRecallF1 {
  precision: number
  recall: number
  f1: number
}

const IGNORED_LABEL = -100

/** A ratio whose denominator may be 0, which counts as 0 (scikit-learn's default for undefined scores). */
const ratio = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole)

const sum = (values: Numbers): number => {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i]
  return total
}

const mean = (values: Numbers): number => sum(values) / values.length

function checkPaired(metric: string, predictions: Numbers, labels: Numbers): void {
  if (predictions.length !== labels.length || labels.length === 0)
    throw new ArgumentError(
      `${metric}: expected as many predictions as labels, at least one, but received ${predictions.length} and ${labels.length}`,
    )
}

/** True positives, predicted and labelled rows of each class that occurs. */
interface ClassCounts {
  hits: number
  predicted: number
  labelled: number
}

function countClasses(predictions: Numbers, labels: Numbers): Map<number, ClassCounts> {
  const counts = new Map<number, ClassCounts>()
  const of = (label: number): ClassCounts => {
    let found = counts.get(label)
    if (!found) {
      found = { hits: 0, predicted: 0, labelled: 0 }
      counts.set(label, found)
    }
    return found
  }
  for (let i = 0; i < labels.length; i++) {
    of(predictions[i]).predicted++
    of(labels[i]).labelled++
    if (predictions[i] === labels[i]) of(labels[i]).hits++
  }
  return counts
}

function scores({ hits, predicted, labelled }: ClassCounts): PrecisionRecallF1 {
  return { precision: ratio(hits, predicted), recall: ratio(hits, labelled), f1: ratio(2 * hits, predicted + labelled) }
}

const addCounts = (counts: readonly ClassCounts[]): ClassCounts => ({
  hits: sum(counts.map((one) => one.hits)),
  predicted: sum(counts.map((one) => one.predicted)),
  labelled: sum(counts.map((one) => one.labelled)),
})

/** The mean of the classes' scores, each with its weight. */
function averageScores(counts: readonly ClassCounts[], weights: readonly number[]): PrecisionRecallF1 {
  const all = counts.map(scores)
  const weighted = (key: keyof PrecisionRecallF1): number =>
    ratio(sum(all.map((score, i) => score[key] * weights[i])), sum(weights))
  return { precision: weighted('precision'), recall: weighted('recall'), f1: weighted('f1') }
}

/** Fraction of predictions equal to their label. */
export function accuracy(predictions: Numbers, labels: Numbers): number {
  checkPaired('accuracy', predictions, labels)
  let hits = 0
  for (let i = 0; i < labels.length; i++) if (predictions[i] === labels[i]) hits++
  return hits / labels.length
}

/**
 * Precision, recall and F1 of class ids [N] against label ids [N]. A score with denominator 0 is 0.
 *
 * `binary` scores the class `positive` alone; `macro` is the mean over the classes that occur in either array, `weighted` the same
 * with each class counted as often as it is labelled; `micro` counts all decisions together.
 */
export function precisionRecallF1(
  predictions: Numbers,
  labels: Numbers,
  { average = 'binary', positive = 1 }: { average?: Average; positive?: number } = {},
): PrecisionRecallF1 {
  checkPaired('precisionRecallF1', predictions, labels)
  const counts = countClasses(predictions, labels)
  const classes = [...counts.values()]
  switch (average) {
    case 'binary':
      return scores(counts.get(positive) ?? { hits: 0, predicted: 0, labelled: 0 })
    case 'macro':
      return averageScores(
        classes,
        classes.map(() => 1),
      )
    case 'weighted':
      return averageScores(
        classes,
        classes.map((one) => one.labelled),
      )
    case 'micro':
      return scores(addCounts(classes))
    default:
      throw new ArgumentError(`Expected average to be binary, macro, micro or weighted but received ${String(average)}`)
  }
}

/**
 * Matthews correlation coefficient of class ids [N], for any number of classes (Gorodkin 2004); 0 where it is undefined, when all
 * predictions or all labels are one class.
 */
export function matthews(predictions: Numbers, labels: Numbers): number {
  checkPaired('matthews', predictions, labels)
  const N = labels.length
  const classes = [...countClasses(predictions, labels).values()]
  const hits = sum(classes.map((one) => one.hits))
  const both = sum(classes.map((one) => one.predicted * one.labelled))
  const predicted = N * N - sum(classes.map((one) => one.predicted ** 2))
  const labelled = N * N - sum(classes.map((one) => one.labelled ** 2))
  return ratio(hits * N - both, Math.sqrt(predicted) * Math.sqrt(labelled))
}

function isConstant(values: Numbers): boolean {
  for (let i = 1; i < values.length; i++) if (values[i] !== values[0]) return false
  return true
}

/** Pearson's correlation of two series [N]; NaN where it is undefined, when either is constant. */
export function pearson(x: Numbers, y: Numbers): number {
  checkPaired('pearson', x, y)
  // Deviations from a rounded mean need not be 0, so a constant series is recognised by its values.
  if (isConstant(x) || isConstant(y)) return Number.NaN
  const meanX = mean(x)
  const meanY = mean(y)
  let xy = 0
  let xx = 0
  let yy = 0
  for (let i = 0; i < x.length; i++) {
    const dx = x[i] - meanX
    const dy = y[i] - meanY
    xy += dx * dy
    xx += dx * dx
    yy += dy * dy
  }
  // Rounding may carry a perfect correlation past 1.
  const r = xy / (Math.sqrt(xx) * Math.sqrt(yy))
  return Math.min(1, Math.max(-1, r))
}

/** Ranks from 1; equal values share the mean of their ranks. */
function ranks(values: Numbers): Float64Array {
  const order = Uint32Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a] - values[b])
  const result = new Float64Array(values.length)
  for (let start = 0, end = 0; start < order.length; start = end) {
    while (end < order.length && values[order[end]] === values[order[start]]) end++
    for (let i = start; i < end; i++) result[order[i]] = (start + 1 + end) / 2
  }
  return result
}

/** Spearman's rank correlation of two series [N], ties sharing their mean rank; NaN when either is constant. */
export function spearman(x: Numbers, y: Numbers): number {
  checkPaired('spearman', x, y)
  return pearson(ranks(x), ranks(y))
}

/** Mean of the squared differences of two arrays of any one shape. */
export function meanSquaredError(predictions: Numbers, targets: Numbers): number {
  checkPaired('meanSquaredError', predictions, targets)
  let total = 0
  for (let i = 0; i < targets.length; i++) total += (predictions[i] - targets[i]) ** 2
  return total / targets.length
}

/**
 * Scores of 0/1 decisions [N, C] against 0/1 labels [N, C]: F1 over all decisions together (`f1Micro`), the mean of the columns' F1
 * (`f1Macro`, a column with neither label nor decision counts as 0) and the fraction of rows that are right in every column.
 */
export function multiLabelScores(
  decisions: Numbers,
  labels: Numbers,
  C: number,
): { f1Micro: number; f1Macro: number; subsetAccuracy: number } {
  checkPaired('multiLabelScores', decisions, labels)
  if (!Number.isInteger(C) || C < 1 || labels.length % C !== 0)
    throw new ArgumentError(`multiLabelScores: expected rows of ${C} columns but received ${labels.length} values`)
  const columns = Array.from({ length: C }, (): ClassCounts => ({ hits: 0, predicted: 0, labelled: 0 }))
  const N = labels.length / C
  let right = 0
  for (let row = 0; row < N; row++) {
    let allRight = true
    for (let column = 0; column < C; column++) {
      const decided = decisions[row * C + column] !== 0
      const labelled = labels[row * C + column] !== 0
      if (decided) columns[column].predicted++
      if (labelled) columns[column].labelled++
      if (decided && labelled) columns[column].hits++
      allRight &&= decided === labelled
    }
    if (allRight) right++
  }
  return {
    f1Micro: scores(addCounts(columns)).f1,
    f1Macro: mean(columns.map((column) => scores(column).f1)),
    subsetAccuracy: right / N,
  }
}

/** Index of the greatest logit of each row of [N, C]; the first of equals. */
export function argmaxRows({ data, shape }: Tensor<Numbers>): Int32Array {
  const [N, C] = shape
  const result = new Int32Array(N)
  for (let row = 0; row < N; row++) {
    let best = 0
    for (let column = 1; column < C; column++) if (data[row * C + column] > data[row * C + best]) best = column
    result[row] = best
  }
  return result
}

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
      const kept = Array.from({ length: N }, (_, row) => row).filter((row) => labels[row] !== IGNORED_LABEL)
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
