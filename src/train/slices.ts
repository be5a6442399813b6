import { AbortedError } from '../errors.ts'
import { slices } from '../turns.ts'

/**
 * Maps `items` to an array, giving the event loop a turn every few milliseconds.
 * Throws AbortedError when `signal` fires between two items.
 */
export async function mapInSlices<Item, Result>(
  items: Iterable<Item>,
  convert: (item: Item, index: number) => Result,
  signal?: AbortSignal,
): Promise<Result[]> {
  const results: Result[] = []
  const turn = slices()
  for (const item of items) {
    results.push(convert(item, results.length))
    const due = turn()
    if (due === undefined) continue
    await due
    if (signal?.aborted) throw new AbortedError('The preparation of data was aborted by its signal')
  }
  return results
}
