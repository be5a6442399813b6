/**
 * The Hub's cache on disk, laid out as Python's huggingface_hub does:
 *
 *     models--org--name/blobs/<etag>                  the content, once
 *     models--org--name/snapshots/<commit>/<file>     a relative link to its blob
 *     models--org--name/refs/<revision>               the commit that a branch or tag was at
 *     models--org--name/.no_exist/<commit>/<file>     empty: the commit has no such file
 *
 * Whatever appears under its final name is complete: everything is made under a name of its own and renamed. So any number of
 * processes and threads, Python's too, may fill one cache at a time; at worst a file is fetched twice. What an interrupted download
 * left is only copied, because its writer may still be there; it is removed once the blob is whole.
 */
import { createHash, randomBytes } from 'node:crypto'
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
/** Part of a name that no other call of any process or thread uses, and that says which process of this machine did. */
const ownName = (): string => `${ownHost()}-${process.pid}-${randomBytes(4).toString('hex')}`

/** How the name of a blob that is being loaded ends: which machine and process load it. */
const OWN = /^\.([0-9a-f]{8})-(\d+)-[0-9a-f]+\.incomplete$/
/** How the name of what a failed download left ends. Nobody writes to it any more. */
const LEFT = '.bertkit.incomplete'
/** The same in older versions of huggingface_hub, which append to it under a lock that is not looked at here. */
const SHARED = '.incomplete'
/** Milliseconds without a write after which a shared file counts as left: Python gives a silent connection up far earlier. */
const QUIET = 5 * 60_000

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

/** What an interrupted download left, as it was when it was looked at. */
interface Remains {
  readonly file: string
  readonly size: number
  readonly modified: number
}

async function remainsAt(file: string): Promise<Remains | undefined> {
  const stats = await fs.lstat(file).catch(() => undefined)
  return stats?.isFile() ? { file, size: stats.size, modified: stats.mtimeMs } : undefined
}

/** A blob that is being loaded. Ends with `finish` or with `abandon`. */
export class PartialBlob {
  constructor(
    readonly file: string,
    private readonly blob: string,
    private readonly handle: fs.FileHandle,
    /** Bytes that are there. */
    public length: number,
    private readonly remains: readonly Remains[],
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
    for (const { file, size, modified } of this.remains) {
      const now = await remainsAt(file)
      // what has changed since is somebody's who writes it
      if (now?.size === size && now.modified === modified) await fs.rm(file, { force: true }).catch(() => {})
    }
  }

  /** Leaves what came for the next call, or removes it. */
  async abandon(keep: boolean): Promise<void> {
    await this.handle.close().catch(() => {})
    const remove = () => fs.rm(this.file, { force: true })
    await (keep && this.length > 0 ? fs.rename(this.file, `${this.blob}${LEFT}`).catch(remove) : remove())
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
    await putInPlace(ref, (temporary) => fs.writeFile(temporary, commit, { flag: 'wx' }))
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
    const openNew = () => guarded('write', file, () => fs.open(file, 'wx+'))
    let handle = await openNew()
    const remains = resume ? await this.#remains(etag) : []
    for (const { file: source } of remains) {
      const { mode } = await handle.stat()
      await handle.close()
      try {
        await fs.copyFile(source, file, constants.COPYFILE_FICLONE)
        await fs.chmod(file, mode) // it is the source's now
        handle = await fs.open(file, 'r+')
        break
      } catch {
        // not ours to read, gone, or too long for the disk: not worth a failure
        await guarded('remove', file, () => fs.rm(file, { force: true }))
        handle = await openNew()
      }
    }
    return new PartialBlob(file, this.#blob(etag), handle, (await handle.stat()).size, remains)
  }

  /** What interrupted downloads of a blob left, the longest first. */
  async #remains(etag: string): Promise<Remains[]> {
    const found: Remains[] = []
    for (const name of await fs.readdir(this.#blobs).catch(() => [])) {
      if (!name.startsWith(`${etag}.`)) continue
      const end = name.slice(etag.length)
      const [, host, pid] = OWN.exec(end) ?? []
      const hasEnded = host === ownHost() && !isRunning(Number(pid))
      if (end !== LEFT && end !== SHARED && !hasEnded) continue
      const remains = await remainsAt(path.join(this.#blobs, name))
      if (remains && (end !== SHARED || Date.now() - remains.modified >= QUIET)) found.push(remains)
    }
    return found.sort((a, b) => b.size - a.size)
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
      await fs.copyFile(blob, temporary, constants.COPYFILE_EXCL)
    })
  }
}
