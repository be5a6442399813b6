import { WeightsError } from '../errors.ts'

/** Bytes that are read at given positions. What reads a format reads one of these, so that a file and memory are alike. */
export interface ByteSource {
  /** Begins error messages. */
  readonly name: string
  /** In bytes, when it was opened; Infinity of a stream, which only its end tells. */
  readonly size: number
  /** Fills `target` from `position`; a WeightsError where the bytes end first (a file that was cut after it was opened). */
  read(target: Uint8Array, position: number): Promise<void>
  close(): Promise<void>
  /** Lets go of what the next read can have again, such as a connection. */
  rest?(): void
}

export const endsEarly = (name: string, wanted: number, position: number, done: number) =>
  new WeightsError(`${name}: expected ${wanted} bytes at ${position}, but the file ends after ${done} of them`)

/** Bytes in memory. */
export class MemorySource implements ByteSource {
  readonly size: number
  constructor(
    readonly name: string,
    private readonly bytes: Uint8Array,
  ) {
    this.size = bytes.length
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    const found = this.bytes.subarray(position, position + target.length)
    target.set(found)
    if (found.length < target.length) throw endsEarly(this.name, target.length, position, found.length)
  }

  async close(): Promise<void> {}
}

/** Bytes that a Blob has, in memory or on disk as its maker likes. */
export class BlobSource implements ByteSource {
  readonly size: number
  constructor(
    readonly name: string,
    private readonly blob: Blob,
  ) {
    this.size = blob.size
  }

  async read(target: Uint8Array, position: number): Promise<void> {
    const found = new Uint8Array(await this.blob.slice(position, position + target.length).arrayBuffer())
    target.set(found)
    if (found.length < target.length) throw endsEarly(this.name, target.length, position, found.length)
  }

  async close(): Promise<void> {}
}

/** A buffer of a size that was checked against the file; a WeightsError where the process cannot have it. */
export function allocate<Buffer>(make: () => Buffer, bytes: number, where: string): Buffer {
  try {
    return make()
  } catch (error) {
    throw new WeightsError(`${where}: no memory for a tensor of ${bytes} bytes`, { cause: error })
  }
}

/** `length` bytes from `position`, which the caller has checked to lie inside. */
export async function readRange(source: ByteSource, position: number, length: number): Promise<Uint8Array> {
  const bytes = allocate(() => new Uint8Array(length), length, source.name)
  await source.read(bytes, position)
  return bytes
}
