import { ArgumentError } from '../errors.ts'
import { isJsonObject, kindOf } from '../json.ts'
import { isTensor, type Tensor } from '../tensor.ts'
import {
  checkExamples,
  collate,
  countLabelledExamples,
  groupsOf,
  hasLabels,
  labelsOf,
  labelsOfBatch,
} from './dataset.ts'
import type { LogRecord } from './events.ts'
import { evaluationRandoms } from './source.ts'
import type { ComputeMetrics, DataCollator, Evaluation, Example, ModelBatch, TrainableModel } from './types.ts'

export interface Predictions {
  /** The output called logits: [examples, labels], or [tokens, labels] for the tokens of all examples one after another. */
  readonly logits: Tensor
  /** Every output by its name; rows of all examples one after another, in their order. */
  readonly outputs: Readonly<Record<string, Tensor>>
  readonly labels?: number[] | number[][]
  /** Mean loss of the examples that have labels, or null without any. */
  readonly loss: number | null
  readonly seconds: number
  /** Forward passes. */
  readonly steps: number
}

/** How a model is run over examples. */
export interface EvaluationSettings {
  readonly batchSize: number
  readonly collator?: DataCollator
  readonly labelSmoothing?: number
  /** Of masks that the collator makes; every evaluation has the same. */
  readonly seed?: number
  readonly signal?: AbortSignal
  /** Called after each forward pass with the number of examples done. */
  readonly onProgress?: (done: number) => void
}

type Outputs = Record<string, Tensor>

const outputsOf = (output: object): Outputs =>
  Object.fromEntries(Object.entries(output).filter((entry): entry is [string, Tensor] => isTensor(entry[1])))

interface Pass {
  readonly loss: number | null
  readonly seconds: number
  readonly steps: number
}

/** Of `examples` in a batch those that its loss is the mean of: all of regression, of which any number is a label. */
const weightOf = (batch: ModelBatch, { config }: TrainableModel, examples: number): number =>
  config?.problemType === 'regression' ? examples : countLabelledExamples(batch)

/** Runs the model without dropout, handing the outputs of each batch to `take`. */
async function forwardAll(
  model: TrainableModel,
  examples: readonly Example[],
  { batchSize, collator = collate, labelSmoothing, seed = 0, signal, onProgress }: EvaluationSettings,
  take: Evaluation['add'],
  weighing: Pick<Evaluation, 'labelledOnly' | 'weigh'> = {},
): Promise<Pass> {
  const started = performance.now()
  let [steps, done, weights] = [0, 0, 0]
  let lossSum: number | null = 0
  for (const group of groupsOf(examples, batchSize)) {
    const batch = await collator(group, evaluationRandoms(seed, done, group.length))
    model.eval() // for every batch: a training may go on meanwhile, and a call notes the mode at once
    const output = await model.forward(batch, { signal, labelledOnly: weighing.labelledOnly, labelSmoothing })
    const loss = output.loss ?? null
    await take(batch, outputsOf(output), loss)
    // By default a batch counts as many times as it has examples, as in Transformers' evaluation_loop, but for those without a label.
    const weight = weighing.weigh?.(batch) ?? weightOf(batch, model, group.length)
    lossSum = lossSum === null || loss === null ? null : lossSum + (weight === 0 ? 0 : loss * weight)
    weights += weight
    done += group.length
    steps++
    onProgress?.(done)
  }
  return {
    loss: lossSum === null ? null : lossSum / weights,
    seconds: (performance.now() - started) / 1000,
    steps,
  }
}

/**
 * Puts the rows of several tensors one after another: the first dimension adds up. Where the others differ, as of multiple choice with
 * other numbers of choices, all values are one row of numbers.
 */
function concatenate(parts: readonly Tensor[]): Tensor {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(part.data, at)
    at += part.data.length
  }
  const [shape, ...others] = parts.map((part) => part.shape.slice(1))
  if (others.some((other) => String(other) !== String(shape))) return { data, shape: [data.length] }
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0)
  return { data, shape: [rows, ...(shape ?? [])] }
}

/** The outputs of several batches. */
class Gathered {
  readonly #parts: Record<string, Tensor[]> = {}

