import { ArgumentError } from '../errors.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { LogRecord } from './events.ts'

/** Of these the least is the best, as of everything that ends in 'loss'. */
const LESS_IS_BETTER = /(?:loss|mse|perplexity)$/

/**
 * The metric that says which evaluation is best: its value, and whether a value is better than another; any number is better than NaN.
 * Throws ArgumentError.
 */
export function rankingOf(
  { greaterIsBetter, metricForBestModel }: TrainingArguments,
  metrics: LogRecord,
): { value: number; isBetter: (value: number, than: number | null) => boolean } {
  const metric = metricForBestModel ?? 'loss'
  const value = metrics[metric.startsWith('eval_') ? metric : `eval_${metric}`]
  if (value === undefined)
    throw new ArgumentError(
      `Expected metricForBestModel to be one of ${Object.keys(metrics).join(', ')} but received '${metric}'`,
    )
  const greater = greaterIsBetter ?? !LESS_IS_BETTER.test(metric)
  const isBetter = (one: number, than: number | null): boolean => {
    if (than === null || Number.isNaN(than)) return than === null || !Number.isNaN(one)
    return greater ? one > than : one < than
  }
  return { value, isBetter }
}
