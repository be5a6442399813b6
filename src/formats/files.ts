// The one file of the Node platform that touches the file system for models, tokenizers and data.
import { constants, createReadStream } from 'node:fs'
import * as fs from 'node:fs/promises'
import * as path from 'node:path'
import { BertkitError, FileError } from '../errors.ts'

const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

/** Runs a file-system call; a failure becomes a FileError that names the action, the path and the errno. */
export async function guarded<Result>(action: string, file: string, call: () => Promise<Result>): Promise<Result> {
  try {
    return await call()
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined || error instanceof BertkitError) throw error
    const reason = errno === 'ENOENT' ? 'no such file or folder' : errno
    throw new FileError(`Cannot ${action} ${file}: ${reason}`, errno, { cause: error })
  }
}

export const joinPath = (...parts: string[]): string => path.join(...parts)

/** Whether `file` exists and can be read. */
export async function exists(file: string): Promise<boolean> {
  try {
    await fs.access(file, constants.R_OK)
    return true
  } catch {
    return false
  }
}

export const readBytes = (file: string): Promise<Uint8Array> => guarded('read', file, () => fs.readFile(file))

export const readText = (file: string): Promise<string> => guarded('read', file, () => fs.readFile(file, 'utf8'))

export const makeFolder = (folder: string): Promise<unknown> =>
  guarded('create', folder, () => fs.mkdir(folder, { recursive: true }))

/**
 * Opens a regular file for reading at given positions; the caller closes it. A pipe, a device or a folder is refused:
 * where a file of a model is expected it could only block or never end.
 */
export const openFile = (file: string): Promise<fs.FileHandle> =>
  guarded('open', file, async () => {
    // Without O_NONBLOCK the open itself would wait for a pipe's writer. It has no effect on a regular file.
    const handle = await fs.open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    try {
      const stats = await handle.stat()
      if (!stats.isFile()) throw new FileError(`Cannot open ${file}: it is not a regular file`)
      return handle
    } catch (error) {
      await handle.close()
      throw error
    }
  })

/** Streams a file's bytes; a failure surfaces from the iterator as a FileError. */
export async function* streamBytes(file: string): AsyncGenerator<Uint8Array> {
  const chunks: AsyncIterator<Uint8Array> = createReadStream(file)[Symbol.asyncIterator]()
  try {
    for (;;) {
      const { done, value } = await guarded('read', file, () => chunks.next())
      if (done) return
      yield value
    }
  } finally {
    await chunks.return?.()
  }
}

/** Makes renames inside `folder` survive a power failure. */
export const syncFolder = (folder: string): Promise<void> =>
  guarded('sync', folder, async () => {
    if (process.platform === 'win32') return // a folder cannot be opened for sync there
    const handle = await fs.open(folder, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  })

/**
 * Replaces `file` atomically: temporary beside it, write, sync, rename, sync the folder.
 * A failure removes the temporary and leaves the old file as it was.
 */
export async function writeAtomic(
  file: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`
  await guarded('write', file, async () => {
    const handle = await fs.open(temporary, 'w')
    try {
      try {
        for await (const chunk of chunks) await handle.writeFile(chunk)
        await handle.sync()
      } finally {
        await handle.close()
      }
      await fs.rename(temporary, file)
      await syncFolder(path.dirname(file))
    } catch (error) {
      await fs.rm(temporary, { force: true })
      throw error
    }
  })
}

export const writeText = (file: string, text: string): Promise<void> => writeAtomic(file, [Buffer.from(text, 'utf8')])
