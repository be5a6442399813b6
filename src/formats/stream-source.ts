import { FileError, WeightsError } from '../errors.ts'
import { type ByteSource, endsEarly } from './source.ts'

/** Bytes as they come. */
export interface Chunks {
  /** The next ones; undefined after the last. */
  next(): Promise<Uint8Array | undefined>
  /** Gives up what has not come yet. */
  cancel(): void
}

/**
 * A stream that is read at growing positions: of what comes, no more is kept than a chunk. One that can be had `again` may rest, and is
 * read from its beginning then.
 */
export class StreamSource implements ByteSource {
  readonly size = Number.POSITIVE_INFINITY
  #chunks: Chunks | undefined
  /** What has come and was not read. */
  #rest: Uint8Array = new Uint8Array()
  #position = 0

  constructor(
    readonly name: string,
    first: Chunks,
    private readonly again?: () => Promise<Chunks>,
  ) {
    this.#chunks = first
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    if (position < this.#position && this.again) this.rest()
    if (position < this.#position)
      throw new WeightsError(`${this.name}: a stream cannot be read again from ${position}; it is at ${this.#position}`)
    while (this.#position < position) await this.#take(position - this.#position, target, 0, position)
    for (let filled = 0; filled < target.length; ) {
      const part = await this.#take(target.length - filled, target, filled, position)
      target.set(part, filled)
      filled += part.length
    }
  }

  /** From 1 to `most` bytes. */
  async #take(most: number, { length }: Uint8Array, filled: number, position: number): Promise<Uint8Array> {
    this.#chunks ??= await this.again!()
    while (this.#rest.length === 0) {
      const chunk = await this.#chunks.next()
      if (chunk === undefined) throw endsEarly(this.name, length, position, filled)
      this.#rest = chunk
    }
    const part = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(part.length)
    this.#position += part.length
    return part
  }

  rest(): void {
    if (!this.again) return
    this.#chunks?.cancel()
    this.#chunks = undefined
    this.#rest = new Uint8Array()
    this.#position = 0
  }

  async close(): Promise<void> {
    this.#chunks?.cancel()
  }
}

/** What a file of a model may have that is read whole, as a tokenizer or a config is: far more than any has. */
export const MAX_SMALL_FILE = 64 * 2 ** 20

export const tooLarge = (name: string): FileError =>
  new FileError(`${name}: expected a file of at most ${MAX_SMALL_FILE} bytes, as it is read whole`, 'EFBIG')

/** All bytes of a stream, in memory once: of a small file of a model. */
export async function gather(chunks: Chunks, name: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for (;;) {
    const chunk = await chunks.next()
    if (chunk === undefined) break
    size += chunk.length
    if (size > MAX_SMALL_FILE) {
      chunks.cancel()
      throw tooLarge(name)
    }
    parts.push(chunk)
  }
  if (parts.length === 1) return parts[0]
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** All bytes of a stream, where a Blob keeps them. */
export async function gatherBlob(chunks: Chunks): Promise<Blob> {
  const parts: Blob[] = []
  for (;;) {
    const chunk = await chunks.next()
    if (chunk === undefined) return new Blob(parts)
    parts.push(new Blob([chunk as Uint8Array<ArrayBuffer>]))
  }
}
