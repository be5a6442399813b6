import { randomUUID } from 'node:crypto'
import { DataError } from '../errors.ts'
import { isJsonObject, type JsonObject, parseJson, quote } from '../json.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { LogRecord } from './events.ts'
import { type DataSize, epochAt, type TrainingPlan } from './training-plan.ts'
import type { TrainableModel } from './types.ts'

/** Everything that a run has to remember besides weights and optimiser; saved whole, so that a resumed run logs what an unbroken one logs. */
export interface TrainerState {
  /** Tells the checkpoints of this run from those of others; a resumed run goes on with it. */
  runId: string
  /** Updates made so far. */
  globalStep: number
  logHistory: LogRecord[]
  bestMetric: number | null
  bestGlobalStep: number | null
  bestModelCheckpoint: string | null
  /** Updates left out because a callback ended an epoch. */
  skippedUpdates: number
  /** Epochs whose end callbacks have been told of. */
  epochsEnded: number
  /** A callback ended training. */
  stopped: boolean
  /** Real tokens seen. */
  inputTokens: number
  /** Sum of the losses of all updates. */
  totalLoss: number
  /** Since the last log line. */
  lossSinceLog: number
  stepsSinceLog: number
  tokensSinceLog: number
  secondsSinceLog: number
  /** The gradient norm and learning rate of the last update, for the next log line. */
  gradNorm: number
  learningRate: number
  /** The last step that was evaluated: an interrupted evaluation is made up for after a resume. */
  evaluatedStep: number
  /** Where PyTorch's random stream stands, of a run that repeats it. */
  generator: string | null
}

/** Where a run stands among all updates: those made, and those that were skipped with the rest of an epoch. */
export const positionOf = ({ globalStep, skippedUpdates }: TrainerState): number => globalStep + skippedUpdates

/** The mean loss of the updates since the last log line, or of all where those are none. */
const runningLoss = ({ globalStep, lossSinceLog, stepsSinceLog, totalLoss }: TrainerState): number =>
  stepsSinceLog > 0 ? lossSinceLog / stepsSinceLog : totalLoss / Math.max(globalStep, 1)

/**
 * Counts an update, and returns the loss that it counts with: of one without any label the running mean, as Transformers does with a loss
 * that is no number (logging_nan_inf_filter).
 */
export function addStep(
  state: TrainerState,
  step: {
    readonly loss: number
    /** Whether anything in it has a label. */
    readonly labelled: boolean
    readonly gradNorm: number
    readonly learningRate: number
    readonly tokens: number
    readonly seconds: number
  },
): number {
  const loss = step.labelled ? step.loss : runningLoss(state)
  state.globalStep++
  state.inputTokens += step.tokens
  state.totalLoss += loss
  state.lossSinceLog += loss
  state.stepsSinceLog++
  state.tokensSinceLog += step.tokens
  state.secondsSinceLog += step.seconds
  state.gradNorm = step.gradNorm
  state.learningRate = step.learningRate
  return loss
}

/** The log line of the updates since the one before. */
export function takeLog(state: TrainerState, epoch: number): LogRecord {
  const line = {
    loss: state.lossSinceLog / state.stepsSinceLog,
    grad_norm: state.gradNorm,
    learning_rate: state.learningRate,
    epoch,
    step: state.globalStep,
    tokens_per_second: Math.round(state.tokensSinceLog / Math.max(state.secondsSinceLog, 1e-9)),
  }
  Object.assign(state, { lossSinceLog: 0, stepsSinceLog: 0, tokensSinceLog: 0, secondsSinceLog: 0 })
  return line
}

/** What decides the order of the data and the schedule; a resumed run must have the same. */
export interface RunIdentity {
  readonly examples: number
  /** A hash of the first examples and of how they are made. */
  readonly data: string
  readonly trainBatchSize: number
  /** What the model computes in. */
  readonly dtype: string
  /** 0: batches have trainBatchSize examples. */
  readonly tokensPerBatch: number
  readonly gradientAccumulationSteps: number
  readonly labelSmoothingFactor: number
  readonly lrSchedulerKwargs: string
  readonly weightDecay: number
  readonly adamBeta1: number
  readonly adamBeta2: number
  readonly adamEpsilon: number
  readonly maxGradNorm: number
  readonly freeze: string
  /** Of dropout. */
  readonly modelSeed: number
  readonly layerwiseLrDecay: number
  readonly dataSeed: number
  readonly parity: string
  readonly maxSteps: number
  readonly updatesPerEpoch: number
  readonly dataloaderDropLast: boolean
  readonly trainSamplingStrategy: string
  readonly lrSchedulerType: string
  readonly warmupSteps: number
  /** The highest rate of the schedule. */
  readonly learningRate: number
}

