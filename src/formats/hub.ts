// A model's name instead of its folder: the one place where bertkit may use the network, and only for such a name.
import { ArgumentError, HubError, type HubErrorReason } from '../errors.ts'
import { kindOf, quote } from '../json.ts'
import type { ModelPart } from '../platform.ts'
import { readText } from './files.ts'
import { HubCache, isThere } from './hub-cache.ts'
import type { Listing } from './hub-client.ts'
import { chooseFiles, decisiveFiles, optionalFiles } from './hub-files.ts'
import { checkHubOptions, type HubOptions, isHubId } from './hub-options.ts'
import { type HubSettings, hubSettings } from './hub-settings.ts'

/**
 * The folder to read a part of a model from. What is there is that folder, and so is what can be no Hub id: it is given back as it
 * is. Else the name is a Hub id, and the folder is its snapshot in the Hub's cache, which Python shares. Only files that it lacks are
 * downloaded: a revision that is cached is not asked for again.
 * @throws HubError if the model cannot be had, FileError if the cache cannot be written, AbortedError, ArgumentError.
 */
export async function resolveModelFolder(
  nameOrFolder: string,
  part: ModelPart,
  options: HubOptions = {},
): Promise<string> {
  if (typeof nameOrFolder !== 'string')
    throw new ArgumentError(`Expected a folder or a Hub id but received ${kindOf(nameOrFolder)}`)
  checkHubOptions(options)
  if (!isHubId(nameOrFolder) || (await isThere(nameOrFolder))) return nameOrFolder
  return snapshotOf(nameOrFolder, part, await hubSettings(options))
}

/** @internal The folder of a model's snapshot that has all files of the part. */
export async function snapshotOf(id: string, part: ModelPart, settings: HubSettings): Promise<string> {
  const { offline, revision } = settings
  const cache = new HubCache(settings, id)
  const commit = await cache.commitOf(revision)
  const lacking = commit === undefined ? `revision ${quote(revision)}` : await lacks(cache, commit, part)
  const isWhole = commit !== undefined && lacking === undefined
  if (isWhole && (offline !== undefined || (await isCertain(cache, commit, part)))) return cache.snapshot(commit)
  if (offline !== undefined) {
    const text = `Expected ${quote(id)} to be a folder, or in the Hub's cache because ${offline}`
    throw new HubError(`${text}, but ${cache.folder} lacks ${lacking}`, 'not-cached')
  }
  if (!isWhole) return download(id, part, settings, cache, commit)
  try {
    await complete(id, part, settings, cache, commit)
  } catch (error) {
    // As good as offline: what is cached will do, also where it may no longer be asked for.
    const reasons: readonly HubErrorReason[] = ['no-package', 'unreachable', 'server', 'forbidden', 'not-found']
    if (!(error instanceof HubError && reasons.includes(error.reason))) throw error
  }
  return cache.snapshot(commit)
}

/** What a cached commit lacks of a part, in words. */
async function lacks(cache: HubCache, commit: string, part: ModelPart): Promise<string | undefined> {
  const { missing } = await chooseFiles(part, {
    has: (file) => cache.has(commit, file),
    read: (file) => readText(cache.file(commit, file)),
  })
  return missing
}

/** Whether the cache knows all that decides what the part's files mean. */
async function isCertain(cache: HubCache, commit: string, part: ModelPart): Promise<boolean> {
  const files = await decisiveFiles(part, (file) => cache.has(commit, file))
  const known = await Promise.all(files.map((file) => cache.knows(commit, file)))
  return !known.includes(false)
}

/** What asks the Hub, loaded when it is needed. */
async function connect(id: string, settings: HubSettings, cache: HubCache) {
  const [{ HubClient }, { fetchFile }] = await Promise.all([import('./hub-client.ts'), import('./hub-download.ts')])
  const client = new HubClient(settings, id)
  const fetched = async (commit: string, file: string): Promise<void> => {
    if (await cache.has(commit, file)) return
    await fetchFile(await client.describe(commit, file), client, cache, settings)
  }
  return { client, fetched }
}

async function noteAbsences(cache: HubCache, { commit, files }: Listing, part: ModelPart): Promise<void> {
  for (const file of optionalFiles(part)) if (!files.has(file)) await cache.noteAbsence(commit, file)
}

/** Fetches the optional files that a cached commit has and the cache lacks. Weights stay as they are cached, in whichever format. */
async function complete(
  id: string,
  part: ModelPart,
  settings: HubSettings,
  cache: HubCache,
  commit: string,
): Promise<void> {
  const { client, fetched } = await connect(id, settings, cache)
  const listing = await client.lookUp(commit)
  for (const file of optionalFiles(part)) if (listing.files.has(file)) await fetched(commit, file)
  await noteAbsences(cache, listing, part)
}

/** Fetches what the cache lacks: of the commit that the cache has for the revision, so that all parts of a model fit together. */
async function download(
  id: string,
  part: ModelPart,
  settings: HubSettings,
  cache: HubCache,
  cached: string | undefined,
): Promise<string> {
  const { client, fetched } = await connect(id, settings, cache)
  const { revision } = settings
  const listing = await client.lookUp(cached ?? revision).catch((error: unknown) => {
    const isGone = error instanceof HubError && error.reason === 'not-found'
    if (cached === undefined || cached === revision || !isGone) throw error
    return client.lookUp(revision) // its history was rewritten
  })
  const { commit, files } = listing
  const choice = await chooseFiles(part, {
    has: (file) => files.has(file),
    read: async (file) => {
      await fetched(commit, file)
      return readText(cache.file(commit, file))
    },
  })
  if (choice.missing !== undefined)
    throw client.error(`revision ${quote(revision)} has no ${choice.missing}`, 'not-found')
  for (const file of choice.files) await fetched(commit, file)
  await noteAbsences(cache, listing, part)
  await cache.writeRef(revision, commit)
  return cache.snapshot(commit)
}
