import { AbortedError, ArgumentError } from './errors.ts'

/**
 * Work that can be watched or awaited: loop over it once for its events, or await it for its result, as often as wanted. It starts when
 * either is first asked for, and runs once. Awaited while a loop goes on or after it, it gives what the loop's end gives; so it cannot be
 * awaited inside the loop. Leaving the loop early stops it. A loop over what was looped over or awaited before is an ArgumentError.
 */
export class Run<Event, Output> implements AsyncIterable<Event>, PromiseLike<Output> {
  readonly #events: AsyncGenerator<Event, Output>
  readonly #noResult: string
  /** There from the first use on. Only that use takes events: two would each miss what the other got. */
  #result: Promise<Output> | undefined

  /** `noResult`: the message for who awaits work whose loop was left before its end. */
  constructor(events: AsyncGenerator<Event, Output>, noResult: string) {
    this.#events = events
    this.#noResult = noResult
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, Output> {
    if (this.#result)
      throw new ArgumentError(
        'Expected a run that is not under way, but it was looped over or awaited before: loop once for the events, and await for the result during the loop or after it',
      )
    let resolve!: (output: Output) => void
    let reject!: (reason: unknown) => void
    this.#result = new Promise<Output>((fulfil, fail) => {
      resolve = fulfil
      reject = fail
    })
    // who loops has the error already, and need not await as well
    this.#result.catch(() => {})
    try {
      const output = yield* this.#events
      resolve(output)
      return output
    } catch (error) {
      reject(error)
      throw error
    } finally {
      // does nothing where the run has ended: only a loop that was left settles it here
      reject(new AbortedError(this.#noResult))
    }
  }

  // biome-ignore lint/suspicious/noThenProperty: a run is awaited for its result
  then<Fulfilled = Output, Rejected = never>(
    onFulfilled?: ((output: Output) => Fulfilled | PromiseLike<Fulfilled>) | null,
    onRejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    this.#result ??= this.#drain()
    return this.#result.then(onFulfilled, onRejected)
  }

  async #drain(): Promise<Output> {
    for (;;) {
      const item = await this.#events.next()
      if (item.done) return item.value
    }
  }
}
