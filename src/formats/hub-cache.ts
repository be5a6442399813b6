/**
 * The Hub's cache on disk, laid out as Python's huggingface_hub does:
 *
 *     models--org--name/blobs/<etag>                  the content, once
 *     models--org--name/snapshots/<commit>/<file>     a relative link to its blob
 *     models--org--name/refs/<revision>               the commit that a branch or tag was at
 *     models--org--name/.no_exist/<commit>/<file>     empty: the commit has no such file
 *
 * Whatever appears under its final name is complete: everything is made under a name of its own and renamed. So any number of
 * processes, Python's too, may fill one cache at a time; at worst a file is fetched twice.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { guarded, makeFolder, syncFolder } from './files.ts'

const COMMIT = /^[0-9a-f]{40}$/
export const isCommit = (text: string): boolean => COMMIT.test(text)

/** Whether something of that name is there, of any kind and readable or not. */
export const isThere = (file: string): Promise<boolean> =>
  fs.lstat(file).then(
    () => true,
    (error: unknown) => !isErrno(error, 'ENOENT', 'ENOTDIR'),
  )

const exists = (file: string): Promise<boolean> =>
  fs.stat(file).then(
    () => true,
    () => false,
  )

const isErrno = (error: unknown, ...codes: string[]): boolean =>
  error instanceof Error && 'code' in error && codes.includes(String(error.code))

let host: string | undefined
/** Asked for when it is needed: Deno must be allowed to tell it. */
const ownHost = (): string => {
  host ??= createHash('sha256').update(os.hostname()).digest('hex').slice(0, 8)
  return host
}
let counter = 0
/** Part of a name that no other process of any machine uses, and that says which process of this machine did. */
const ownName = (): string => `${ownHost()}-${process.pid}-${counter++}`

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}

/** Makes `target` under another name and renames it, over an older one too. */
async function putInPlace(target: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${target}.${ownName()}.tmp`
  await makeFolder(path.dirname(target))
  await guarded('write', target, async () => {
    try {
      await make(temporary)
      await fs.rename(temporary, target)
    } catch (error) {
      await fs.rm(temporary, { force: true })
      throw error
    }
  })
}

/** A blob that is being loaded. Ends with `finish` or with `abandon`. */
export class PartialBlob {
  constructor(
    readonly file: string,
    private readonly blob: string,
    private readonly handle: fs.FileHandle,
    /** Bytes that are there. */
    public length: number,
  ) {}

  async append(chunk: Uint8Array): Promise<void> {
    await guarded('write', this.file, async () => {
      for (let done = 0; done < chunk.length; )
        done += (await this.handle.write(chunk, done, chunk.length - done, this.length + done)).bytesWritten
    })
    this.length += chunk.length
  }

  async truncate(length: number): Promise<void> {
    await guarded('write', this.file, () => this.handle.truncate(length))
    this.length = length
  }

  /** Gives the whole and checked file its name; only what is safely on the disk gets it. */
  async finish(): Promise<void> {
    await guarded('write', this.file, () => this.handle.sync())
    await this.handle.close()
    await guarded('write', this.blob, () => fs.rename(this.file, this.blob))
    await syncFolder(path.dirname(this.blob))
  }

  /** Leaves what came for the next call, or removes it. */
  async abandon(keep: boolean): Promise<void> {
    await this.handle.close().catch(() => {})
    const remove = () => fs.rm(this.file, { force: true })
    await (keep && this.length > 0 ? fs.rename(this.file, `${this.blob}.incomplete`).catch(remove) : remove())
  }
}

/** The cache of one model. */
export class HubCache {
  readonly folder: string
  readonly #blobs: string
  readonly #symlinks: boolean

  constructor({ cacheDir, symlinks }: { readonly cacheDir: string; readonly symlinks: boolean }, id: string) {
    this.folder = path.join(cacheDir, `models--${id.replaceAll('/', '--')}`)
    this.#blobs = path.join(this.folder, 'blobs')
    this.#symlinks = symlinks
  }

  snapshot(commit: string): string {
    return path.join(this.folder, 'snapshots', commit)
  }

  file(commit: string, file: string): string {
    return path.join(this.snapshot(commit), ...file.split('/'))
  }

  /** The commit that a revision stands for; undefined where the cache does not say. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision
    const text = await fs.readFile(path.join(this.folder, 'refs', ...revision.split('/')), 'utf8').catch(() => '')
    return isCommit(text.trim()) ? text.trim() : undefined
  }

  has(commit: string, file: string): Promise<boolean> {
    return exists(this.file(commit, file))
  }

  #absence(commit: string, file: string): string {
    return path.join(this.folder, '.no_exist', commit, ...file.split('/'))
  }

  /** Whether the cache knows that a commit has, or has not, a file. */
  async knows(commit: string, file: string): Promise<boolean> {
    return (await this.has(commit, file)) || (await exists(this.#absence(commit, file)))
  }

  /** Notes that a commit has no such file. It only saves a question, so a failure is none. */
  async noteAbsence(commit: string, file: string): Promise<void> {
    const note = this.#absence(commit, file)
    await fs
      .mkdir(path.dirname(note), { recursive: true })
      .then(() => fs.writeFile(note, ''))
      .catch(() => {})
  }

  async writeRef(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return
    const ref = path.join(this.folder, 'refs', ...revision.split('/'))
    await putInPlace(ref, (temporary) => fs.writeFile(temporary, commit))
  }

  #blob(etag: string): string {
    return path.join(this.#blobs, etag)
  }

  async hasBlob(etag: string, size: number): Promise<boolean> {
    const stats = await fs.stat(this.#blob(etag)).catch(() => undefined)
    return stats?.isFile() === true && stats.size === size
  }

  /** A file of this call alone to load a blob into; where `resume` is true, it begins as what an interrupted download left. */
  async openPartial(etag: string, resume: boolean): Promise<PartialBlob> {
    await makeFolder(this.#blobs)
    const file = `${this.#blob(etag)}.${ownName()}.incomplete`
    if (resume) await this.#takeRemains(etag, file)
    const handle = await guarded('write', file, () => fs.open(file, constants.O_RDWR | constants.O_CREAT))
    return new PartialBlob(file, this.#blob(etag), handle, (await handle.stat()).size)
  }

  /** Renames one of the files that an interrupted download left. Of several calls that want the same file, one succeeds. */
  async #takeRemains(etag: string, file: string): Promise<void> {
    const isLeft = (name: string): boolean => {
      if (name === `${etag}.incomplete`) return true
      if (!name.startsWith(`${etag}.`)) return false
      // written by a process of this machine that has ended
      const [, host, pid] = /^\.([0-9a-f]{8})-(\d+)-\d+\.incomplete$/.exec(name.slice(etag.length)) ?? []
      return host === ownHost() && !isRunning(Number(pid))
    }
    for (const name of await fs.readdir(this.#blobs)) {
      if (!isLeft(name)) continue
      try {
        return await fs.rename(path.join(this.#blobs, name), file)
      } catch (error) {
        if (!isErrno(error, 'ENOENT', 'EPERM', 'EACCES', 'EBUSY')) throw error
      }
    }
  }

  /** Puts a blob into a snapshot, as a link where the platform has links. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const target = this.file(commit, file)
    const blob = this.#blob(etag)
    await putInPlace(target, async (temporary) => {
      try {
        if (this.#symlinks) return await fs.symlink(path.relative(path.dirname(target), blob), temporary, 'file')
      } catch (error) {
        // Windows without the right to make links, and file systems that have none
        if (!isErrno(error, 'EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'UNKNOWN')) throw error
      }
      await fs.copyFile(blob, temporary)
    })
  }
}
