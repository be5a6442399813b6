import type { Tensor } from '../tensor.ts'

/** One tokenised input. `labels` is a class id, a number (regression), or one number per label (multi-label, several columns). */
export interface Example {
  readonly inputIds: number[]
  readonly tokenTypeIds?: number[]
  readonly labels?: number | number[]
}

/** A ragged batch: row i of every field belongs to sequence i; nothing is padded. */
export interface ModelBatch {
  inputIds: number[][]
  tokenTypeIds?: number[][]
  labels?: number[] | number[][]
}

export type StateDict = Map<string, Tensor>

/** What the Trainer needs of a model; every model class of bertkit has it. */
export interface TrainableModel {
  /** What it computes in; a resumed run must have the same. */
  readonly dtype?: string
  train(): unknown
  eval(): unknown
  /** logits [sequences, labels]; loss is null without labels. Throws AbortedError when `signal` fires. */
  forward(batch: ModelBatch, options?: { signal?: AbortSignal }): Promise<{ loss: number | null; logits: Tensor }>
  loadStateDict(state: StateDict, options?: { strict?: boolean }): Promise<unknown>
  savePretrained(folder: string): Promise<unknown>
}

/** What the Trainer needs of an optimiser. A step that throws has changed nothing. */
export interface TrainableOptimizer {
  readonly paramGroups: { lr: number }[]
  readonly defaults: { lr: number }
  /** One update over the micro-batches; loss (mean over all of them) and gradient norm (before clipping). */
  step(
    batches: ModelBatch[],
    options?: { maxGradNorm?: number; signal?: AbortSignal },
  ): Promise<{ loss: number; gradNorm: number }>
  stateDict(): Promise<StateDict>
  loadStateDict(state: StateDict): Promise<unknown>
}

/** Written into every checkpoint, so that the folder can be used by itself. */
export interface SavableTokenizer {
  savePretrained(folder: string): Promise<unknown>
}

export interface PredictionsForMetrics {
  /** [examples, labels] */
  readonly logits: Tensor
  /** Row i belongs to example i. */
  readonly labels: number[] | number[][]
}

/** Metric names (without the eval_ prefix) and their values. */
export type ComputeMetrics = (predictions: PredictionsForMetrics) => Record<string, number>
