// Files of URLs, by fetch: what the web and Node both have.
import { AbortedError, ArgumentError, BertkitError, DownloadError, HubError, messageOf } from '../errors.ts'
import { kindOf } from '../json.ts'
import type { HubOptions } from './hub-options.ts'
import type { Chunks } from './stream-source.ts'

const IDLE_TIMEOUT = 30_000
const MAX_REDIRECTS = 8

/** How files are fetched. */
export interface Transfer extends Pick<HubOptions, 'signal' | 'onDownload' | 'downloadTimeout'> {
  /** A token: they go to the origin that is asked, and not to where it redirects. */
  readonly headers?: Readonly<Record<string, string>>
  /** The Hub id that the URLs belong to: its failures are HubErrors, others DownloadErrors. */
  readonly id?: string
}

type Reason = DownloadError['reason']

/** Why there is no file, though the server is well. */
export class Absence {
  constructor(
    readonly text: string,
    readonly reason: Reason,
    readonly status: number,
  ) {}
}

/** A URL as errors name it: without a query, which may be a key to the file, or credentials. */
export const nameOf = (url: URL | string): string => {
  const { protocol, host, pathname, href } = new URL(url)
  return host === '' ? href.replace(/[?#].*/, '') : `${protocol}//${host}${pathname}`
}

/** The error about a URL: `text` says what happened. */
export function failure(url: string, text: string, reason: Reason, { id }: Transfer, status?: number, cause?: unknown) {
  const options = cause === undefined ? undefined : { cause }
  const message = `Cannot load ${url}: ${text}`
  return id === undefined
    ? new DownloadError(message, reason, url, status, options)
    : new HubError(`${id}: ${message}`, reason, status, options)
}

/** A page that a server sends where it has no such file: many do so with a status of success. */
const isPage = (type: string | null): boolean => /^(text\/html|application\/xhtml\+xml)\b/i.test(type ?? '')
const beginsPage = (bytes: Uint8Array): boolean =>
  /^\s*<(!doctype\s+html|html)[\s>]/i.test(new TextDecoder('latin1').decode(bytes.subarray(0, 64)))
const PAGE = 'it is an HTML page instead of the file'

/** What an answer is worth: its body, or why there is none. Throws where the server failed or refused. */
function accept(response: Response, url: string, transfer: Transfer): Absence | undefined {
  const { status } = response
  const answer = `${status}${response.statusText && ` ${response.statusText}`}`
  if (response.ok)
    return isPage(response.headers.get('content-type')) ? new Absence(PAGE, 'invalid', status) : undefined
  if (status === 404 || status === 410) return new Absence(`the server answered ${answer}`, 'not-found', status)
  if (status === 401 || status === 403) {
    const absence = new Absence(`the server answered ${answer}`, 'forbidden', status)
    // stores such as S3 say so of files that they do not have; the Hub means it
    if (transfer.id === undefined) return absence
    throw failure(
      url,
      `${absence.text}; does the model exist, and may the token read it?`,
      'forbidden',
      transfer,
      status,
    )
  }
  const reason = status === 429 || status >= 500 ? 'server' : 'invalid'
  throw failure(url, `the server answered ${answer}`, reason, transfer, status)
}

/** The chunks of a stream; `failed` makes an error of what the stream throws. */
export function chunksOf(
  stream: ReadableStream<Uint8Array>,
  name: string,
  failed: (error: unknown) => unknown,
  signal?: AbortSignal,
): Chunks {
  const reader = stream.getReader()
  const ignore = () => {}
  const abort = () => void reader.cancel(signal?.reason).catch(ignore)
  signal?.addEventListener('abort', abort, { once: true })
  const end = () => signal?.removeEventListener('abort', abort)
  return {
    async next() {
      if (signal?.aborted) throw loadingAborted(signal)
      let found: Awaited<ReturnType<typeof reader.read>>
      try {
        found = await reader.read()
      } catch (error) {
        end()
        throw failed(error)
      }
      if (signal?.aborted) throw loadingAborted(signal)
      if (found.done) end()
      else if (!(found.value instanceof Uint8Array))
        throw new ArgumentError(`${name}: expected a stream of Uint8Array but it gave ${kindOf(found.value)}`)
      return found.value
    },
    cancel() {
      end()
      void reader.cancel().catch(ignore)
    },
  }
}

export const loadingAborted = (signal: AbortSignal): AbortedError =>
  Object.assign(new AbortedError('Loading was aborted by its signal'), { cause: signal.reason })

/** Ends a connection on which nothing comes while something is waited for. */
class Watch {
  readonly controller = new AbortController()
  isIdle = false
  constructor(private readonly timeout: number) {}

  async during<Result>(call: () => Promise<Result>): Promise<Result> {
    const timer = setTimeout(() => {
      this.isIdle = true
      this.controller.abort()
    }, this.timeout)
    try {
      return await call()
    } finally {
      clearTimeout(timer)
    }
  }
}

/** undefined for what is no URL. URL.canParse is newer than browsers that are supported. */
export function parseUrl(text: string, base: string | URL | undefined): URL | undefined {
  try {
    return new URL(text, base)
  } catch {
    return undefined
  }
}

/** Where a redirect leads: never from https to http. Undefined for another answer, and a redirect that may not be followed. */
function redirectOf({ status, headers }: Response, from: URL): URL | undefined {
  const location = headers.get('location')
  if (![301, 302, 303, 307, 308].includes(status) || !location) return undefined
  const next = parseUrl(location, from)
  const isSafe = next?.protocol === 'https:' || (next?.protocol === 'http:' && from.protocol === 'http:')
  return isSafe ? next : undefined
}

/**
 * One request with its redirects. Without headers they are left to fetch; with headers they are followed here, because on some
 * runtimes, such as workerd with an older compatibility date, fetch takes a token along to another host.
 */
async function ask(start: URL, transfer: Transfer, watch: Watch): Promise<Response> {
  const { signal } = watch.controller
  const send = (url: URL, headers: Transfer['headers'], redirect: 'manual' | 'follow') =>
    watch.during(() => fetch(url, { headers, redirect, signal }))
  let { headers } = transfer
  let url = start
  for (let hop = 0; headers; hop++) {
    const response = await send(url, headers, 'manual')
    // a browser does not say where it leads; it drops a token on the way to another origin by itself
    if (response.type === 'opaqueredirect') break
    const next = redirectOf(response, url)
    if (!next) return response
    await response.body?.cancel()
    if (hop === MAX_REDIRECTS)
      throw failure(nameOf(start), `more than ${MAX_REDIRECTS} redirects`, 'invalid', transfer, response.status)
    if (next.origin !== url.origin) headers = undefined
    url = next
  }
  return send(url, headers, 'follow')
}

/** Begins to fetch a file; `file` is its name in the model, for the progress. An Absence where the server has no such file. */
export async function fetchFile(address: URL, file: string, transfer: Transfer): Promise<Chunks | Absence> {
  const { signal, onDownload, downloadTimeout = IDLE_TIMEOUT } = transfer
  const url = nameOf(address)
  const watch = new Watch(downloadTimeout)
  const { controller } = watch
  const failed = (error: unknown): unknown => {
    if (signal?.aborted) return loadingAborted(signal)
    if (error instanceof BertkitError) return error
    if (watch.isIdle) return failure(url, `nothing came for ${downloadTimeout / 1000} s`, 'unreachable', transfer)
    return failure(url, `the connection failed (${reasonOf(error)})`, 'unreachable', transfer, undefined, error)
  }
  if (signal?.aborted) throw loadingAborted(signal)
  const abort = () => controller.abort()
  signal?.addEventListener('abort', abort, { once: true })
  let response: Response
  try {
    response = await ask(address, transfer, watch)
  } catch (error) {
    throw failed(error)
  } finally {
    signal?.removeEventListener('abort', abort)
  }
  const chunks = bodyOf(response, url, transfer, failed)
  if (chunks instanceof Absence) return chunks
  let received = 0
  const size = sizeOf(response)
  onDownload?.({ file, received, size })
  return {
    async next() {
      const chunk = await watch.during(() => chunks.next())
      if (chunk) {
        received += chunk.length
        onDownload?.({ file, received, size })
      }
      return chunk
    },
    cancel: () => chunks.cancel(),
  }
}

/** The content of an answer. */
export function bodyOf(
  response: Response,
  url: string,
  transfer: Transfer,
  failed: (error: unknown) => unknown = (error) =>
    failure(url, `the connection failed (${reasonOf(error)})`, 'unreachable', transfer, undefined, error),
): Chunks | Absence {
  let absence: Absence | undefined
  try {
    absence = accept(response, url, transfer)
  } finally {
    if (absence ?? !response.ok) void response.body?.cancel().catch(() => {})
  }
  if (absence) return absence
  if (!response.body) return { next: async () => undefined, cancel() {} }
  const chunks = chunksOf(response.body, url, failed, transfer.signal)
  let isFirst = true
  return {
    async next() {
      const chunk = await chunks.next()
      if (isFirst && chunk && beginsPage(chunk)) {
        chunks.cancel()
        throw failure(url, PAGE, 'invalid', transfer, response.status)
      }
      isFirst = false
      return chunk
    },
    cancel: () => chunks.cancel(),
  }
}

/** What the answer says of the size; of a compressed one it is another one. */
function sizeOf({ headers }: Response): number | undefined {
  const length = headers.get('content-length')
  return length === null || headers.has('content-encoding') ? undefined : Number(length)
}

/** What an exception of fetch or of a stream says; Node hides the code in causes. */
function reasonOf(error: unknown): string {
  for (let each = error; each instanceof Error; each = each.cause)
    if ('code' in each && typeof each.code === 'string') return each.code
  return messageOf(error)
}
