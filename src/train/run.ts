import { AbortedError, ArgumentError, NonFiniteError } from '../errors.ts'
import type { Scheduler } from '../optim/scheduler.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { CallbackContext, TrainerControl } from './callbacks.ts'
import type { Parity } from './parity/parity.ts'
import type { TrainingSource } from './source.ts'
import { positionOf, type RunIdentity, type TrainerState } from './state.ts'
import type { TrainingPlan } from './training-plan.ts'
import type { TrainableModel, TrainableOptimizer } from './types.ts'

/** What one run of train() works on. */
export interface Run {
  readonly source: TrainingSource
  readonly plan: TrainingPlan
  readonly identity: RunIdentity
  readonly optimizer: TrainableOptimizer
  readonly parity: Parity | undefined
  readonly scheduler: Scheduler
  readonly state: TrainerState
  readonly control: TrainerControl
  /** Checkpoints of other runs in the output folder. */
  readonly foreign: Set<string>
  /** Not shown yet. */
  readonly warnings: string[]
  readonly firstStep: number
  readonly started: number
  savedStep: number
  /** The checkpoint of `savedStep`; null: there is none. */
  checkpoint: string | null
  /** Not where a checkpoint could not be written, nor where the weights are those of another step. */
  canSave: boolean
}

/** What callbacks see of a run at this time. */
export function contextOf(run: Run, args: TrainingArguments, model: TrainableModel): CallbackContext {
  const { control, optimizer, plan, scheduler, state, warnings } = run
  const { maxSteps, updatesPerEpoch } = plan
  return {
    args,
    control,
    model,
    optimizer,
    scheduler,
    state: { ...state, maxSteps, epoch: positionOf(state) / updatesPerEpoch },
    warn: (message) => warnings.push(message),
  }
}

export const foreignWarning = (outputDir: string): string =>
  `${outputDir} has checkpoints of another run, which stay, but for those of steps that this run saves; to go on with one of them, resume from its folder by its name`

/** The error of a run that its signal ended, with where it can be resumed. */
export function abortedError(step: number, checkpoint: string | null, cause: AbortedError): AbortedError {
  const where = checkpoint === null ? 'before the first step' : `after step ${step}; ${checkpoint} can be resumed`
  const error = new AbortedError(`Training was aborted by its signal ${where}`)
  error.cause = cause
  return error
}

/** An ArgumentError about a batch, which counts its examples from 0, says in which step it was. */
export const inStep = (error: unknown, step: number): unknown =>
  error instanceof ArgumentError
    ? new ArgumentError(`In the batch of step ${step}: ${error.message}`, { cause: error })
    : error

/** The error of a step that failed, with where the weights before it are. */
export const rescuedError = ({ message, step, tensor }: NonFiniteError, checkpoint: string | null): NonFiniteError =>
  new NonFiniteError(
    `${message}; ${checkpoint} has the weights before it. A lower learning rate may help`,
    step,
    tensor,
  )
