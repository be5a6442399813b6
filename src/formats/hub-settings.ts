// Where the Hub and its cache are: options first, then the environment variables that Python's huggingface_hub reads.
import * as os from 'node:os'
import * as path from 'node:path'
import { ArgumentError, FileError } from '../errors.ts'
import { quote } from '../json.ts'
import { readText } from './files.ts'
import type { HubOptions } from './hub-options.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface HubSettings extends Pick<HubOptions, 'signal' | 'onDownload'> {
  readonly revision: string
  /** Without a slash at its end. */
  readonly endpoint: string
  readonly cacheDir: string
  readonly token: string | undefined
  /** What forbids the network, in words; undefined where it may be used. */
  readonly offline: string | undefined
  /** Milliseconds without a byte after which a connection is given up. */
  readonly idleTimeout: number
  /** Milliseconds before the second try; it doubles with each further one. */
  readonly retryDelay: number
  /** False: a snapshot holds copies instead of links. */
  readonly symlinks: boolean
}

const isTrue = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '')

/** Expands ~ and variables as a shell would; a variable that is not set stays as it is written. */
function expand(text: string, env: Environment): string {
  const home = text.replace(/^~(?=$|[/\\])/, () => os.homedir())
  return home.replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, bare, braced) => env[bare ?? braced] ?? whole)
}

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host)

/** Plain http is for a server on this machine only: a token or a model must not cross a network in the open. */
const mayConnect = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname))

/** Whether a redirect may be followed: never from https to http, on this machine neither. */
export const mayRedirect = (from: URL, to: URL): boolean =>
  mayConnect(to) && (to.protocol === 'https:' || from.protocol === 'http:')

function endpointOf(env: Environment): string {
  const text = env.HF_ENDPOINT || 'https://huggingface.co'
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !mayConnect(url) || url.search !== '' || url.hash !== '' || url.username !== '')
    throw new ArgumentError(`Expected HF_ENDPOINT to be an https URL but it is ${quote(text)}`)
  return url.href.replace(/\/+$/, '')
}

async function tokenOf({ token }: HubOptions, env: Environment, home: string): Promise<string | undefined> {
  if (token === false) return undefined
  const clean = (text: string) => text.replace(/[\r\n]/g, '').trim() || undefined
  if (token !== undefined) return clean(token)
  // implicit is what the caller did not give, the environment's token too
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  const ofEnvironment = clean(env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || '')
  if (ofEnvironment !== undefined) return ofEnvironment
  try {
    return clean(await readText(expand(env.HF_TOKEN_PATH || path.join(home, 'token'), env)))
  } catch (error) {
    if (error instanceof FileError && error.errno === 'ENOENT') return undefined
    throw error
  }
}

function offlineBecause({ localFilesOnly }: HubOptions, env: Environment): string | undefined {
  if (localFilesOnly) return 'localFilesOnly is set'
  return ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE']
    .filter((name) => isTrue(env[name]))
    .map((name) => `${name} is set`)[0]
}

/** Options and environment in one, checked. Throws ArgumentError for a value that cannot be used. */
export async function hubSettings(options: HubOptions, env: Environment = process.env): Promise<HubSettings> {
  const home = expand(
    env.HF_HOME || path.join(env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'huggingface'),
    env,
  )
  const cache = options.cacheDir ?? expand(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || path.join(home, 'hub'), env)
  const offline = offlineBecause(options, env)
  const token = offline === undefined ? await tokenOf(options, env, home) : undefined
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
    throw new ArgumentError('Expected the access token of the Hub to be printable ASCII without spaces')
  const seconds = Number(env.HF_HUB_DOWNLOAD_TIMEOUT)
  return {
    revision: options.revision ?? 'main',
    endpoint: endpointOf(env),
    cacheDir: path.resolve(cache),
    token,
    offline,
    idleTimeout: options.downloadTimeout ?? (seconds > 0 && seconds < 1e6 ? seconds * 1000 : 30_000),
    retryDelay: 500,
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
    signal: options.signal,
    onDownload: options.onDownload,
  }
}
