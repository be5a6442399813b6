// A model on the web, by its URL or Hub id.
import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { parseUrl } from './download.ts'
import { type HubOptions, isHubId } from './hub-options.ts'
import type { ModelFiles } from './model-files.ts'
import { UrlFiles } from './url-files.ts'

const HUB = 'https://huggingface.co'

/** Whether a string is meant as an address, on the web or in Node: there, what begins with a slash or a dot is a folder. */
export const isAddress = (source: string): boolean => /^https?:/i.test(source)

/** Files below the URL of a folder. Throws ArgumentError for a URL that no folder can have. */
export function openUrl(source: string | URL, base: string | undefined, options: HubOptions): ModelFiles {
  const text = String(source)
  const url = parseUrl(text, base)
  if (url && /^https?:$/.test(url.protocol)) return new UrlFiles(url, options)
  const hint = url ? 'a blob: or data: URL is one file; give an object of files' : 'a relative one needs a page'
  throw new ArgumentError(`Expected the http or https URL of a folder but received ${quote(text)}: ${hint}`)
}

/** A model of the Hub from its server, file by file, without a cache of our own. Throws ArgumentError for what is no Hub id. */
function openHub(
  id: string,
  { revision = 'main', token, cacheDir, localFilesOnly, ...transfer }: HubOptions,
): ModelFiles {
  if (!isHubId(id))
    throw new ArgumentError(
      `Expected a Hub id, or a URL that begins with http:, https:, /, ./ or ../, but received ${quote(id)}`,
    )
  if (cacheDir !== undefined || localFilesOnly)
    throw new ArgumentError(`There is no ${localFilesOnly ? 'localFilesOnly' : 'cacheDir'} here: there are no folders`)
  // not to the hosts of large files, to which the Hub redirects: fetchFile sees to it
  const headers = token ? { authorization: `Bearer ${token}` } : undefined
  return new UrlFiles(new URL(`${HUB}/${id}/resolve/${encodeURIComponent(revision)}/`), { ...transfer, headers, id })
}

/** What relative URLs are relative to; a worker of a server has no page. */
const pageAddress = (): string | undefined =>
  (globalThis as { readonly location?: { readonly href: string } }).location?.href

/** A model by its URL or Hub id. Throws ArgumentError. */
export function openWebModel(source: string | URL, options: HubOptions): ModelFiles {
  if (source instanceof URL || isAddress(source) || /^(blob:|data:|\/|\.\.?\/)/i.test(source))
    return openUrl(source, pageAddress(), options)
  return openHub(source, options)
}
