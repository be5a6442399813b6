import { Run } from '../run.ts'

/** One line of the training log: Hugging Face's names and values; times in seconds. */
export type LogRecord = Record<string, number>

/** What `trainer.train()` yields. Steps count updates from 1; `epoch` is a fraction. */
export type TrainEvent =
  /** The first event of a run that goes on from a checkpoint; `step` is done. */
  | {
      readonly type: 'resume'
      readonly step: number
      readonly maxSteps: number
      readonly epoch: number
      readonly checkpoint: string
    }
  | {
      readonly type: 'step'
      readonly step: number
      readonly maxSteps: number
      readonly epoch: number
      /** Mean over the micro-batches of this update; where nothing in them has a label the mean of the updates before. */
      readonly loss: number
      /** L2 norm of the gradients before clipping. */
      readonly gradNorm: number
      /** The rate that this update used. */
      readonly learningRate: number
      /** Real tokens of this update. */
      readonly tokens: number
      readonly seconds: number
    }
  | { readonly type: 'log'; readonly step: number; readonly epoch: number; readonly logs: LogRecord }
  | {
      readonly type: 'evaluate'
      readonly step: number
      readonly epoch: number
      readonly metrics: LogRecord
      readonly isBest: boolean
    }
  | { readonly type: 'save'; readonly step: number; readonly epoch: number; readonly checkpoint: string }
  | { readonly type: 'warning'; readonly step: number; readonly message: string }
  | { readonly type: 'end'; readonly step: number; readonly epoch: number; readonly output: TrainOutput }

export interface TrainOutput {
  readonly globalStep: number
  /** Mean loss over all updates, those before a resume included. */
  readonly trainingLoss: number
  /** train_runtime, train_samples_per_second, train_steps_per_second, train_loss, epoch: of this call. */
  readonly metrics: LogRecord
  /** The checkpoint with the best metric, or null where none was saved. */
  readonly bestModelCheckpoint: string | null
  readonly bestMetric: number | null
  readonly bestGlobalStep: number | null
  /**
   * The step whose weights loadBestModelAtEnd put into the model: that of bestModelCheckpoint, which is before bestGlobalStep where
   * the best step has no checkpoint. Null: the model holds the weights of globalStep.
   */
  readonly restoredStep: number | null
  /** Every log line and evaluation, those before a resume included. */
  readonly logHistory: readonly LogRecord[]
  /** What this call had to say beside its log, as the events of type warning. */
  readonly warnings: readonly string[]
}

/**
 * A training run: iterate it for its events, or await it for its result. It starts when either is first asked for, and runs once.
 * Leaving the loop early stops after the current event and saves nothing; an AbortSignal stops within a step and saves.
 */
export class TrainingRun extends Run<TrainEvent, TrainOutput> {
  constructor(events: AsyncGenerator<TrainEvent, TrainOutput>) {
    super(events, 'This training run has no result: its loop was left before the end')
  }
}
