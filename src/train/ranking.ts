import type { TrainingArguments } from './argument-rules.ts'

/** Of these the least is the best, as of everything that ends in 'loss'. */
const LESS_IS_BETTER = /(?:loss|mse|perplexity)$/

/** The metric that says which evaluation is best, with its eval_ prefix, and whether the greatest is the best. */
export function rankingOf({ greaterIsBetter, metricForBestModel }: TrainingArguments): {
  name: string
  greater: boolean
} {
  const metric = metricForBestModel ?? 'loss'
  return {
    name: metric.startsWith('eval_') ? metric : `eval_${metric}`,
    greater: greaterIsBetter ?? !LESS_IS_BETTER.test(metric),
  }
}
