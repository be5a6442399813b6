// Fetches one file into the cache.
import { createHash } from 'node:crypto'
import { streamBytes } from './files.ts'
import type { HubCache, PartialBlob } from './hub-cache.ts'
import type { HubClient, RemoteFile } from './hub-client.ts'
import type { HubSettings } from './hub-settings.ts'

/** The kind of checksum that an ETag is; undefined for one that says nothing about the content. */
function checksumOf(etag: string): 'sha256' | 'git' | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return 'sha256'
  return /^[0-9a-f]{40}$/.test(etag) ? 'git' : undefined
}

/** Whether a file on disk is what the ETag says. git hashes a header with the size before the content. */
async function isIntact(file: string, { etag, size }: RemoteFile): Promise<boolean> {
  const kind = checksumOf(etag)
  if (kind === undefined) return true
  const hash = kind === 'git' ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256')
  for await (const chunk of streamBytes(file)) hash.update(chunk)
  return hash.digest('hex') === etag
}

/**
 * Makes a file a part of its snapshot. It is loaded beside its place, going on where an interrupted download stopped; checked against
 * the announced size and checksum; synced, renamed, and linked last.
 */
export async function fetchFile(
  remote: RemoteFile,
  client: HubClient,
  cache: HubCache,
  settings: HubSettings,
): Promise<void> {
  const { commit, etag, file, size } = remote
  if (!(await cache.hasBlob(etag, size))) {
    // Without a checksum there is no telling whether the remains are this file's.
    const isResumable = checksumOf(etag) !== undefined
    const partial = await cache.openPartial(etag, isResumable)
    let isWrong = false
    const loaded = async (): Promise<boolean> => {
      await load(partial, remote, client, settings)
      return isIntact(partial.file, remote)
    }
    try {
      const hadRemains = partial.length > 0
      let intact = await loaded()
      if (!intact && hadRemains) {
        await partial.truncate(0)
        intact = await loaded()
      }
      isWrong = !intact
      if (isWrong) throw client.error(`the checksum of ${file} is not ${etag}`, 'invalid')
      await partial.finish()
    } catch (error) {
      await partial.abandon(isResumable && !isWrong)
      throw error
    }
  }
  await cache.link(commit, file, etag)
}

/** Loads what is not there yet, up to the announced size. */
async function load(partial: PartialBlob, remote: RemoteFile, client: HubClient, settings: HubSettings): Promise<void> {
  const { file, size } = remote
  const report = () => settings.onDownload?.({ file, received: partial.length, size })
  if (partial.length > size) await partial.truncate(0)
  report()
  const transfer = async (): Promise<void> => {
    if (partial.length === size) return
    const { start, chunks } = await client.open(remote, partial.length)
    if (start !== partial.length) await partial.truncate(start)
    for await (const chunk of chunks) {
      if (partial.length + chunk.length > size)
        throw client.error(`${file} is longer than the announced ${size} bytes`, 'invalid')
      await partial.append(chunk)
      report()
    }
    if (partial.length < size) throw client.cut(remote, partial.length)
  }
  await client.retrying(transfer, () => partial.length)
}
