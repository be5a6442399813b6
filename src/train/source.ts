import { ArgumentError } from '../errors.ts'
import { RandomStream } from '../random.ts'
import type { TrainingArguments } from './argument-rules.ts'
import { ExampleCheck, fingerprintOf, isStreamed, lengthsOf } from './dataset.ts'
import { epochBatches } from './sampler.ts'
import type { OpenDataset } from './trainer-options.ts'
import type { DataSize, TrainingPlan } from './training-plan.ts'
import type { DataCollator, Example, ModelBatch, StreamedDataset } from './types.ts'

/** Sets the random numbers of collators apart from other uses of the same seed. */
const COLLATE = 0x636f6c6c
/** The epoch number of evaluations: each of them sees the same masks. */
const EVALUATION = 0xffffffff

/** A stream of random numbers for each of `count` examples, from place `first` of an epoch on. */
const collateRandoms = (seed: number, epoch: number, first: number, count: number): RandomStream[] =>
  Array.from({ length: count }, (_, i) => new RandomStream(seed, COLLATE, epoch, first + i))

/** The same in every evaluation. */
export const evaluationRandoms = (seed: number, first: number, count: number): RandomStream[] =>
  collateRandoms(seed, EVALUATION, first, count)

/** Training data, in memory or streamed, as the batches of an epoch. */
export class TrainingSource {
  readonly size: DataSize
  /** Tells other data, and data that is made in another way, as far as that can be told at once. */
  readonly fingerprint: string
  readonly #data: readonly Example[] | StreamedDataset
  readonly #collator: DataCollator

  constructor({ collator, data, settings }: Pick<OpenDataset, 'collator' | 'data' | 'settings'>) {
    this.#data = data
    this.#collator = collator
    this.fingerprint = fingerprintOf(data, settings)
    this.size = isStreamed(data) ? { examples: data.length } : { examples: data.length, lengths: lengthsOf(data) }
  }

  /** Examples that an epoch trains on. */
  samplesPerEpoch(args: TrainingArguments, { batchesPerEpoch }: TrainingPlan): number {
    return this.size.examples ?? batchesPerEpoch * args.perDeviceTrainBatchSize
  }

  /** The batches of an epoch (0-based) from `first` on; seeds decide their order and their masks. */
  async *batches(
    args: TrainingArguments,
    plan: TrainingPlan,
    epoch: number,
    first: number,
  ): AsyncGenerator<ModelBatch> {
    const groups = isStreamed(this.#data)
      ? streamGroups(this.#data, args, plan, epoch, first)
      : memoryGroups(this.#data, this.size.lengths!, args, plan, epoch, first)
    for await (const { examples, place } of groups)
      yield this.#collator(examples, collateRandoms(orderSeed(args), epoch, place, examples.length))
  }
}

const orderSeed = ({ dataSeed, seed }: TrainingArguments): number => dataSeed ?? seed

/** Examples of a batch, and the place of the first of them in the epoch. */
interface Group {
  readonly examples: readonly Example[]
  readonly place: number
}

async function* memoryGroups(
  examples: readonly Example[],
  lengths: Uint32Array,
  args: TrainingArguments,
  plan: TrainingPlan,
  epoch: number,
  first: number,
): AsyncGenerator<Group> {
  const { order, starts } = await epochBatches(args, plan, lengths, orderSeed(args), epoch)
  for (let batch = first; batch < plan.batchesPerEpoch; batch++)
    yield {
      examples: Array.from(order.subarray(starts[batch], starts[batch + 1]), (index) => examples[index]),
      place: starts[batch],
    }
}

async function* streamGroups(
  data: StreamedDataset,
  args: TrainingArguments,
  plan: TrainingPlan,
  epoch: number,
  first: number,
): AsyncGenerator<Group> {
  const size = args.perDeviceTrainBatchSize
  const skip = first * size
  const shuffle = args.trainSamplingStrategy !== 'sequential'
  let group: Example[] = []
  let batch = first
  let given = skip
  const check = new ExampleCheck('the streamed data')
  for await (const example of data.examples({ seed: orderSeed(args), epoch, skip, shuffle })) {
    check.next(example)
    given++
    if (group.push(example) < size) continue
    yield { examples: group, place: batch * size }
    group = []
    if (++batch === plan.batchesPerEpoch) return
  }
  if (group.length > 0 && !args.dataloaderDropLast) {
    yield { examples: group, place: batch * size }
    batch++
  }
  if (batch < plan.batchesPerEpoch)
    throw new ArgumentError(
      `Expected ${data.length ?? 'endless'} examples in the streamed data but epoch ${epoch} ended after ${given}`,
    )
}

/** Milliseconds in which a stream that is left has to close what it reads. */
const CLOSING = 1000

/** Ends what gives batches. A stream that waits for what never comes is left alone. */
export async function endBatches(batches: AsyncGenerator<ModelBatch>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, CLOSING)
  })
  await Promise.race([prefetched(batches.return(undefined)), late]).finally(() => clearTimeout(timer))
}

/** A promise that somebody awaits later: until then its failure is nobody's. */
export function prefetched<Result>(promise: Promise<Result>): Promise<Result> {
  promise.catch(() => undefined)
  return promise
}

/** The next `count` batches, or fewer where there are no more. */
export async function takeBatches(batches: AsyncGenerator<ModelBatch>, count: number): Promise<ModelBatch[]> {
  const taken: ModelBatch[] = []
  while (taken.length < count) {
    const { done, value } = await batches.next()
    if (done) break
    taken.push(value)
  }
  return taken
}
