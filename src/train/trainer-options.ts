import { ArgumentError } from '../errors.ts'
import { isJsonObject, kindOf, quote } from '../json.ts'
import { checkOptionNames } from '../options.ts'
import { argumentRules, type TrainingArguments } from './argument-rules.ts'
import type { TrainingArgumentsInput } from './arguments.ts'
import { checkHooks, EarlyStoppingCallback, type TrainerCallback } from './callbacks.ts'
import { checkExamplesAtOnce, collate, hasLabels, isStreamed } from './dataset.ts'
import { TensorBoardCallback } from './tensorboard-callback.ts'
import type {
  ComputeMetrics,
  DataCollator,
  Evaluation,
  Example,
  SavableTokenizer,
  StreamedDataset,
  TrainableModel,
  TrainableOptimizer,
} from './types.ts'

/** Examples with what belongs to them: how they become batches, and what is measured on them. */
export interface TaskDataset {
  readonly data: readonly Example[] | StreamedDataset
  readonly collator?: DataCollator
  /** Metrics of one evaluation; called for each. */
  readonly evaluation?: () => Evaluation
  /** How the examples were made, and batches are: a run can only be resumed where that is the same. */
  readonly settings?: string
}

export type Dataset = readonly Example[] | StreamedDataset | TaskDataset

export interface TrainerOptions {
  readonly model: TrainableModel
  readonly args?: TrainingArgumentsInput
  readonly trainDataset?: Dataset
  /** In memory. */
  readonly evalDataset?: readonly Example[] | TaskDataset
  /** Makes batches of examples; default: the dataset's own, else their fields side by side. */
  readonly dataCollator?: DataCollator
  /** Written into every checkpoint. */
  readonly tokenizer?: SavableTokenizer
  /** Default: the metrics of the dataset's task, where it has one. */
  readonly computeMetrics?: ComputeMetrics
  readonly callbacks?: readonly TrainerCallback[]
  /** Instead of AdamW made from the arguments. */
  readonly optimizer?: TrainableOptimizer
  /** Stops training within a step; a checkpoint is saved, then AbortedError is thrown. */
  readonly signal?: AbortSignal
}

const OPTION_NAMES = Object.keys({
  model: true,
  args: true,
  trainDataset: true,
  evalDataset: true,
  dataCollator: true,
  tokenizer: true,
  computeMetrics: true,
  callbacks: true,
  optimizer: true,
  signal: true,
} satisfies Record<keyof TrainerOptions, true>)

/** Throws ArgumentError for options that are not what they should be, and for a name that is no option of the Trainer. */
export function checkTrainerOptions(options: TrainerOptions): void {
  if (typeof options !== 'object' || options === null)
    throw new ArgumentError(`Expected the options of Trainer to be an object but received ${kindOf(options)}`)
  const { args, callbacks, computeMetrics, dataCollator, model, optimizer, signal, tokenizer } = options
  if (typeof model?.forward !== 'function')
    throw new ArgumentError(`Expected the option model to be a model but received ${kindOf(model)}`)
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new ArgumentError(`Expected the option signal to be an AbortSignal but received ${kindOf(signal)}`)
  const check = (name: keyof TrainerOptions, expected: string, isIt: boolean): void => {
    if (options[name] !== undefined && !isIt)
      throw new ArgumentError(`Expected the option ${name} to be ${expected} but received ${kindOf(options[name])}`)
  }
  check('args', 'an object', typeof args === 'object' && args !== null)
  check('computeMetrics', 'a function', typeof computeMetrics === 'function')
  check('dataCollator', 'a function', typeof dataCollator === 'function')
  check('optimizer', 'an optimizer', typeof optimizer?.step === 'function')
  check('tokenizer', 'a tokenizer', typeof tokenizer?.savePretrained === 'function')
  checkOptionNames('Trainer', options, OPTION_NAMES)
  if (callbacks !== undefined && !isListOfObjects(callbacks))
    throw new ArgumentError('Expected the option callbacks to be an array of callbacks (objects, not classes)')
  callbacks?.forEach(checkHooks)
}

const isListOfObjects = (list: unknown): boolean =>
  Array.isArray(list) && list.every((each) => typeof each === 'object' && each !== null)

/** A checkpoint keeps the states of callbacks by their names. */
function checkCallbackNames(callbacks: readonly TrainerCallback[]): void {
  const names = callbacks.flatMap(({ name }: TrainerCallback) => name ?? [])
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined)
    throw new ArgumentError(`Expected callbacks of different names but two are called '${twice}'`)
}

const isTaskDataset = (dataset: Dataset): dataset is TaskDataset => !Array.isArray(dataset) && 'data' in dataset

export interface OpenDataset {
  readonly data: readonly Example[] | StreamedDataset
  readonly collator: DataCollator
  /** Whether `collator` makes labels of its own. */
  readonly collates: boolean
  readonly evaluation: (() => Evaluation) | undefined
  readonly settings: string
}

