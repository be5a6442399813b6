import { ArgumentError } from '../errors.ts'
import { isJsonObject, kindOf } from '../json.ts'
import type { Scheduler } from '../optim/scheduler.ts'
import { checkOptionNames } from '../options.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { LogRecord } from './events.ts'
import { rankingOf } from './ranking.ts'
import type { TrainableModel, TrainableOptimizer } from './types.ts'

/** Set by callbacks, read by the Trainer after each event (Transformers' TrainerControl). */
export interface TrainerControl {
  /** Ends training after this step; the rest of the run is as at its end. */
  shouldTrainingStop: boolean
  /** Goes on with the next epoch. */
  shouldEpochStop: boolean
  shouldLog: boolean
  shouldEvaluate: boolean
  shouldSave: boolean
}

export const initialControl = (stopped: boolean): TrainerControl => ({
  shouldTrainingStop: stopped,
  shouldEpochStop: false,
  shouldLog: false,
  shouldEvaluate: false,
  shouldSave: false,
})

/** What a callback sees; reading is free, changing goes through `control`, `optimizer.paramGroups` and the model. */
export interface CallbackContext {
  readonly args: TrainingArguments
  readonly control: TrainerControl
  readonly model: TrainableModel
  /** While training. */
  readonly optimizer?: TrainableOptimizer
  readonly scheduler?: Scheduler
  readonly state: {
    readonly globalStep: number
    readonly maxSteps: number
    /** A fraction. */
    readonly epoch: number
    readonly bestMetric: number | null
    readonly bestGlobalStep: number | null
    readonly bestModelCheckpoint: string | null
    readonly logHistory: readonly LogRecord[]
  }
  /** Adds a warning to the events of the run. */
  readonly warn: (message: string) => void
  /** In onLog: the line. In onEvaluate: the metrics. */
  readonly logs?: LogRecord
  readonly metrics?: LogRecord
}

type Hook = (context: CallbackContext) => void | Promise<void>

/**
 * Watches and steers a run, by the events of Transformers' TrainerCallback; an error that it throws ends the run. A step is one
 * native call, so there is no event within it.
 */
export interface TrainerCallback {
  onTrainBegin?: Hook
  onTrainEnd?: Hook
  onEpochBegin?: Hook
  onEpochEnd?: Hook
  onStepBegin?: Hook
  onStepEnd?: Hook
  onEvaluate?: Hook
  onSave?: Hook
  onLog?: Hook
  /** The run is over, however it ended: files can be closed. */
  close?(): void | Promise<void>
  /** What a checkpoint has to remember; JSON. Given back to `loadState` when the run is resumed. Both need `name`. */
  saveState?(): unknown
  loadState?(state: unknown): void
  /** Names its state in a checkpoint. */
  readonly name?: string
}

export type CallbackEvent = Exclude<keyof TrainerCallback, 'close' | 'saveState' | 'loadState' | 'name'>

const EVENTS = Object.keys({
  onTrainBegin: true,
  onTrainEnd: true,
  onEpochBegin: true,
  onEpochEnd: true,
  onStepBegin: true,
  onStepEnd: true,
  onEvaluate: true,
  onSave: true,
  onLog: true,
} satisfies Record<CallbackEvent, true>)

/** The names of an object and of its classes. */
function namesOf(object: object): string[] {
  const names = new Set<string>()
  for (let each = object; each !== null && each !== Object.prototype; each = Object.getPrototypeOf(each))
    for (const name of Object.getOwnPropertyNames(each)) names.add(name)
  return [...names]
}

/** Throws ArgumentError for a method that is named as an event but would never be called, and for one that cannot be called. */
export function checkHooks(callback: TrainerCallback): void {
  const names = namesOf(callback)
  const unknown = names.find((name) => /^on(_|[A-Z])/.test(name) && !EVENTS.includes(name))
  if (unknown !== undefined)
    throw new ArgumentError(`Expected the events of a callback to be among ${EVENTS.join(', ')} but it has ${unknown}`)
  for (const name of [...EVENTS, 'close', 'saveState', 'loadState']) {
    const hook: unknown = (callback as Record<string, unknown>)[name]
    if (hook !== undefined && typeof hook !== 'function')
      throw new ArgumentError(`Expected ${name} of a callback to be a function but received ${kindOf(hook)}`)
  }
  if (callback.saveState !== undefined && callback.name === undefined)
    throw new ArgumentError('Expected a callback with saveState to have a name, by which checkpoints keep its state')
}

