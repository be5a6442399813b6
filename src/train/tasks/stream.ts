import { shuffleStream } from '../../data/stream.ts'
import { DataError } from '../../errors.ts'
import { checkGoesOn } from '../slices.ts'
import type { Example, StreamedDataset } from '../types.ts'
import type { TaskRow } from './task.ts'

/** Rows that can be read again and again, and how they become examples. */
export interface ExampleSource {
  /** Names the data in errors. */
  readonly file: string
  readonly rows: () => AsyncIterable<TaskRow>
  /** `pass`: of tasks that make their examples by chance, each pass makes others. */
  readonly examples: (rows: AsyncIterable<TaskRow>, pass: number) => AsyncIterable<Example>
  /** Each row is one example: rows are shuffled, and skipped, before they are tokenised. */
  readonly rowsAreExamples: boolean
  /** Rows or examples that are shuffled together. */
  readonly buffer: number
  readonly signal?: AbortSignal
}

/** What tells a second pass of an epoch from the first of another. */
const AGAIN = 2 ** 20

/**
 * A dataset over what a source gives. Of `length` examples an epoch has exactly as many: where a pass makes fewer, another one begins.
 * Without a length one epoch goes on through passes for ever.
 */
export function streamOf(source: ExampleSource, length: number | undefined): StreamedDataset {
  const { buffer, examples, file, rows, rowsAreExamples, signal } = source
  return {
    length,
    async *examples({ epoch, seed, shuffle, skip }) {
      let left = skip
      let given = skip
      for (let pass = epoch; ; pass += length === undefined ? 1 : AGAIN) {
        let total = 0
        const count = (): void => {
          total++
          checkGoesOn(signal)
        }
        const ordered = <Item>(items: AsyncIterable<Item>): AsyncIterable<Item> => {
          const counted = watching(items, count)
          const order = { seed, epoch: pass, bufferSize: buffer, skip: left }
          return shuffle ? shuffleStream(counted, order) : skipping(counted, left)
        }
        const made = rowsAreExamples ? examples(ordered(rows()), pass) : ordered(examples(rows(), pass))
        for await (const example of made) {
          if (given++ === length) return
          yield example
        }
        if (given === length) return
        if (total === 0) throw new DataError('expected at least one example, but found none', file)
        // what is to be skipped may go on through several passes
        left = Math.max(0, left - total)
      }
    },
  }
}

/** Calls `watch` for each item. */
export async function* watching<Item>(items: AsyncIterable<Item>, watch: () => void): AsyncGenerator<Item> {
  for await (const item of items) {
    watch()
    yield item
  }
}

async function* skipping<Item>(items: AsyncIterable<Item>, count: number): AsyncGenerator<Item> {
  let left = count
  for await (const item of items) if (left-- <= 0) yield item
}