  add(outputs: Readonly<Outputs>): void {
    for (const [name, tensor] of Object.entries(outputs)) {
      this.#parts[name] ??= []
      this.#parts[name].push(tensor)
    }
  }

  all(): { logits: Tensor; outputs: Outputs } {
    const outputs = Object.fromEntries(Object.entries(this.#parts).map(([name, each]) => [name, concatenate(each)]))
    const logits = outputs.logits ?? Object.values(outputs)[0] ?? { data: new Float32Array(0), shape: [0] }
    return { logits, outputs }
  }
}

/**
 * Runs the model on all examples without dropout. Throws ArgumentError where the examples do not agree on their fields, AbortedError when
 * `signal` fires.
 */
export async function predictAll(
  model: TrainableModel,
  examples: readonly Example[],
  settings: EvaluationSettings,
): Promise<Predictions> {
  await checkExamples('the dataset', examples)
  const gathered = new Gathered()
  const pass = await forwardAll(model, examples, settings, (_, outputs) => gathered.add(outputs))
  return { ...gathered.all(), labels: labelsOf(examples), ...pass }
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits))

/** The last keys of a metrics line, rounded as Transformers rounds them. */
export const speedMetrics = (prefix: string, seconds: number, samples: number, steps: number): LogRecord => ({
  [`${prefix}_runtime`]: rounded(seconds, 4),
  [`${prefix}_samples_per_second`]: rounded(samples / Math.max(seconds, 1e-9), 3),
  [`${prefix}_steps_per_second`]: rounded(steps / Math.max(seconds, 1e-9), 3),
})

/** What `computeMetrics` takes: all outputs together, and the labels that the batches had. */
function gathering(computeMetrics: ComputeMetrics): Evaluation {
  const gathered = new Gathered()
  const labels: (number | readonly number[])[] = []
  return {
    add: (batch, outputs) => {
      gathered.add(outputs)
      for (const label of labelsOfBatch(batch)) labels.push(label)
    },
    finish: async () => {
      const metrics: unknown = await computeMetrics({ ...gathered.all(), labels: labels as number[] | number[][] })
      if (isJsonObject(metrics) && Object.values(metrics).every((value) => typeof value === 'number'))
        return metrics as Record<string, number>
      throw new ArgumentError(`Expected computeMetrics to return an object of numbers but received ${kindOf(metrics)}`)
    },
  }
}

const LOSS_ALONE: Evaluation = { labelledOnly: true, add() {}, finish: () => ({}) }

export interface MetricsSettings extends EvaluationSettings {
  /** Metrics of all outputs together, or `evaluation`, which takes them batch by batch; neither: the loss alone. */
  readonly computeMetrics?: ComputeMetrics
  readonly evaluation?: Evaluation
  readonly prefix?: string
}

/**
 * Loss and metrics of the examples, each name prefixed with `<prefix>_`, then `<prefix>_samples`, `_runtime` (seconds) and the rates.
 * Throws ArgumentError before the first forward pass where the examples have no labels.
 */
export async function evaluateAll(
  model: TrainableModel,
  examples: readonly Example[],
  settings: MetricsSettings,
): Promise<LogRecord> {
  const { collator, computeMetrics, prefix = 'eval' } = settings
  await checkExamples('evalDataset', examples)
  // a collator may make the labels
  if (collator === undefined && !hasLabels(examples[0]))
    throw new ArgumentError('Expected evalDataset to have labels but it has none')
  const evaluation = computeMetrics ? gathering(computeMetrics) : (settings.evaluation ?? LOSS_ALONE)
  const { loss, seconds, steps } = await forwardAll(
    model,
    examples,
    settings,
    (...batch) => evaluation.add(...batch),
    evaluation,
  )
  if (loss === null) throw new ArgumentError('Expected the model to compute a loss from labels but it has none')
  const metrics: LogRecord = { [`${prefix}_loss`]: loss }
  for (const [name, value] of Object.entries(await evaluation.finish()))
    metrics[name.startsWith(`${prefix}_`) ? name : `${prefix}_${name}`] = value
  return {
    ...metrics,
    [`${prefix}_samples`]: examples.length,
    ...speedMetrics(prefix, seconds, examples.length, steps),
  }
}
