import { ArgumentError } from '../errors.ts'
import type { TrainingArguments } from './argument-rules.ts'

/** Steps given as a count or, below 1, as a fraction of `total`, rounded up. */
const wholeSteps = (value: number, total: number): number => (value < 1 ? Math.ceil(value * total) : value)

/** The numbers that follow from the arguments and the size of the data (Transformers' trainer.py, set_initial_training_values). */
export interface TrainingPlan {
  readonly batchesPerEpoch: number
  readonly updatesPerEpoch: number
  /** Of an update, but the last of an epoch, which may have fewer. */
  readonly batchesPerUpdate: number
  readonly maxSteps: number
  readonly warmupSteps: number
  readonly loggingSteps: number
  readonly evalSteps: number
  readonly saveSteps: number
}

/**
 * Batches of tokensPerBatch tokens on average, as many in every epoch; none need be empty, because no example is longer than an equal
 * share of all tokens. Throws ArgumentError where one example is longer than a batch.
 */
function batchesByTokens(tokensPerBatch: number, lengths: Uint32Array): number {
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0)
  if (longest > tokensPerBatch)
    throw new ArgumentError(
      `Expected tokensPerBatch to be at least ${longest}, the tokens of the longest example (a smaller maximum length shortens it), but received ${tokensPerBatch}`,
    )
  const total = lengths.reduce((sum, length) => sum + length, 0)
  return Math.max(1, Math.min(Math.round(total / tokensPerBatch), Math.floor(total / longest)))
}

/** The epochs, as a fraction, that so many updates are; within one by batches, as Transformers counts. */
export function epochAt(
  { batchesPerEpoch, batchesPerUpdate, updatesPerEpoch }: TrainingPlan,
  position: number,
): number {
  const batches = Math.min((position % updatesPerEpoch) * batchesPerUpdate, batchesPerEpoch)
  return Math.floor(position / updatesPerEpoch) + batches / batchesPerEpoch
}

/** Whether something is due after a step, by its strategy and, of 'steps', their number. `stops`: a callback ends the run. */
export const dueAfter =
  ({ maxSteps, updatesPerEpoch }: TrainingPlan, step: number, position: number, stops: boolean) =>
  (strategy: string, every: number): boolean => {
    const ends = position >= maxSteps
    if (strategy === 'steps') return step % every === 0 || ends
    return strategy === 'epoch' && (position % updatesPerEpoch === 0 || ends || stops)
  }

/** The size of the training data. */
export interface DataSize {
  /** Examples of an epoch; undefined where nobody counted them: training is then one epoch of maxSteps updates. */
  readonly examples: number | undefined
  /** Tokens of each example, where all are in memory. */
  readonly lengths?: Uint32Array
}

/** Throws ArgumentError where the arguments leave no batch, or need what is not known of the data. */
export function planTraining(args: TrainingArguments, { examples, lengths }: DataSize): TrainingPlan {
  if (examples === undefined) return planEndless(args)
  if (lengths === undefined) checkStreamed(args)
  const size = args.perDeviceTrainBatchSize
  const bySize = args.dataloaderDropLast ? Math.floor(examples / size) : Math.ceil(examples / size)
  const batchesPerEpoch =
    args.tokensPerBatch === null || !lengths ? bySize : batchesByTokens(args.tokensPerBatch, lengths)
  if (batchesPerEpoch === 0) {
    throw new ArgumentError(
      `Expected at least ${size} examples for one full batch (dataloaderDropLast) but received ${examples}`,
    )
  }
  const updatesPerEpoch = Math.max(Math.ceil(batchesPerEpoch / args.gradientAccumulationSteps), 1)
  const maxSteps = args.maxSteps > 0 ? args.maxSteps : Math.ceil(args.numTrainEpochs * updatesPerEpoch)
  return { batchesPerEpoch, updatesPerEpoch, ...stepsOf(args, maxSteps) }
}

/** What needs the lengths of all examples cannot be had of a stream. */
function checkStreamed(args: TrainingArguments): void {
  if (args.tokensPerBatch !== null)
    throw new ArgumentError(
      'Expected perDeviceTrainBatchSize, because the examples are read or made anew in every epoch, but received tokensPerBatch',
    )
  if (args.trainSamplingStrategy === 'group_by_length')
    throw new ArgumentError(
      "Expected trainSamplingStrategy to be random or sequential, because the examples are read or made anew in every epoch, but received 'group_by_length'",
    )
}

/** Data of unknown size, read again and again: one epoch of maxSteps updates. */
function planEndless(args: TrainingArguments): TrainingPlan {
  checkStreamed(args)
  if (args.maxSteps < 0)
    throw new ArgumentError('Expected maxSteps, because nobody knows the size of the data, but received none')
  const { maxSteps } = args
  return {
    batchesPerEpoch: maxSteps * args.gradientAccumulationSteps,
    updatesPerEpoch: maxSteps,
    ...stepsOf(args, maxSteps),
  }
}

function stepsOf(args: TrainingArguments, maxSteps: number) {
  const counts = {
    batchesPerUpdate: args.gradientAccumulationSteps,
    maxSteps,
    warmupSteps: wholeSteps(args.warmupSteps, maxSteps),
    loggingSteps: wholeSteps(args.loggingSteps, maxSteps),
    evalSteps: wholeSteps(args.evalSteps ?? args.loggingSteps, maxSteps),
    saveSteps: wholeSteps(args.saveSteps, maxSteps),
  }
  checkMultiples(args, counts)
  return counts
}

/** Throws ArgumentError where the best evaluation may be one after which nothing is saved, in whole steps. */
export function checkMultiples(
  args: TrainingArguments,
  { evalSteps, maxSteps, saveSteps }: Pick<TrainingPlan, 'evalSteps' | 'saveSteps'> & { readonly maxSteps?: number },
): void {
  const { evalStrategy, loadBestModelAtEnd, saveStrategy } = args
  if (!loadBestModelAtEnd || evalStrategy !== 'steps' || saveStrategy !== 'steps') return
  if (saveSteps % evalSteps === 0) return
  const given = [args.saveSteps, args.evalSteps ?? args.loggingSteps]
  const whole = given.some((steps) => steps < 1) ? `, which of ${maxSteps} are ${saveSteps} and ${evalSteps}` : ''
  throw new ArgumentError(
    `Expected saveSteps to be a multiple of evalSteps because loadBestModelAtEnd is true but received ${given.join(' and ')}${whole}`,
  )
}
