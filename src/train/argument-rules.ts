import { isJsonObject } from '../json.ts'
import { SCHEDULER_NAMES, type SchedulerName } from '../optim/schedules.ts'

/** How one argument is checked, described, and read from a command line. */
export interface ArgumentRule<Value> {
  readonly fallback: Value
  /** Completes "Expected <name> to be …". */
  readonly expects: string
  readonly help: string
  readonly accepts: (value: unknown) => boolean
  /** Undefined for a flag without a value. */
  readonly placeholder?: string
  readonly parse: (text: string) => unknown
}

export const finite = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** Empty text is no number, unlike for Number(). */
const toNumber = (text: string): number => (text.trim() === '' ? Number.NaN : Number(text))

const integer = (fallback: number, least: number, help: string): ArgumentRule<number> => ({
  fallback,
  expects: `an integer of at least ${least}`,
  help,
  accepts: (value) => Number.isSafeInteger(value) && (value as number) >= least,
  placeholder: 'integer',
  parse: toNumber,
})

const number = (fallback: number, expects: string, help: string, inRange: (value: number) => boolean) =>
  ({
    fallback,
    expects,
    help,
    accepts: (value) => finite(value) && inRange(value),
    placeholder: 'number',
    parse: toNumber,
  }) satisfies ArgumentRule<number>

const isSteps = (value: unknown): boolean => finite(value) && value > 0 && (value < 1 || Number.isInteger(value))

/** A count of steps, or below 1 a fraction of all steps. */
const steps = (fallback: number, help: string): ArgumentRule<number> =>
  number(fallback, 'a whole number of steps, or a fraction of all steps between 0 and 1', help, isSteps)

/** Whose rules and random numbers a run has: its own, Transformers' rules, or PyTorch's random numbers on a CPU as well. */
export type ParityName = 'none' | 'hf-5.18' | 'pytorch-cpu'

