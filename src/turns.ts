import { AbortedError } from './errors.ts'

/** Longest time that preparing data or choosing tokens keeps the event loop, in milliseconds; half of what is promised. */
const SLICE = 5

interface Turns {
  readonly setImmediate?: (call: () => void) => unknown
  readonly scheduler?: { readonly yield?: () => Promise<void> }
}

/**
 * Resolves in the next turn of the event loop. Timers wait at least a millisecond, and four in a browser; setImmediate and
 * scheduler.yield do not, where there is one.
 */
export function nextTurn(): Promise<void> {
  const { setImmediate, scheduler } = globalThis as Turns
  if (!setImmediate && scheduler?.yield) return scheduler.yield()
  return new Promise((resolve) => {
    if (setImmediate) setImmediate(resolve)
    else setTimeout(resolve, 0)
  })
}

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

/** What `promise` gives, or an AbortedError as soon as `signal` fires: what it waits for may take long, or never come. */
export async function unlessAborted<Result>(
  promise: Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  if (signal === undefined) return promise
  let stop = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new AbortedError())
  })
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
