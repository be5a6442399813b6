// What the runs of a model take and give.
import type { Elements, Program } from '../backend/backend.ts'
import type { BackendOptions } from '../backend/open.ts'
import { toBfloat16 } from '../bfloat16.ts'
import type { FloatType, Value } from '../graph/graph.ts'
import { Scalar } from '../graph/op-table.ts'
import type { Plan } from '../graph/plan.ts'
import type { PreparedLabels } from '../heads/head.ts'
import type { UpdateRange } from '../ops/optimizer.ts'
import type { RaggedBatch, RowIndices } from './batch.ts'
import type { MaskSource } from './masks.ts'

/** Run-time scalars of a step that do not come from the batch. */
export interface StepScalars {
  readonly seed: number
  readonly step: number
  readonly microStep: number
  readonly denominators: readonly number[]
  readonly labelSmoothing: number
}

/** Writes them among the scalars of a run. */
export function setStepScalars(run: Float64Array, scalars: StepScalars): void {
  run[Scalar.seed] = scalars.seed
  run[Scalar.step] = scalars.step
  run[Scalar.microStep] = scalars.microStep
  run[Scalar.accumulate] = scalars.microStep > 0 ? 1 : 0
  run[Scalar.labelSmoothing] = scalars.labelSmoothing
  run.set(scalars.denominators, Scalar.denominator0)
}

/** `data` in the type of a value. */
export const asStored = ({ type }: Value, data: Float32Array | Int32Array): Elements =>
  type === 'bfloat16' && data instanceof Float32Array ? toBfloat16(data) : data

/** A batch with what its head reads of it. */
export interface StepBatch {
  readonly batch: RaggedBatch
  readonly indices: RowIndices
  readonly labels: PreparedLabels | undefined
}

/** What becomes of the gradients of the last micro-batch of an update, in the run that makes them. */
export interface Update {
  readonly ranges: readonly UpdateRange[]
  readonly scalars: UpdateScalars
}

/** How a step is run. */
export interface StepRun {
  readonly signal?: AbortSignal
  readonly masks?: MaskSource
  /**
   * Clips and applies the gradients of the micro-steps, this one and those before it; nothing changes where the loss or their norm is not
   * finite. `written`: byte offsets of the gradients that this one writes.
   */
  readonly update?: (written: ReadonlySet<number>) => Update
}

/** What is done with the gradients of some micro-batches. `written`: byte offsets of those that some of them have. */
export interface Accumulation<Result> {
  readonly begin?: () => void
  /** How the run of the last one changes the weights. */
  readonly update?: (written: ReadonlySet<number>) => Update
  /** `norm`: of the gradients, before clipping, where the last run has made an update. */
  readonly finish: (ended: { loss: number; norm: number | undefined; written: ReadonlySet<number> }) => Promise<Result>
}

/** Scalars of an update. */
export interface UpdateScalars {
  readonly maxGradNorm: number
  readonly betas: readonly [number, number]
  readonly eps: number
  /** false: Adam with an L2 term. */
  readonly decoupledWeightDecay: boolean
  /** `steps`: that its parameters have taken, this one included. */
  readonly groups: readonly { readonly lr: number; readonly weightDecay: number; readonly steps: number }[]
}

/** A run takes no greater number (native/runtime/plan.cc); no norm that is worth a step comes near. */
const LARGEST_SCALAR = 2 ** 53

/** Writes them among the scalars of an update. */
export function setUpdateScalars(run: Float64Array, scalars: UpdateScalars): void {
  const { maxGradNorm, betas, eps, decoupledWeightDecay, groups } = scalars
  const [beta1, beta2] = betas
  run[Scalar.maxGradNorm] = Math.min(maxGradNorm, LARGEST_SCALAR)
  run[Scalar.beta1] = beta1
  run[Scalar.beta2] = beta2
  run[Scalar.eps] = eps
  run[Scalar.coupledDecay] = decoupledWeightDecay ? 0 : 1
  for (const [g, { lr, weightDecay, steps }] of groups.entries())
    run.set([lr, weightDecay, 1 - beta1 ** steps, Math.sqrt(1 - beta2 ** steps)], Scalar.group0 + 4 * g)
}

/** A step of a generation, and its inputs by name. */
export interface RecordedGeneration {
  readonly plan: Plan
  readonly program: Program
  readonly inputs: Readonly<Record<string, Value>>
  /** [rows, V] or [rows, H]; none where rows are only copied. */
  readonly result: Value | undefined
  /** [sequences, H], of BertModel. */
  readonly pooled: Value | undefined
}

export interface RuntimeOptions extends BackendOptions {
  /** Default: float32. */
  readonly dtype?: FloatType | 'int8' | 'auto'
}

/** Called after each run with what it has executed, the run's scalars, and the seconds that each record took (Program.run). */
export type Profiler = (plan: Plan, scalars: Float64Array, seconds: Float64Array) => void
