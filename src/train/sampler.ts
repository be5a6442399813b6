import { TorchGenerator } from '../torch-generator.ts'
import { slices } from '../turns.ts'
import type { TrainingArguments } from './argument-rules.ts'
import { ascending, epochOrder } from './shuffle.ts'
import type { TrainingPlan } from './training-plan.ts'

/** An epoch's order of the examples, and where each batch begins in it: batch b is order[starts[b]] up to order[starts[b + 1]]. */
export interface EpochBatches {
  readonly order: Uint32Array
  readonly starts: Uint32Array
}

const MOST_BATCHES_OF_A_WINDOW = 50
const LEAST_WINDOWS = 4

/**
 * `order` with the examples of each window sorted by length, the longest first; windows are of up to 50 batches, at least four an
 * epoch where there are batches enough. The longest example of all comes first, so that memory runs out at once or never.
 * Transformers' get_length_grouped_indices (trainer_pt_utils.py); `batchSize`: of an update, all of its micro-batches.
 */
export async function groupByLength(order: Uint32Array, lengths: Uint32Array, batchSize: number): Promise<Uint32Array> {
  const batches = Math.min(Math.floor(order.length / (batchSize * LEAST_WINDOWS)), MOST_BATCHES_OF_A_WINDOW)
  const window = Math.max(batches, 1) * batchSize
  const grouped = new Uint32Array(order.length)
  let longest = 0
  const turn = slices()
  for (let start = 0; start < order.length; start += window) {
    // a stable sort: examples of one length stay in the order of the epoch
    await turn()
    const sorted = Array.from(order.subarray(start, start + window)).sort((a, b) => lengths[b] - lengths[a])
    grouped.set(sorted, start)
    if (lengths[grouped[start]] > lengths[grouped[longest]]) longest = start
  }
  const first = grouped[0]
  grouped[0] = grouped[longest]
  grouped[longest] = first
  return grouped
}

/** Where batches of `size` examples begin; with `batches` of them, the last ends with the examples or earlier. */
function startsBySize(examples: number, size: number, batches: number): Uint32Array {
  return Uint32Array.from({ length: batches + 1 }, (_, batch) => Math.min(batch * size, examples))
}

/**
 * Where `batches` batches of about as many tokens begin: an example belongs to the batch in whose share of all tokens it begins. As
 * many in every epoch, whatever the order; none is empty where no example is longer than a share.
 */
export function startsByTokens(order: Uint32Array, lengths: Uint32Array, batches: number): Uint32Array {
  const starts = new Uint32Array(batches + 1).fill(order.length)
  const total = order.reduce((sum, index) => sum + lengths[index], 0)
  let tokens = 0
  let batch = 0
  for (let at = 0; at < order.length; at++) {
    const share = Math.floor((tokens * batches) / total)
    for (; batch <= share; batch++) starts[batch] = at
    tokens += lengths[order[at]]
  }
  return starts
}

/** The batches of an epoch (0-based); a pure function of the arguments, the seed and the lengths. */
export async function epochBatches(
  args: TrainingArguments,
  plan: TrainingPlan,
  lengths: Uint32Array,
  seed: number,
  epoch: number,
): Promise<EpochBatches> {
  const size = lengths.length
  const { gradientAccumulationSteps, perDeviceTrainBatchSize, tokensPerBatch, trainSamplingStrategy } = args
  const { batchesPerEpoch } = plan
  const batchSize = tokensPerBatch === null ? perDeviceTrainBatchSize : Math.ceil(size / batchesPerEpoch)
  const ordered =
    trainSamplingStrategy === 'sequential'
      ? ascending(size)
      : args.parity === 'pytorch-cpu'
        ? await new TorchGenerator(seed + epoch).randperm(size) // accelerate's data_loader.py, SeedableRandomSampler
        : await epochOrder(size, seed, epoch)
  const order =
    trainSamplingStrategy === 'group_by_length'
      ? await groupByLength(ordered, lengths, batchSize * gradientAccumulationSteps)
      : ordered
  const starts =
    tokensPerBatch === null
      ? startsBySize(size, batchSize, batchesPerEpoch)
      : startsByTokens(order, lengths, batchesPerEpoch)
  return { order, starts }
}
