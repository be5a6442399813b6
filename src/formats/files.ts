// The one file of the Node platform that touches the file system for models, tokenizers and data.
import { randomBytes } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import * as fs from 'node:fs/promises'
import * as path from 'node:path'
import { BertkitError, FileError } from '../errors.ts'
import { MAX_SMALL_FILE, tooLarge } from './stream-source.ts'

const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EBUSY: 'it is in use',
  EDQUOT: 'the quota of disk space is used up',
  EEXIST: 'there is a file of that name',
  EFBIG: 'the file is too large for the file system',
  EIO: 'the device failed',
  EISDIR: 'it is a folder, not a file',
  ELOOP: 'its links lead in a circle',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'the name is too long',
  ENFILE: 'too many files are open',
  ENOENT: 'no such file or folder',
  ENOSPC: 'no space left on device',
  ENOTDIR: 'it, or a part of its path, is a file, not a folder',
  ENOTEMPTY: 'the folder is not empty',
  EPERM: 'the system does not allow it',
  EROFS: 'the file system is read-only',
}

/** What the system's name of an error means, such as ENOSPC. One that is rare is given back. */
export const reasonOf = (errno: string): string => (Object.hasOwn(REASONS, errno) ? REASONS[errno] : errno)

/** Runs a file-system call; a failure becomes a FileError that says the action, the path and why, and has the errno. */
export async function guarded<Result>(action: string, file: string, call: () => Promise<Result>): Promise<Result> {
  try {
    return await call()
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === undefined || error instanceof BertkitError) throw error
    throw new FileError(`Cannot ${action} ${file}: ${reasonOf(errno)}`, errno, { cause: error })
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

/** Throws FileError where there is no such folder, or another thing. */
export async function checkFolder(folder: string): Promise<void> {
  const isFolder = await guarded('open', folder, async () => (await fs.stat(folder)).isDirectory()).catch((error) => {
    if (!(error instanceof FileError && error.errno === 'ENOENT')) throw error
    throw new FileError(`Cannot open ${folder}: no such folder`, 'ENOENT', { cause: error.cause })
  })
  if (!isFolder)
    throw new FileError(`Cannot open ${folder}: expected the folder of a model, but it is a file`, 'ENOTDIR')
}

/** The names in a folder; none where there is no such folder. */
export async function listNames(folder: string): Promise<string[]> {
  try {
    return await guarded('list', folder, () => fs.readdir(folder))
  } catch (error) {
    if (error instanceof FileError && (error.errno === 'ENOENT' || error.errno === 'ENOTDIR')) return []
    throw error
  }
}

/** The size of a file; 0 of a pipe. */
export const fileBytes = async (file: string): Promise<number> =>
  (await guarded('read', file, () => fs.stat(file))).size

export const readText = (file: string): Promise<string> => guarded('read', file, () => fs.readFile(file, 'utf8'))

/** The bytes of a file, or of what comes out of a pipe. */
export const readBytes = (file: string): Promise<Uint8Array> => guarded('read', file, () => fs.readFile(file))

/** The bytes of a small file of a model folder: of a regular file, as `openFile` opens it. */
export async function readModelBytes(file: string): Promise<Uint8Array> {
  const handle = await openFile(file)
  try {
    if ((await handle.stat()).size > MAX_SMALL_FILE) throw tooLarge(file)
    return await guarded('read', file, () => handle.readFile())
  } finally {
    await handle.close()
  }
}

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

/** A name beside `file` that no other writer uses, of this process or another; it says which process that is. */
const temporaryOf = (file: string): string => `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
const TEMPORARY = /\.(\d+)\.[0-9a-f]{8}\.tmp$/

/** Removes files of a folder that may be gone already, and makes that survive a power failure. */
export async function removeFiles(folder: string, names: readonly string[]): Promise<void> {
  if (names.length === 0) return
  for (const name of names) {
    const file = path.join(folder, name)
    await guarded('remove', file, () => fs.rm(file, { force: true }))
  }
  await syncFolder(folder)
}

/** Gives the file `from` the name `to` as well, in place of what had it. */
export async function linkOver(from: string, to: string): Promise<void> {
  const temporary = temporaryOf(to)
  await guarded('write', to, async () => {
    await fs.link(from, temporary)
    try {
      await fs.rename(temporary, to)
    } catch (error) {
      await fs.rm(temporary, { force: true })
      throw error
    }
  })
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) !== 'ESRCH'
  }
}

/** Removes temporaries of `writeAtomic` in a folder whose process died before it could. */
export async function removeStaleTemporaries(folder: string): Promise<void> {
  const stale = (await listNames(folder)).filter((name) => {
    const pid = TEMPORARY.exec(name)?.[1]
    return pid !== undefined && !isRunning(Number(pid))
  })
  await removeFiles(folder, stale)
}

/** The content of a file to be, safe on disk under another name. */
export interface StagedFile {
  /** Puts it in the place of the old file, in one step, and syncs the folder. */
  commit(): Promise<void>
  /** Whether it is in that place, which it may be though `commit` has failed: then the folder could not be synced. */
  readonly isCommitted: boolean
  /** Removes it; the old file stays as it was. */
  discard(): Promise<void>
}

/** Writes what shall become `file` beside it, and syncs it. A failure leaves nothing. */
export async function stageFile(
  file: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<StagedFile> {
  const temporary = temporaryOf(file)
  const discard = () => fs.rm(temporary, { force: true })
  const orDiscard = (call: () => Promise<void>): Promise<void> =>
    guarded('write', file, async () => {
      try {
        await call()
      } catch (error) {
        await discard()
        throw error
      }
    })
  await orDiscard(async () => {
    const handle = await fs.open(temporary, 'w')
    try {
      for await (const chunk of chunks) await handle.writeFile(chunk)
      await handle.sync()
    } finally {
      await handle.close()
    }
  })
  let isCommitted = false
  const commit = (): Promise<void> =>
    orDiscard(async () => {
      await fs.rename(temporary, file)
      isCommitted = true
      await syncFolder(path.dirname(file))
    })
  return {
    commit,
    discard,
    get isCommitted() {
      return isCommitted
    },
  }
}

/** The same of a text. */
export const stageText = (file: string, text: string): Promise<StagedFile> =>
  stageFile(file, [Buffer.from(text, 'utf8')])

/**
 * Replaces `file` atomically: temporary beside it, write, sync, rename, sync the folder.
 * A failure removes the temporary and leaves the old file as it was.
 */
export async function writeAtomic(
  file: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const staged = await stageFile(file, chunks)
  await staged.commit()
}

/** Removes `file` if it is there. */
export const removeFile = (file: string): Promise<void> => guarded('remove', file, () => fs.rm(file, { force: true }))

export const writeText = async (file: string, text: string): Promise<void> => (await stageText(file, text)).commit()
