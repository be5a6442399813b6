// From inputs to outputs: tokenised one by one, computed in batches, given in their order.
import { AbortedError, ArgumentError } from '../errors.ts'
import { slices } from '../turns.ts'
import { PAUSE, ReadAhead } from './read-ahead.ts'
import type { Job, Sequence } from './task.ts'

export interface Work<Input, Rows, Output> {
  readonly start: (input: Input) => Job<Rows, Output>
  readonly compute: (sequences: readonly Sequence[]) => Promise<Rows[]>
  /** The most sequences in a batch. */
  readonly batchSize: number
  /** The most tokens in a batch of more than one sequence. */
  readonly maxTokens: number
  readonly signal: AbortSignal | undefined
  /** How errors name an input. */
  readonly nameOf: (index: number) => string
}

interface Started<Rows, Output> extends Job<Rows, Output> {
  readonly rows: Rows[]
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

  async function compute(): Promise<void> {
    if (batch.length === 0) return
    checkSignal()
    const rows = await work.compute(batch.map(({ sequence }) => sequence))
    for (const [i, { job }] of batch.entries()) job.rows.push(rows[i])
    batch = []
    tokens = 0
  }

  async function add(job: Started<Rows, Output>): Promise<void> {
    jobs.push(job)
    for (const sequence of job.sequences) {
      const { length } = sequence.inputIds
      if (batch.length === batchSize || tokens + length > maxTokens) await compute()
      batch.push({ job, sequence })
      tokens += length
    }
    if (batch.length === batchSize) await compute()
  }

  async function* finished(): AsyncGenerator<Output> {
    while (jobs.length > 0 && jobs[0].rows.length === jobs[0].sequences.length) {
      const { rows, finish } = jobs.shift()!
      yield finish(rows)
      await turn()
      checkSignal()
    }
  }

  let index = 0
  checkSignal()
  const source = Symbol.asyncIterator in inputs ? new ReadAhead(inputs, batchSize, signal) : inputs
  for await (const input of source) {
    checkSignal()
    if (input === PAUSE) await compute()
    else {
      const job = started(() => work.start(input as Input), work.nameOf(index++))
      if (job instanceof Error) {
        // of a stream the outputs before it are wanted
        await compute()
        yield* finished()
        throw job
      }
      await add({ ...job, rows: [] })
    }
    yield* finished()
    await turn()
  }
  await compute()
  yield* finished()
}

/** What `start` gives, or its error; an ArgumentError says which input it is about. */
function started<Result>(start: () => Result, name: string): Result | Error {
  try {
    return start()
  } catch (error) {
    if (error instanceof ArgumentError) return new ArgumentError(`${name}: ${error.message}`, { cause: error })
    if (error instanceof Error) return error
    throw error
  }
}
