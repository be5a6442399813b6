import { ArgumentError, BusyError, DisposedError } from '../errors.ts'
import type { BertConfig } from '../model/config.ts'
import type { CachedDecoder } from './cached-decoder.ts'

/**
 * Keys and values of what a decoder has read, in the model's memory: forward's `pastKeyValues`. Each forward that is given it reads
 * on where the last one ended, and it grows. Transformers' DynamicCache.
 */
export class KeyValueCache {
  #decoder: CachedDecoder | undefined
  #busy = false

  /** @internal */
  constructor(
    /** The model that it belongs to. */
    readonly owner: object,
    private readonly config: BertConfig,
    decoder: CachedDecoder,
  ) {
    this.#decoder = decoder
  }

  /** @internal Of the last call. */
  get poolerOutput(): Float32Array | undefined {
    return this.#alive().poolerOutput
  }

  /** Tokens read so far, of each sequence. */
  get lengths(): number[] {
    return this.#alive().lengths
  }

  /** @internal Reads more tokens of each sequence; the output of all of them, one sequence after another. */
  async append(tokens: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array> {
    const decoder = this.#alive()
    if (this.#busy) throw new BusyError('This cache is in use: await its forward before the next')
    const { lengths } = decoder
    if (tokens.length !== lengths.length)
      throw new ArgumentError(
        `Expected inputIds for the ${lengths.length} sequences of pastKeyValues but received ${tokens.length}`,
      )
    for (const [b, { length }] of tokens.entries())
      if (lengths[b] + length > this.config.maxPositionEmbeddings)
        throw new ArgumentError(
          `inputIds[${b}] has ${length} tokens after ${lengths[b]} in pastKeyValues, but the model takes at most ${this.config.maxPositionEmbeddings} (max_position_embeddings)`,
        )
    this.#busy = true
    try {
      return await decoder.append(tokens, signal)
    } finally {
      this.#busy = false
    }
  }

  /** Gives its memory back to the model. A BusyError while a forward uses it. */
  dispose(): void {
    if (this.#busy) throw new BusyError('This cache is in use: await its forward before dispose()')
    this.#decoder?.end()
    this.#decoder = undefined
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #alive(): CachedDecoder {
    if (!this.#decoder) throw new DisposedError('This cache was disposed')
    return this.#decoder
  }
}
