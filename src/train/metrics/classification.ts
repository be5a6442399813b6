// Metrics of predicted classes: pure functions over whole evaluation sets, with scikit-learn's conventions.

import { ArgumentError } from '../../errors.ts'
import { argmax } from '../../scores.ts'
import type { Tensor } from '../../tensor.ts'
import { checkPaired, mean, type Numbers, ratio, sum } from './numbers.ts'

/** How the scores of several classes become one. */
export type Average = 'binary' | 'macro' | 'micro' | 'weighted'

export interface PrecisionRecallF1 {
  precision: number
  recall: number
  f1: number
}

/** True positives, predicted and labelled rows of one class. */
export interface ClassCounts {
  hits: number
  predicted: number
  labelled: number
}

/** The counts of each class that occurs. */
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

/** A score with denominator 0 is 0. */
export function scoresOf({ hits, predicted, labelled }: ClassCounts): PrecisionRecallF1 {
  return { precision: ratio(hits, predicted), recall: ratio(hits, labelled), f1: ratio(2 * hits, predicted + labelled) }
}

export const addCounts = (counts: readonly ClassCounts[]): ClassCounts => ({
  hits: sum(counts.map((one) => one.hits)),
  predicted: sum(counts.map((one) => one.predicted)),
  labelled: sum(counts.map((one) => one.labelled)),
})

/** The mean of the classes' scores, each with its weight. */
function averageScores(counts: readonly ClassCounts[], weights: readonly number[]): PrecisionRecallF1 {
  const all = counts.map(scoresOf)
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
      return scoresOf(counts.get(positive) ?? { hits: 0, predicted: 0, labelled: 0 })
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
      return scoresOf(addCounts(classes))
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
  // a root of the product is exact where all is right: of two roots it may carry 1 past itself
  const mcc = ratio(hits * N - both, Math.sqrt(predicted * labelled))
  return Math.min(1, Math.max(-1, mcc))
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
    f1Micro: scoresOf(addCounts(columns)).f1,
    f1Macro: mean(columns.map((column) => scoresOf(column).f1)),
    subsetAccuracy: right / N,
  }
}

/** Index of the greatest logit of each row of [N, C]; the first of equals. */
export const argmaxRows = ({ data, shape: [N, C] }: Tensor<Numbers>): Int32Array =>
  Int32Array.from({ length: N }, (_, row) => argmax(data, row * C, C))