export const initialState = (): TrainerState => ({
  runId: randomUUID(),
  globalStep: 0,
  logHistory: [],
  bestMetric: null,
  bestGlobalStep: null,
  bestModelCheckpoint: null,
  skippedUpdates: 0,
  epochsEnded: 0,
  stopped: false,
  inputTokens: 0,
  totalLoss: 0,
  lossSinceLog: 0,
  stepsSinceLog: 0,
  tokensSinceLog: 0,
  secondsSinceLog: 0,
  gradNorm: 0,
  learningRate: 0,
  evaluatedStep: 0,
  generator: null,
})

export const identityOf = (
  args: TrainingArguments,
  plan: TrainingPlan,
  { fingerprint, size: { examples = 0 } }: { readonly fingerprint: string; readonly size: DataSize },
  learningRate: number,
  { dtype = 'float32', seed: modelSeed = 0 }: Pick<TrainableModel, 'dtype' | 'seed'>,
): RunIdentity => ({
  examples,
  data: fingerprint,
  dtype,
  trainBatchSize: args.perDeviceTrainBatchSize,
  tokensPerBatch: args.tokensPerBatch ?? 0,
  gradientAccumulationSteps: args.gradientAccumulationSteps,
  labelSmoothingFactor: args.labelSmoothingFactor,
  lrSchedulerKwargs: JSON.stringify(args.lrSchedulerKwargs ?? {}),
  weightDecay: args.weightDecay,
  adamBeta1: args.adamBeta1,
  adamBeta2: args.adamBeta2,
  adamEpsilon: args.adamEpsilon,
  maxGradNorm: args.maxGradNorm,
  freeze: args.freeze ?? '',
  modelSeed,
  layerwiseLrDecay: args.layerwiseLrDecay,
  dataSeed: args.dataSeed ?? args.seed,
  parity: args.parity,
  maxSteps: plan.maxSteps,
  updatesPerEpoch: plan.updatesPerEpoch,
  dataloaderDropLast: args.dataloaderDropLast,
  trainSamplingStrategy: args.trainSamplingStrategy,
  lrSchedulerType: args.lrSchedulerType,
  warmupSteps: plan.warmupSteps,
  learningRate,
})

/** The numbers of a state that Transformers has no field for, under their names in trainer_state.json's `bertkit`. */
const OWN_NUMBERS = {
  epochs_ended: 'epochsEnded',
  evaluated_step: 'evaluatedStep',
  grad_norm: 'gradNorm',
  learning_rate: 'learningRate',
  loss_since_log: 'lossSinceLog',
  seconds_since_log: 'secondsSinceLog',
  skipped_updates: 'skippedUpdates',
  steps_since_log: 'stepsSinceLog',
  tokens_since_log: 'tokensSinceLog',
  total_loss: 'totalLoss',
} as const satisfies Record<string, keyof Omit<TrainerState, 'generator' | 'runId' | 'stopped'>>

const IDENTITY_FIELDS = {
  data: ['data', 'string'],
  data_seed: ['dataSeed', 'number'],
  dtype: ['dtype', 'string'],
  dataloader_drop_last: ['dataloaderDropLast', 'boolean'],
  examples: ['examples', 'number'],
  gradient_accumulation_steps: ['gradientAccumulationSteps', 'number'],
  adam_beta1: ['adamBeta1', 'number'],
  adam_beta2: ['adamBeta2', 'number'],
  adam_epsilon: ['adamEpsilon', 'number'],
  freeze: ['freeze', 'string'],
  label_smoothing_factor: ['labelSmoothingFactor', 'number'],
  lr_scheduler_kwargs: ['lrSchedulerKwargs', 'string'],
  max_grad_norm: ['maxGradNorm', 'number'],
  model_seed: ['modelSeed', 'number'],
  weight_decay: ['weightDecay', 'number'],
  layerwise_lr_decay: ['layerwiseLrDecay', 'number'],
  highest_learning_rate: ['learningRate', 'number'],
  lr_scheduler_type: ['lrSchedulerType', 'string'],
  max_steps: ['maxSteps', 'number'],
  parity: ['parity', 'string'],
  tokens_per_batch: ['tokensPerBatch', 'number'],
  train_batch_size: ['trainBatchSize', 'number'],
  train_sampling_strategy: ['trainSamplingStrategy', 'string'],
  updates_per_epoch: ['updatesPerEpoch', 'number'],
  warmup_steps: ['warmupSteps', 'number'],
} as const satisfies Record<string, [keyof RunIdentity, 'boolean' | 'number' | 'string']>

const sorted = (record: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))

