import type { FileHandle } from 'node:fs/promises'
import { guarded, openFile } from './files.ts'
import { type ByteSource, endsEarly } from './source.ts'

// The system call's limit is 2^31 - 1 bytes.
const MAX_READ_BYTES = 2 ** 30

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
