// How a model of the Hub, or of a URL, is had: checked alike everywhere.
import { ArgumentError } from '../errors.ts'
import { isJsonObject, kindOf, quote } from '../json.ts'

export interface DownloadProgress {
  /** Its name in the model. */
  readonly file: string
  /** Bytes. */
  readonly received: number
  /** Of the whole file; from a URL undefined where the server does not say. */
  readonly size: number | undefined
}

/**
 * How a model that is named by its Hub id is had. For a folder none of this matters; for a URL, `downloadTimeout`, `onDownload` and
 * `signal` do. Where there is no file system, there is no `cacheDir` and no `localFilesOnly`: caching is up to the browser.
 */
export interface HubOptions {
  /** A branch, a tag or a commit; default 'main'. */
  readonly revision?: string
  /** Folder of the Hub's cache; default HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub. */
  readonly cacheDir?: string
  /** Access token; default HF_TOKEN, else the content of $HF_HOME/token; none on the web. false: none. */
  readonly token?: string | false
  /** Never use the network, as with HF_HUB_OFFLINE=1. */
  readonly localFilesOnly?: boolean
  /** Milliseconds without a byte until a connection is given up; default HF_HUB_DOWNLOAD_TIMEOUT (in seconds), else 30,000. */
  readonly downloadTimeout?: number
  /** Called when a download of a file begins and whenever some of it has come. */
  readonly onDownload?: (progress: DownloadProgress) => void
  /** Aborts a download; what has come into the Hub's cache is kept for the next one. */
  readonly signal?: AbortSignal
}

/** Whether a text may be a revision: what git accepts, as far as it is also a plain path of a file. */
export const isRevision = (text: unknown): boolean =>
  typeof text === 'string' &&
  text.length <= 200 &&
  /^\w[\w.+/@-]*$/.test(text) &&
  !/\.\.|\/(\/|\.|$)|\.lock$/.test(text)

const CHECKS: {
  readonly [Name in keyof HubOptions]-?: readonly [expected: string, accepts: (value: unknown) => boolean]
} = {
  revision: ['the name of a branch, a tag or a commit', isRevision],
  cacheDir: ["a folder's path", (value) => typeof value === 'string' && value !== ''],
  token: ['a string or false', (value) => value === false || (typeof value === 'string' && value !== '')],
  localFilesOnly: ['true or false', (value) => typeof value === 'boolean'],
  downloadTimeout: [
    '1 to 2^31 - 1 milliseconds',
    (value) => typeof value === 'number' && value >= 1 && value < 2 ** 31,
  ],
  onDownload: ['a function', (value) => typeof value === 'function'],
  signal: ['an AbortSignal', (value) => value instanceof AbortSignal],
}

/** Takes the options about the Hub out of others, unchecked; what is no object stays whole for others to refuse. */
export function splitHubOptions<Options extends HubOptions>(
  options: Options,
): [HubOptions, Omit<Options, keyof HubOptions>] {
  if (kindOf(options) !== 'an object') return [{}, options]
  const { revision, cacheDir, token, localFilesOnly, downloadTimeout, onDownload, signal, ...others } = options
  return [{ revision, cacheDir, token, localFilesOnly, downloadTimeout, onDownload, signal }, others]
}

export function checkHubOptions(options: HubOptions): void {
  if (!isJsonObject(options))
    throw new ArgumentError(`Expected options to be an object but received ${kindOf(options)}`)
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(CHECKS, name)) throw new ArgumentError(`There is no option ${quote(name)}`)
    const [expected, accepts] = CHECKS[name as keyof HubOptions]
    if (value === undefined || accepts(value)) continue
    // an access token is not for a log
    const found = name === 'token' ? kindOf(value) : quote(value)
    throw new ArgumentError(`Expected ${name} to be ${expected} but received ${found}`)
  }
}

/** Whether a text may name a model of the Hub: `name` or `org/name`, by the rules of Python's huggingface_hub. */
export const isHubId = (text: string): boolean =>
  /^(\b[\w.-]{1,96}\b\/)?\b[\w.-]{1,96}\b$/.test(text) && !/--|\.\.|\.git$/.test(text)
