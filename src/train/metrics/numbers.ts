// What the metrics are computed with.
import { ArgumentError } from '../../errors.ts'

export type Numbers = ArrayLike<number>

/** A ratio whose denominator may be 0, which counts as 0 (scikit-learn's default for undefined scores). */
export const ratio = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole)

export const sum = (values: Numbers): number => {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i]
  return total
}

export const mean = (values: Numbers): number => sum(values) / values.length

/** Throws ArgumentError, naming the metric, unless each prediction has a label and there is one. */
export function checkPaired(metric: string, predictions: Numbers, labels: Numbers): void {
  if (predictions.length !== labels.length || labels.length === 0)
    throw new ArgumentError(
      `${metric}: expected as many predictions as labels, at least one, but received ${predictions.length} and ${labels.length}`,
    )
}
