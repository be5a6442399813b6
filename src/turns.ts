/** Longest time that preparing data or choosing tokens keeps the event loop, in milliseconds; half of what is promised. */
const SLICE = 5

/** Resolves in the next turn of the event loop: timers wait at least a millisecond; setImmediate does not, where there is one. */
export const nextTurn = (): Promise<void> =>
  new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve)
    else setTimeout(resolve, 0)
  })

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