/** What a checkpoint remembers of callbacks, by their names. */
export const statesOf = (callbacks: readonly TrainerCallback[]): Record<string, unknown> =>
  Object.fromEntries(
    callbacks
      .filter(({ name, saveState }) => name !== undefined && saveState !== undefined)
      .map((callback) => [callback.name, callback.saveState?.()]),
  )

/** Tells every callback that the run is over; throws the first error of any. */
export async function closeAll(callbacks: readonly TrainerCallback[]): Promise<void> {
  const closed = await Promise.allSettled(callbacks.map(async (callback) => callback.close?.()))
  for (const each of closed) if (each.status === 'rejected') throw each.reason
}

export interface EarlyStoppingOptions {
  /** Evaluations in a row that are not better, before training stops; 1. */
  readonly earlyStoppingPatience?: number
  /** How much better an evaluation has to be; 0. */
  readonly earlyStoppingThreshold?: number
}

/**
 * Stops when the metric of the best model has not become better by more than `threshold` in `patience` evaluations in a row
 * (Transformers' trainer_callback.py, EarlyStoppingCallback).
 */
export class EarlyStoppingCallback implements TrainerCallback {
  readonly name = 'EarlyStoppingCallback'
  readonly #patience: number
  readonly #threshold: number
  #worse = 0
  #best: number | null = null

  /** Throws ArgumentError for a patience below 1 or a threshold below 0. */
  constructor(options: EarlyStoppingOptions = {}) {
    checkOptionNames('EarlyStoppingCallback', options, ['earlyStoppingPatience', 'earlyStoppingThreshold'])
    const { earlyStoppingPatience = 1, earlyStoppingThreshold = 0 } = options
    if (!Number.isSafeInteger(earlyStoppingPatience) || earlyStoppingPatience < 1)
      throw new ArgumentError(
        `Expected earlyStoppingPatience to be an integer of at least 1 but received ${earlyStoppingPatience}`,
      )
    if (!(earlyStoppingThreshold >= 0))
      throw new ArgumentError(`Expected earlyStoppingThreshold to be at least 0 but received ${earlyStoppingThreshold}`)
    this.#patience = earlyStoppingPatience
    this.#threshold = earlyStoppingThreshold
  }

  onTrainBegin({ args, state }: CallbackContext): void {
    if (args.evalStrategy === 'no')
      throw new ArgumentError("Expected evalStrategy to be steps or epoch because of early stopping but received 'no'")
    if (state.globalStep > 0) return
    // the same callback may have watched another run; of one that is resumed its state has been loaded
    this.#worse = 0
    this.#best = null
  }

  onEvaluate({ args, control, metrics = {}, state }: CallbackContext): void {
    const { isBetter, value } = rankingOf(args, metrics)
    // before the first step there is no model that could be the best
    if (state.globalStep === 0) return
    const best = this.#best
    const isBest = isBetter(value, best)
    // to a number from none, or from NaN, is any distance
    const isMuchBetter = isBest && !(Math.abs(value - (best ?? Number.NaN)) <= this.#threshold)
    if (isBest) this.#best = value
    this.#worse = isMuchBetter ? 0 : this.#worse + 1
    if (this.#worse >= this.#patience) control.shouldTrainingStop = true
  }

  /** JSON has no NaN. */
  saveState(): { worse: number; best: number | null | 'NaN' } {
    return { worse: this.#worse, best: Number.isNaN(this.#best) ? 'NaN' : this.#best }
  }

  loadState(state: unknown): void {
    if (!isJsonObject(state)) return
    this.#worse = typeof state.worse === 'number' ? state.worse : 0
    this.#best = typeof state.best === 'number' ? state.best : state.best === 'NaN' ? Number.NaN : null
  }
}
