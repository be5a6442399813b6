import { AbortedError } from '../errors.ts'

/** Longest time that preparing data keeps the event loop, in milliseconds; half of what is promised. */
const SLICE = 5

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Call the result between small pieces of work, and await what it returns: the next turn of the event loop when one is due. */
export function slices(): () => Promise<void> | undefined {
  let end = performance.now() + SLICE
  return () => {
    if (performance.now() < end) return undefined
    return nextTurn().then(() => {
      end = performance.now() + SLICE
    })
  }
}

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