/** The text of trainer_state.json: Transformers' fields (trainer_callback.py, TrainerState), sorted, and ours under `bertkit`. */
export function stringifyState(
  state: TrainerState,
  identity: RunIdentity,
  args: TrainingArguments,
  plan: TrainingPlan,
  callbacks: Readonly<Record<string, unknown>> = {},
): string {
  const own: Record<string, number | boolean | string> = { run_id: state.runId, stopped: state.stopped }
  for (const [name, field] of Object.entries(OWN_NUMBERS)) own[name] = state[field]
  for (const [name, [field]] of Object.entries(IDENTITY_FIELDS)) own[name] = identity[field]
  if (state.generator !== null) own.generator = state.generator
  const file = {
    best_global_step: state.bestGlobalStep,
    best_metric: state.bestMetric,
    best_model_checkpoint: state.bestModelCheckpoint,
    bertkit: sorted(own),
    epoch: epochAt(plan, positionOf(state)),
    eval_steps: plan.evalSteps,
    global_step: state.globalStep,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: state.logHistory.map(sorted),
    logging_steps: plan.loggingSteps,
    max_steps: plan.maxSteps,
    num_input_tokens_seen: state.inputTokens,
    num_train_epochs: args.numTrainEpochs,
    save_steps: plan.saveSteps,
    stateful_callbacks: callbacks,
    total_flos: 0,
    train_batch_size: args.perDeviceTrainBatchSize,
    trial_name: null,
    trial_params: null,
  }
  return `${JSON.stringify(sorted(file), null, 2)}\n`
}

/** JSON has no NaN: a metric that is not a number is written as null. */
type StoredLog = Record<string, number | null>
const isLog = (line: unknown): line is StoredLog =>
  isJsonObject(line) && Object.values(line).every((value) => value === null || typeof value === 'number')
const restoreNaN = (line: StoredLog): LogRecord =>
  Object.fromEntries(Object.entries(line).map(([name, value]) => [name, value ?? Number.NaN]))

/** Reads trainer_state.json. Throws DataError, naming the field, where it is not what stringifyState writes. */
export function parseState(
  text: string,
  file: string,
): { state: TrainerState; identity: RunIdentity; callbacks: JsonObject } {
  const json = parseJson(text, (reason) => new DataError(reason, file))
  const fail = (field: string, expected: string, value: unknown): never => {
    throw new DataError(`Expected ${field} to be ${expected} but received ${quote(value)}`, file)
  }
  if (!isJsonObject(json)) return fail('the file', 'an object', json)
  const own = json.bertkit
  if (!isJsonObject(own))
    return fail('bertkit', 'an object, as bertkit writes it (a folder of another program cannot be resumed)', own)

  const numberIn = (record: JsonObject, field: string): number => {
    const value = record[field]
    // JSON has no NaN and no infinities, and writes null
    if (value === null) return Number.NaN
    return typeof value === 'number' ? value : fail(field, 'a number', value)
  }
  const orNull = <Value>(field: string, read: (value: unknown) => Value): Value | null =>
    json[field] === null ? null : read(json[field])
  const textIn = (field: string) => (value: unknown) =>
    typeof value === 'string' ? value : fail(field, 'a text or null', value)
  const globalStep = numberIn(json, 'global_step')
  if (!Number.isSafeInteger(globalStep) || globalStep < 0) fail('global_step', 'an integer of at least 0', globalStep)
  const history = json.log_history
  if (!Array.isArray(history) || !history.every(isLog))
    return fail('log_history', 'a list of objects of numbers', history)

  const state: TrainerState = {
    ...initialState(),
    globalStep,
    logHistory: history.map(restoreNaN),
    bestMetric: orNull('best_metric', () => numberIn(json, 'best_metric')),
    bestGlobalStep: orNull('best_global_step', () => numberIn(json, 'best_global_step')),
    bestModelCheckpoint: orNull('best_model_checkpoint', textIn('best_model_checkpoint')),
    inputTokens: numberIn(json, 'num_input_tokens_seen'),
  }
  for (const [name, field] of Object.entries(OWN_NUMBERS)) state[field] = numberIn(own, name)
  state.stopped = own.stopped === true
  state.runId = typeof own.run_id === 'string' ? own.run_id : fail('run_id', 'a text', own.run_id)
  if (own.generator !== undefined) state.generator = textIn('generator')(own.generator)
  const identity = Object.fromEntries(
    Object.entries(IDENTITY_FIELDS).map(([name, [field, type]]) => {
      const value = own[name]
      return [field, typeof value === type ? value : fail(name, `a ${type}`, value)]
    }),
  ) as unknown as RunIdentity
  const callbacks = isJsonObject(json.stateful_callbacks) ? json.stateful_callbacks : {}
  return { state, identity, callbacks }
}
