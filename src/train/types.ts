import type { Example } from '../data/features/example.ts'
import type { JsonObject } from '../json.ts'
import type { RandomStream } from '../random.ts'
import type { StepInputs } from '../session/prepare.ts'
import type { Tensor } from '../tensor.ts'

export type { Example } from '../data/features/example.ts'
export type { Evaluation } from './metrics/evaluation.ts'

/** A ragged batch: entry i of every field belongs to example i; nothing is padded. */
export interface ModelBatch {
  inputIds: number[][] | number[][][]
  tokenTypeIds?: number[][] | number[][][]
  attentionMask?: number[][] | number[][][]
  positionIds?: number[][] | number[][][]
  labels?: number[] | number[][]
  nextSentenceLabel?: number[]
  startPositions?: number[]
  endPositions?: number[]
}

/** Examples too many to hold, read again in every epoch. */
export interface StreamedDataset {
  /** Examples of an epoch; undefined where nobody counted them: the arguments then need maxSteps, and one epoch is all there is. */
  readonly length: number | undefined
  /**
   * The examples of an epoch (0-based) but the first `skip`, in an order that depends on seed and epoch alone; those of a dataset
   * without a length never end. `shuffle`: false for the order of the data.
   */
  examples(order: {
    readonly seed: number
    readonly epoch: number
    readonly skip: number
    readonly shuffle: boolean
  }): AsyncIterable<Example>
}

/**
 * Makes a batch. Random numbers (masks) come from `randoms` alone, a stream for each example that depends on the seed and on its place
 * in the epoch, whatever the batch size.
 */
export type DataCollator = (
  examples: readonly Example[],
  randoms: readonly RandomStream[],
) => ModelBatch | Promise<ModelBatch>

export type StateDict = Map<string, Tensor>

export interface ForwardSettings {
  readonly signal?: AbortSignal
  readonly labelSmoothing?: number
  /** Rows of tokens without a label are left out of the outputs. */
  readonly labelledOnly?: boolean
}

/** What the Trainer needs of a model; every model class of bertkit has it. */
export interface TrainableModel {
  /** What it computes in; a resumed run must have the same. */
  readonly dtype?: string
  /** Of its dropout; a resumed run must have the same. */
  readonly seed?: number
  /** What it is built by, as savePretrained writes it into config.json; a resumed run must have the same. */
  readonly config?: { readonly problemType?: string | null; toJSON?(): JsonObject }
  /** Opens what runs it, which may decide the dtype. */
  describe?(): Promise<unknown>
  train(): unknown
  eval(): unknown
  /** Outputs by their names, such as logits [sequences, labels]; loss is null without labels. Throws AbortedError when `signal` fires. */
  forward(batch: StepInputs, options?: ForwardSettings): Promise<{ readonly loss?: number | null }>
  loadStateDict(state: StateDict, options?: { strict?: boolean }): Promise<unknown>
  savePretrained(folder: string): Promise<unknown>
}

/** What the Trainer needs of an optimiser. A step that throws has changed nothing. */
export interface TrainableOptimizer {
  readonly paramGroups: { lr: number }[]
  readonly defaults: { lr: number }
  /** One update over the micro-batches; loss (mean over all of them) and gradient norm (before clipping). */
  step(
    batches: StepInputs[],
    options?: { maxGradNorm?: number; labelSmoothing?: number; signal?: AbortSignal },
  ): Promise<{ loss: number; gradNorm: number }>
  stateDict(): Promise<StateDict>
  loadStateDict(state: StateDict): Promise<unknown>
}

/** Written into every checkpoint, so that the folder can be used by itself. */
export interface SavableTokenizer {
  savePretrained(folder: string): Promise<unknown>
}

export interface PredictionsForMetrics {
  /** The output called logits: [examples, labels], or [tokens, labels] for the tokens of all examples one after another. */
  readonly logits: Tensor
  /** Every output by its name. */
  readonly outputs: Readonly<Record<string, Tensor>>
  /** Row i belongs to example i. */
  readonly labels: number[] | number[][]
}

/** Metric names (without the eval_ prefix) and their values. */
export type ComputeMetrics = (
  predictions: PredictionsForMetrics,
) => Record<string, number> | Promise<Record<string, number>>
