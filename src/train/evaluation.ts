import { ArgumentError } from '../errors.ts'
import { batches, checkExamples, labelsOf } from './dataset.ts'
import type { LogRecord } from './events.ts'
import type { ComputeMetrics, Example, TrainableModel } from './types.ts'

export interface Predictions {
  /** [examples, labels], in the order of the examples. */
  readonly logits: { readonly data: Float32Array; readonly shape: readonly number[] }
  readonly labels?: number[] | number[][]
  /** Mean loss of the examples, or null without labels. */
  readonly loss: number | null
  readonly seconds: number
  /** Forward passes. */
  readonly steps: number
}

/** Runs the model on all examples without dropout. Throws AbortedError when `signal` fires. */
export async function predictAll(
  model: TrainableModel,
  examples: readonly Example[],
  batchSize: number,
  signal?: AbortSignal,
): Promise<Predictions> {
  const started = performance.now()
  model.eval()
  let data = new Float32Array(0)
  let row = 0
  let columns = 0
  let steps = 0
  let lossSum: number | null = 0
  for (const batch of batches(examples, batchSize)) {
    const { loss, logits } = await model.forward(batch, { signal })
    if (steps === 0) {
      columns = logits.data.length / batch.inputIds.length
      data = new Float32Array(examples.length * columns)
    }
    data.set(logits.data, row * columns)
    // A batch counts as many times as it has examples, as in Transformers' evaluation_loop.
    lossSum = lossSum === null || loss === null ? null : lossSum + loss * batch.inputIds.length
    row += batch.inputIds.length
    steps++
  }
  return {
    logits: { data, shape: [examples.length, columns] },
    labels: labelsOf(examples),
    loss: lossSum === null ? null : lossSum / examples.length,
    seconds: (performance.now() - started) / 1000,
    steps,
  }
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits))

/** The last keys of a metrics line, rounded as Transformers rounds them. */
export const speedMetrics = (prefix: string, seconds: number, samples: number, steps: number): LogRecord => ({
  [`${prefix}_runtime`]: rounded(seconds, 4),
  [`${prefix}_samples_per_second`]: rounded(samples / Math.max(seconds, 1e-9), 3),
  [`${prefix}_steps_per_second`]: rounded(steps / Math.max(seconds, 1e-9), 3),
})

/**
 * Loss and metrics of the examples, each name prefixed with `<prefix>_`, then `<prefix>_samples`, `_runtime` (seconds) and the rates.
 * Throws ArgumentError before the first forward pass where the examples have no labels.
 */
export async function evaluateAll(
  model: TrainableModel,
  examples: readonly Example[],
  options: { batchSize: number; computeMetrics?: ComputeMetrics; signal?: AbortSignal; prefix?: string },
): Promise<LogRecord> {
  const prefix = options.prefix ?? 'eval'
  checkExamples('evalDataset', examples)
  const labels = labelsOf(examples)
  if (labels === undefined) throw new ArgumentError('Expected evalDataset to have labels but it has none')
  const { logits, loss, seconds, steps } = await predictAll(model, examples, options.batchSize, options.signal)
  if (loss === null) throw new ArgumentError('Expected the model to compute a loss from labels but it has none')
  const metrics: LogRecord = { [`${prefix}_loss`]: loss }
  for (const [name, value] of Object.entries(options.computeMetrics?.({ logits, labels }) ?? {})) {
    metrics[`${prefix}_${name}`] = value
  }
  return {
    ...metrics,
    [`${prefix}_samples`]: examples.length,
    ...speedMetrics(prefix, seconds, examples.length, steps),
  }
}
