import type { FileHandle } from 'node:fs/promises'
import { WeightsError } from '../errors.ts'
import { guarded, openFile } from './files.ts'

// The system call's limit is 2^31 - 1 bytes.
const MAX_READ_BYTES = 2 ** 30

/** Bytes that are read at given positions. What reads a format reads one of these, so that a file and memory are alike. */
export interface ByteSource {
  /** Begins error messages. */
  readonly name: string
  /** In bytes, when it was opened. */
  readonly size: number
  /** Fills `target` from `position`; a WeightsError where the bytes end first (a file that was cut after it was opened). */
  read(target: Uint8Array, position: number): Promise<void>
  close(): Promise<void>
}

const endsEarly = (name: string, wanted: number, position: number, done: number) =>
  new WeightsError(`${name}: expected ${wanted} bytes at ${position}, but the file ends after ${done} of them`)

class FileSource implements ByteSource {
  constructor(
    readonly name: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  async read(target: Uint8Array, position: number): Promise<void> {
    let done = 0
    while (done < target.length) {
      const length = Math.min(target.length - done, MAX_READ_BYTES)
      const { bytesRead } = await guarded('read', this.name, () =>
        this.handle.read(target, done, length, position + done),
      )
      if (bytesRead === 0) throw endsEarly(this.name, target.length, position, done)
      done += bytesRead
    }
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

/** Opens a regular file; the caller closes it. A FileError where that cannot be. */
export async function openSource(file: string): Promise<ByteSource> {
  const handle = await openFile(file)
  try {
    const { size } = await guarded('read', file, () => handle.stat())
    return new FileSource(file, size, handle)
  } catch (error) {
    await handle.close()
    throw error
  }
}

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