/** A dataset with its collator. Throws ArgumentError for what is none; the examples in it are not looked at. */
export function openDataset(name: string, dataset: Dataset, collator: DataCollator | undefined): OpenDataset {
  if (typeof dataset !== 'object' || dataset === null)
    throw new ArgumentError(`Expected ${name} to be a dataset but received ${kindOf(dataset)}`)
  const { data, ...own }: TaskDataset = isTaskDataset(dataset) ? dataset : { data: dataset }
  if (typeof data !== 'object' || data === null)
    throw new ArgumentError(`Expected ${name}.data to be examples but received ${kindOf(data)}`)
  if (isStreamed(data) && typeof data.examples !== 'function')
    throw new ArgumentError(`Expected ${name} to be an array of examples or a streamed dataset with a method examples`)
  const chosen = collator ?? own.collator
  const { evaluation, settings = '' } = own
  return { data, collator: chosen ?? collate, collates: chosen !== undefined, evaluation, settings }
}

/** As `openDataset`. Throws ArgumentError where examples in memory do not agree on their fields, too. */
export function openChecked(...given: Parameters<typeof openDataset>): OpenDataset {
  const opened = openDataset(...given)
  if (!isStreamed(opened.data)) checkExamplesAtOnce(given[0], opened.data)
  return opened
}

/** Throws ArgumentError for data that cannot be trained on with these arguments. */
export function checkTraining({ collates, data }: OpenDataset, { parity }: TrainingArguments): void {
  if (collates && parity === 'pytorch-cpu')
    throw new ArgumentError(
      "Expected no collator because of parity 'pytorch-cpu', which cannot draw its masks as PyTorch does, but received one; give examples that have their labels",
    )
  if (!isStreamed(data) && !collates && !hasLabels(data[0]))
    throw new ArgumentError('Expected trainDataset to have labels but it has none')
}

/** The evaluation data of the options. Throws ArgumentError where it is not in memory, or is needed and missing. */
export function openEvaluation(
  { dataCollator, evalDataset }: TrainerOptions,
  { evalOnStart, evalStrategy }: TrainingArguments,
): OpenDataset | undefined {
  if (evalDataset !== undefined) {
    const opened = openChecked('evalDataset', evalDataset, dataCollator)
    examplesOf(opened)
    return opened
  }
  if (evalStrategy === 'no' && !evalOnStart) return undefined
  const why = evalOnStart ? 'evalOnStart is true' : `evalStrategy is '${evalStrategy}'`
  throw new ArgumentError(`Expected evalDataset because ${why} but received none`)
}

/** What train() takes. */
type ResumeOptions = Pick<TrainingArgumentsInput, 'resumeFromCheckpoint'>

/** The arguments of one run. Throws ArgumentError for options that train() does not have. */
export function argumentsOfRun(args: TrainingArguments, options: ResumeOptions = {}): TrainingArguments {
  const name = 'resumeFromCheckpoint'
  const only = `Expected train() to have the option ${name} alone`
  if (typeof options !== 'object' || options === null)
    throw new ArgumentError(`${only}, as in train({ ${name}: true }), but received ${kindOf(options)}`)
  const unknown = Object.keys(options).find((each) => each !== name)
  if (unknown !== undefined)
    throw new ArgumentError(`${only} but received '${unknown}'; the others are those of the Trainer, in its args`)
  const { [name]: given = args[name] } = options
  const { accepts, expects } = argumentRules[name]
  if (!accepts(given)) throw new ArgumentError(`Expected ${name} to be ${expects} but received ${quote(given)}`)
  return { ...args, [name]: given }
}

/** Throws ArgumentError for arguments after the dataset, which nobody would look at. */
export function refuseMore(method: 'evaluate' | 'predict', more: readonly unknown[]): void {
  const [given] = more.filter((each) => each !== undefined)
  if (given === undefined) return
  const what = isJsonObject(given) ? `options as well: ${Object.keys(given).join(', ')}` : `also ${quote(given)}`
  throw new ArgumentError(`Expected ${method}() to have a dataset alone but received ${what}`)
}

/** The examples to evaluate, which have to be in memory. */
export function examplesOf({ data }: OpenDataset): readonly Example[] {
  if (!isStreamed(data)) return data
  throw new ArgumentError('Expected evalDataset to be in memory but received a streamed dataset')
}

/** The callbacks of the options, and those that the arguments ask for. Throws ArgumentError where two have one name. */
export function callbacksOf(callbacks: readonly TrainerCallback[] = [], args: TrainingArguments): TrainerCallback[] {
  const { earlyStoppingPatience, earlyStoppingThreshold, reportTo } = args
  const all = [...callbacks]
  if (earlyStoppingPatience !== null)
    all.push(new EarlyStoppingCallback({ earlyStoppingPatience, earlyStoppingThreshold }))
  if (reportTo === 'tensorboard') all.push(new TensorBoardCallback())
  checkCallbackNames(all)
  return all
}