const seed = (help: string): ArgumentRule<number> =>
  number(42, 'an integer from 0 to 2^32 - 1', help, (value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32)

const flag = (help: string): ArgumentRule<boolean> => ({
  fallback: false,
  expects: 'true or false',
  help,
  accepts: (value) => typeof value === 'boolean',
  parse: (text) => text === 'true',
})

const choice = <Name extends string>(fallback: Name, names: readonly Name[], help: string): ArgumentRule<Name> => ({
  fallback,
  expects: `one of ${names.join(', ')}`,
  help,
  accepts: (value) => names.some((name) => name === value),
  placeholder: names.length > 4 ? 'name' : names.join('|'),
  parse: (text) => text,
})

/** Null when not given. */
const optional = <Value>(rule: ArgumentRule<Value>): ArgumentRule<Value | null> => ({
  ...rule,
  fallback: null,
  accepts: (value) => value === null || rule.accepts(value),
})

const text = (fallback: string, help: string): ArgumentRule<string> => ({
  fallback,
  expects: 'a text that is not empty',
  help,
  accepts: (value) => typeof value === 'string' && value !== '',
  placeholder: 'text',
  parse: (value) => value,
})

function isPattern(pattern: string): boolean {
  try {
    new RegExp(pattern)
    return true
  } catch {
    return false
  }
}

const strategies = ['no', 'steps', 'epoch'] as const
const saveStrategies = ['no', 'steps', 'epoch', 'best'] as const

/**
 * The Trainer's arguments: Transformers 5.18's names in camelCase and its defaults (training_args.py), and tokensPerBatch. Those that
 * are not in this table have no meaning here yet; giving one is an ArgumentError.
 */
export const argumentRules = {
  outputDir: text('trainer_output', 'folder for checkpoints and the trained model'),
  perDeviceTrainBatchSize: integer(8, 1, 'sequences in a training batch'),
  tokensPerBatch: optional(
    integer(
      0,
      1,
      'average tokens in a training batch, instead of --per-device-train-batch-size; at least those of the longest example, by which a batch may exceed it',
    ),
  ),
  perDeviceEvalBatchSize: integer(8, 1, 'sequences in an evaluation batch'),
  gradientAccumulationSteps: integer(1, 1, 'batches whose gradients make one update'),
  numTrainEpochs: number(
    3,
    'a number above 0',
    'passes over the training data, may be a fraction',
    (value) => value > 0,
  ),
  maxSteps: {
    ...integer(-1, -1, 'updates in all, instead of --num-train-epochs'),
    expects: 'a positive integer, or -1 for none',
    accepts: (value: unknown) => value === -1 || (Number.isSafeInteger(value) && (value as number) > 0),
  },
  learningRate: number(5e-5, 'a number of at least 0', 'highest learning rate', (value) => value >= 0),
  lrSchedulerType: choice<SchedulerName>(
    'linear',
    SCHEDULER_NAMES,
    `schedule of the learning rate: ${SCHEDULER_NAMES.join(', ')}`,
  ),
  lrSchedulerKwargs: {
    fallback: null,
    expects: 'an object of options of the schedule',
    help: 'options of the schedule, as JSON',
    accepts: (value: unknown) => value === null || isJsonObject(value),
    placeholder: 'json',
    parse: (value: string): unknown => {
      try {
        return JSON.parse(value)
      } catch {
        return undefined
      }
    },
  } as ArgumentRule<Record<string, unknown> | null>,
  warmupSteps: number(
    0,
    'a whole number of steps, or a fraction of all steps below 1',
    'updates over which the learning rate rises; below 1 a fraction of all updates',
    (value) => value >= 0 && (value < 1 || Number.isInteger(value)),
  ),
  weightDecay: number(
    0,
    'a number of at least 0',
    'decoupled weight decay, not on biases and LayerNorm',
    (value) => value >= 0,
  ),
  adamBeta1: number(0.9, 'a number from 0 to below 1', 'decay of the first moment', (value) => value >= 0 && value < 1),
  adamBeta2: number(
    0.999,
    'a number from 0 to below 1',
    'decay of the second moment',
    (value) => value >= 0 && value < 1,
  ),
  adamEpsilon: number(1e-8, 'a number of at least 0', 'term added to the denominator of AdamW', (value) => value >= 0),
  maxGradNorm: number(
    1,
    'a number of at least 0',
    'gradients are scaled down to this L2 norm; 0 turns it off',
    (value) => value >= 0,
  ),
  loggingStrategy: choice('steps', strategies, 'when to log'),
  loggingSteps: steps(500, 'updates between log lines'),
  loggingFirstStep: flag('log the first update too'),
  evalStrategy: choice('no', strategies, 'when to evaluate'),
  evalSteps: optional({
    ...steps(500, 'updates between evaluations (default, and for 0: --logging-steps)'),
    accepts: (value) => value === 0 || isSteps(value),
  }),
  evalOnStart: flag('evaluate before the first update'),
  evalDelay: number(
    0,
    'a number of at least 0',
    'epochs (with --eval-strategy epoch) or updates before the first evaluation',
    (value) => value >= 0,
  ),
  predictionLossOnly: flag('evaluate the loss alone'),
  saveStrategy: choice('steps', saveStrategies, 'when to save a checkpoint'),
  saveSteps: steps(500, 'updates between checkpoints'),
  saveTotalLimit: optional(integer(1, 1, 'newest checkpoints to keep; the best one is kept too')),
  saveOnlyModel: flag(
    'save no optimiser state: smaller, but cannot be resumed (on an abort the state is saved all the same)',
  ),
  loadBestModelAtEnd: flag('end with the weights of the best evaluation'),
  metricForBestModel: optional(text('loss', 'metric that decides which evaluation is best')),
  greaterIsBetter: optional({
    ...flag('whether that metric is better when greater (default: unless it ends in "loss", "mse" or "perplexity")'),
    placeholder: 'true|false',
    parse: (value) => (value === 'true' ? true : value === 'false' ? false : value),
  }),
  earlyStoppingPatience: optional(
    integer(
      1,
      1,
      'stop after that many evaluations in a row that are not better than the best (by --metric-for-best-model)',
    ),
  ),
  earlyStoppingThreshold: number(
    0,
    'a number of at least 0',
    'smallest improvement of an evaluation that counts as better',
    (value) => value >= 0,
  ),
  labelSmoothingFactor: number(
    0,
    'a number from 0 to below 1',
    'share of each label that is spread evenly over all classes',
    (value) => value >= 0 && value < 1,
  ),
  layerwiseLrDecay: number(
    1,
    'a number above 0, at most 1',
    'learning rate of each layer as a fraction of that of the layer above it; 1 trains all alike',
    (value) => value > 0 && value <= 1,
  ),
  freeze: optional({
    ...text('', 'regular expression of the names of parameters that are not trained, such as embeddings'),
    expects: 'a regular expression',
    accepts: (value) => typeof value === 'string' && value !== '' && isPattern(value),
    placeholder: 'regex',
  }),
  gradientCheckpointing: flag(
    'compute each layer again for its backward: less memory, a third more time, the same result',
  ),
  reportTo: choice('none', ['none', 'tensorboard'], 'what else to write the log to: event files in <output-dir>/runs'),
  seed: seed('seed of the order of the data; on the command line also of new weights and dropout'),
  dataSeed: optional(seed('seed of the order of the data (default: --seed)')),
  dataloaderDropLast: flag('leave out the last batch of an epoch where it is not full'),
  parity: choice<ParityName>(
    'none',
    ['none', 'hf-5.18', 'pytorch-cpu'],
    "reproduce Transformers 5.18: hf-5.18 pads batches and divides losses as it does; pytorch-cpu also draws the order of the data, dropout and new weights from PyTorch's generator",
  ),
  trainSamplingStrategy: choice(
    'random',
    ['random', 'sequential', 'group_by_length'],
    'order of the training data; group_by_length puts sequences of like length into a batch',
  ),
  resumeFromCheckpoint: {
    fallback: null,
    expects: 'true (the newest checkpoint of outputDir), or a checkpoint folder',
    help: 'checkpoint folder to continue from; without a value the newest of --output-dir',
    accepts: (value: unknown) =>
      value === null || typeof value === 'boolean' || (typeof value === 'string' && value !== ''),
    placeholder: 'folder',
    parse: (value: string): unknown => value,
  } as ArgumentRule<string | boolean | null>,
} satisfies Record<string, ArgumentRule<unknown>>

export type TrainingArguments = {
  readonly [Name in keyof typeof argumentRules]: (typeof argumentRules)[Name] extends ArgumentRule<infer Value>
    ? Value
    : never
}

/** Any subset of the arguments, and `warmupRatio`, the older name of a fractional `warmupSteps`. */
export type TrainingArgumentsInput = Partial<TrainingArguments> & { readonly warmupRatio?: number }

/** Arguments of Transformers that are refused with a reason; also flags of the command line. */
export const refusedArguments: Readonly<Record<string, string>> = {
  bf16: "it is an option of the model, fromPretrained(folder, { dtype: 'bfloat16' })",
  fp16: 'CPUs have no float16 arithmetic that is worth using; use dtype bfloat16',
  tf32: 'TF32 is a number format of CUDA GPUs; float32 and bfloat16 are available',
  torchCompile: 'there is no PyTorch here; every step is already recorded once and replayed',
  pushToHub: 'bertkit uploads nothing; upload the saved folder with the tools of the hub',
  deepspeed: 'training is on one machine; there is no DeepSpeed here',
  fsdp: 'training is on one machine; there is no sharding here',
  useLigerKernel: 'the kernels are those of bertkit and already fused',
  optim: 'the optimiser is AdamW',
  useCpu: 'choose with backend cpu',
  groupByLength: 'choose with trainSamplingStrategy group_by_length',
  overwriteOutputDir: 'an output folder is written into as it is; delete it first to start anew',
}
