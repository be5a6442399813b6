import { RandomStream } from '../random.ts'
import { slices } from '../turns.ts'

export interface ShuffleOptions {
  seed: number
  /** From 0; each has another order. */
  epoch: number
  /** How many rows are held, at least 1: rows of the file that lie further apart than this hardly change places. */
  bufferSize: number
  /** How many rows of the order to leave out, to go on where a run was stopped. */
  skip?: number
}

/** Sets this stream apart from other uses of the same seed. */
const STREAM_ORDER = 0x73747265

/**
 * Shuffles rows that are too many for memory. A buffer is filled; each further row takes the place of a random one of the buffer,
 * which is given; what is left at the end is given in random order. With a buffer of all rows the order is a uniform permutation.
 * The order is a pure function of (seed, epoch, the rows' order in their file): the buffer of any position is rebuilt by
 * reading up to it, and nothing has to be saved.
 */
export async function* shuffleStream<Row>(
  rows: AsyncIterable<Row>,
  { seed, epoch, bufferSize, skip = 0 }: ShuffleOptions,
): AsyncGenerator<Row> {
  const random = new RandomStream(seed, epoch, 0, STREAM_ORDER)
  const turn = slices()
  const buffer: Row[] = []
  let given = 0
  for await (const row of rows) {
    if (buffer.length < bufferSize) {
      buffer.push(row)
      continue
    }
    const place = random.below(bufferSize)
    const chosen = buffer[place]
    buffer[place] = row
    if (given++ >= skip) yield chosen
  }
  while (buffer.length > 0) {
    const place = random.below(buffer.length)
    const chosen = buffer[place]
    buffer[place] = buffer[buffer.length - 1]
    buffer.pop()
    if (given++ >= skip) yield chosen
    else await turn()
  }
}
