import { AbortedError } from './errors.ts'

/**
 * Work that can be watched or awaited: iterate it for its events, or await it for its result. It starts when either is first asked
 * for, and runs once; leaving the loop early stops it.
 */
export class Run<Event, Output> implements AsyncIterable<Event>, PromiseLike<Output> {
  readonly #events: AsyncGenerator<Event, Output>
  readonly #noResult: string
  #result: Promise<Output> | undefined

  /** `noResult`: the message for who awaits work that failed or was left before its end. */
  constructor(events: AsyncGenerator<Event, Output>, noResult: string) {
    this.#events = events
    this.#noResult = noResult
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Event, Output> {
    const output = yield* this.#events
    this.#result = Promise.resolve(output)
    return output
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
      if (!item.done) continue
      // A generator that was left early is done without a value.
      if ((item.value as Output | undefined) === undefined) throw new AbortedError(this.#noResult)
      return item.value
    }
  }
}
