import { nextTurn } from '../turns.ts'

/** Stands where the source keeps its reader waiting. */
export const PAUSE = Symbol('pause')

/** Reads a source ahead of who iterates over it, up to `limit` items; when there is none for now it gives PAUSE, once, and waits. */
export class ReadAhead<Item> implements AsyncIterable<Item | typeof PAUSE> {
  readonly #source: AsyncIterator<Item>
  readonly #limit: number
  readonly #signal: AbortSignal | undefined
  readonly #items: Item[] = []
  #ended = false
  #failure: { readonly error: unknown } | undefined
  /** Wakes whoever waits: the reader for an item, or the source for room. */
  #wake = () => {}

  constructor(source: AsyncIterable<Item>, limit: number, signal: AbortSignal | undefined) {
    this.#source = source[Symbol.asyncIterator]()
    this.#limit = limit
    this.#signal = signal
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item | typeof PAUSE> {
    void this.#pump()
    const wake = () => this.#wake()
    this.#signal?.addEventListener('abort', wake)
    try {
      for (;;) {
        if (this.#isWaiting()) await nextTurn()
        if (this.#isWaiting()) {
          yield PAUSE
          while (this.#isWaiting()) await this.#woken()
        }
        if (this.#items.length > 0) {
          const item = this.#items.shift()!
          this.#wake()
          yield item
          continue
        }
        if (this.#ended && !this.#failure) return
        yield PAUSE // before a failure, and when the signal fired, which the reader looks at
        if (this.#failure) throw this.#failure.error
      }
    } finally {
      this.#signal?.removeEventListener('abort', wake)
      // Not awaited: a source that is busy would be waited for, maybe for ever.
      if (!this.#ended) void this.#leave()
      this.#ended = true
      this.#wake()
    }
  }

  /** Tells the source that nobody reads on; what it makes of that reaches nobody either. */
  async #leave(): Promise<void> {
    try {
      await this.#source.return?.()
    } catch {}
  }

  #isWaiting(): boolean {
    return this.#items.length === 0 && !this.#ended && !this.#signal?.aborted
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  async #pump(): Promise<void> {
    try {
      while (!this.#ended) {
        const { done, value } = await this.#source.next()
        if (done) break
        this.#items.push(value)
        this.#wake()
        while (this.#items.length >= this.#limit && !this.#ended) await this.#woken()
      }
    } catch (error) {
      this.#failure = { error }
    }
    this.#ended = true
    this.#wake()
  }
}
