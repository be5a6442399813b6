import { AbortedError, ArgumentError, BertkitError, BusyError, NonFiniteError } from '../errors.ts'
import type { Scheduler } from '../optim/scheduler.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { CallbackContext, TrainerControl } from './callbacks.ts'
import { speedMetrics } from './evaluation.ts'
import type { LogRecord, TrainEvent } from './events.ts'
import type { Parity } from './parity/parity.ts'
import type { TrainingSource } from './source.ts'
import { positionOf, type RunIdentity, type TrainerState } from './state.ts'
import { epochAt, type TrainingPlan } from './training-plan.ts'
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
  /** Checkpoints of other runs in the output folder; undefined until somebody needs to know. */
  foreign: Set<string> | undefined
  /** Not shown yet, and those that were. */
  readonly warnings: string[]
  readonly shown: string[]
  readonly firstStep: number
  readonly started: number
  savedStep: number
  /** The checkpoint of `savedStep`; null: there is none. */
  checkpoint: string | null
  /** Not where a checkpoint could not be written, nor where the weights are those of another step. */
  canSave: boolean
}

/** Lets one run of a Trainer go on at a time: two would step the same weights. */
export class OneRun {
  #isUnderWay = false

  async *alone<Event, Output>(events: () => AsyncGenerator<Event, Output>): AsyncGenerator<Event, Output> {
    if (this.#isUnderWay)
      throw new BusyError('Expected one training of a Trainer at a time but another train() of it is under way')
    this.#isUnderWay = true
    try {
      return yield* events()
    } finally {
      this.#isUnderWay = false
    }
  }
}

/** The new checkpoint is whole; an old one that cannot be deleted is no reason to stop. */
export const warningOf =
  ({ warnings }: Run) =>
  (error: unknown): void => {
    if (!(error instanceof BertkitError)) throw error
    warnings.push(`An old checkpoint stays: ${error.message}`)
  }

/** Says that a run goes on, and from where. */
export function* resumption({ checkpoint, plan, state }: Run): Generator<TrainEvent> {
  const { maxSteps } = plan
  const [step, epoch] = [state.globalStep, epochAt(plan, positionOf(state))]
  if (checkpoint !== null) yield { type: 'resume', step, maxSteps, epoch, checkpoint }
}

/** The last line of the log: of this call of train(), but the loss of all updates. */
export function metricsOf({ firstStep, plan, source, started, state }: Run, args: TrainingArguments): LogRecord {
  const step = state.globalStep
  const epoch = epochAt(plan, positionOf(state))
  const seconds = (performance.now() - started) / 1000
  const steps = step - firstStep
  const samples = Math.round((steps / plan.updatesPerEpoch) * source.samplesPerEpoch(args, plan))
  const loss = step === 0 ? 0 : state.totalLoss / step
  return { ...speedMetrics('train', seconds, samples, steps), train_loss: loss, epoch, step }
}

/** What a run that has ended says of its log and of its best step. */
export const outcomeOf = ({ shown: warnings, state }: Run) => {
  const { bestGlobalStep, bestMetric, bestModelCheckpoint, logHistory } = state
  return { bestGlobalStep, bestMetric, bestModelCheckpoint, logHistory, warnings }
}

/** What callbacks see of a run at this time. */
export function contextOf(run: Run, args: TrainingArguments, model: TrainableModel): CallbackContext {
  const { control, optimizer, plan, scheduler, state, warnings } = run
  const { maxSteps } = plan
  return {
    args,
    control,
    model,
    optimizer,
    scheduler,
    state: { ...state, maxSteps, epoch: epochAt(plan, positionOf(state)) },
    warn: (message) => warnings.push(message),
  }
}

export const foreignWarning = (outputDir: string): string =>
  `${outputDir} has checkpoints of another run. They are kept, except those of steps that this run saves too; to continue that run, name its checkpoint's folder in resumeFromCheckpoint`

/** The error of a run that its signal ended, with where it can be resumed. */
export class TrainingAborted extends AbortedError {
  /** `checkpoint`: null where there is nothing to resume. */
  constructor(
    readonly step: number,
    readonly checkpoint: string | null,
    cause?: unknown,
  ) {
    const where = checkpoint === null ? 'before the first step' : `after step ${step}; ${checkpoint} can be resumed`
    super(`Training was aborted by its signal ${where}`)
    this.cause = cause
  }
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
