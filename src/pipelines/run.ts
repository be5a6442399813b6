// From inputs to outputs: tokenised one by one, computed in batches, given in their order.
import { AbortedError, ArgumentError } from '../errors.ts'
import { slices } from '../turns.ts'
import { PAUSE, ReadAhead } from './read-ahead.ts'
import type { Job, Pause, Sequence } from './task.ts'

export interface Work<Input, Rows, Output> {
  readonly start: (input: Input) => Job<Rows, Output>
  readonly compute: (sequences: readonly Sequence[], pause: Pause) => Promise<Rows[]>
  /** The most sequences in a batch. */
  readonly batchSize: number
  /** The most wanted tokens in a batch of more than one sequence. */
  readonly maxTokens: number
  readonly signal: AbortSignal | undefined
  /** How errors name an input. */
  readonly nameOf: (index: number) => string
}

interface Started<Rows, Output> {
  readonly finish: Job<Rows, Output>['finish']
  readonly rows: Rows[]
  /** How many rows it will have; undefined until its sequences are all made. */
  sequences: number | undefined
}

/**
 * An output for each input. An input may be several sequences, and a batch several inputs. Of an asynchronous source as many inputs as
 * a batch has are read ahead; what has come is computed when the source keeps one waiting, so that it may wait for an output.
 */
export async function* runAll<Input, Rows, Output>(
  inputs: Iterable<Input> | AsyncIterable<Input>,
  work: Work<Input, Rows, Output>,
): AsyncGenerator<Output> {
  const { batchSize, maxTokens, signal } = work
  const turn = slices()
  const jobs: Started<Rows, Output>[] = []
  let batch: { readonly job: Started<Rows, Output>; readonly sequence: Sequence }[] = []
  let tokens = 0
  const checkSignal = () => {
    if (signal?.aborted) throw new AbortedError('The pipeline was stopped by its signal')
  }
  const pause: Pause = () => {
    checkSignal()
    return turn()?.then(checkSignal)
  }

  async function compute(): Promise<void> {
    if (batch.length === 0) return
    checkSignal()
    const sequences = batch.map(({ sequence }) => sequence)
    const rows = await work.compute(sequences, pause)
    for (const [i, { job }] of batch.entries()) job.rows.push(rows[i])
    batch = []
    tokens = 0
  }

  /** Puts the sequences of an input into batches, and computes the full ones. Returns what is wrong with the input. */
  async function add(input: Input, name: string): Promise<Error | undefined> {
    const started = attempt(() => work.start(input), name)
    if (started instanceof Error) return started
    const job: Started<Rows, Output> = { finish: started.finish, rows: [], sequences: undefined }
    jobs.push(job)
    const sequences = started.sequences[Symbol.iterator]()
    let count = 0
    for (;;) {
      const next = attempt(() => sequences.next(), name)
      if (next instanceof Error) {
        batch = batch.filter((each) => each.job !== job)
        return next
      }
      if (next.done) break
      const sequence = next.value
      const wanted = (sequence.wanted ?? sequence.inputIds).length
      if (batch.length === batchSize || tokens + wanted > maxTokens) await compute()
      batch.push({ job, sequence })
      tokens += wanted
      count++
      await pause()
    }
    job.sequences = count
    if (batch.length === batchSize) await compute()
    return undefined
  }

  async function* finished(): AsyncGenerator<Output> {
    while (jobs.length > 0 && jobs[0].rows.length === jobs[0].sequences) {
      const { rows, finish } = jobs.shift()!
      yield await finish(rows, pause)
      await pause()
    }
  }

  let index = 0
  checkSignal()
  const source = Symbol.asyncIterator in inputs ? new ReadAhead(inputs, batchSize, signal) : withPause(inputs)
  for await (const input of source) {
    checkSignal()
    if (input === PAUSE) await compute()
    else {
      const error = await add(input as Input, work.nameOf(index++))
      if (error) {
        // of a stream the outputs before it are wanted
        await compute()
        yield* finished()
        throw error
      }
    }
    yield* finished()
    await pause()
  }
  await compute()
  yield* finished()
}

/** The items of a source, and PAUSE before it fails, as ReadAhead: the outputs of what came before are wanted. */
function* withPause<Item>(source: Iterable<Item>): Generator<Item | typeof PAUSE> {
  try {
    yield* source
  } catch (error) {
    yield PAUSE
    throw error
  }
}

/** What `call` gives, or its error; an ArgumentError says which input it is about. */
function attempt<Result>(call: () => Result, name: string): Result | Error {
  try {
    return call()
  } catch (error) {
    if (error instanceof ArgumentError) return new ArgumentError(`${name}: ${error.message}`, { cause: error })
    if (error instanceof Error) return error
    throw error
  }
}
