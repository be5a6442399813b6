import { AbortedError } from '../errors.ts'
import { slices } from '../turns.ts'

/** Throws AbortedError where `signal` has fired while data is prepared. */
export function checkGoesOn(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('The preparation of data was stopped')
}

/** Called between pieces of work: throws AbortedError, or gives the event loop a turn that is due. */
export type Turn = () => Promise<void> | undefined

export function stoppableSlices(signal: AbortSignal | undefined): Turn {
  const next = slices()
  return () => {
    checkGoesOn(signal)
    return next()
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
    checkGoesOn(signal)
  }
  return results
}
