// What bertkit asks the Hub, over HTTP. The package @huggingface/hub looks a model up; files are asked for here, because its own
// download follows redirects without stopping at another host, does not see the checksum of a redirected file, takes a full answer
// for the range it asked for, and knows neither time limits nor signals.
import { setTimeout as sleep } from 'node:timers/promises'
import { AbortedError, BertkitError, HubError, type HubErrorReason } from '../errors.ts'
import { quote } from '../json.ts'
import { isCommit } from './hub-cache.ts'
import { type HubSettings, mayRedirect } from './hub-settings.ts'

const MAX_REDIRECTS = 8
const MAX_TRIES = 5
/** Bytes after which a connection was worth its while: the count of failures begins anew. */
const WORTHWHILE = 2 ** 20
const LONGEST_PAUSE = 60_000
/** A listing of a model's files. */
const MAX_LISTING = 32 * 2 ** 20
/** No checkpoint of a BERT comes near it. */
const MAX_FILE = 50e9

/** A failure that may pass. */
class PassingError extends HubError {
  constructor(
    message: string,
    reason: HubErrorReason,
    status: number | undefined,
    readonly pause: number | undefined,
    options?: ErrorOptions,
  ) {
    super(message, reason, status, options)
  }
}

export interface RemoteFile {
  readonly file: string
  readonly commit: string
  readonly size: number
  /** The blob's name. 64 hexadecimal digits are the SHA-256 of the content, 40 are the name that git has for it. */
  readonly etag: string
}

export interface Listing {
  readonly commit: string
  readonly files: ReadonlySet<string>
}

/** One request: aborted by the caller's signal, and when nothing comes for a while. */
class Watch {
  readonly signal: AbortSignal
  isIdle = false
  readonly #timer: NodeJS.Timeout
  constructor({ idleTimeout, signal }: HubSettings) {
    const idle = new AbortController()
    this.signal = signal === undefined ? idle.signal : AbortSignal.any([idle.signal, signal])
    this.#timer = setTimeout(() => {
      this.isIdle = true
      idle.abort()
    }, idleTimeout).unref()
  }

  /** Something came. */
  refresh(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

interface Answer {
  readonly response: Response
  readonly watch: Watch
}

export class HubClient {
  readonly #settings: HubSettings
  readonly #id: string

  constructor(settings: HubSettings, id: string) {
    this.#settings = settings
    this.#id = id
  }

  error(what: string, reason: HubErrorReason, status?: number, options?: ErrorOptions): HubError {
    return new HubError(this.#message(what), reason, status, options)
  }

  #message(what: string): string {
    return `There is no folder ${quote(this.#id)}, and it cannot be had from the Hub: ${what}`
  }

  /** The commit of a revision and the files it has. */
  async lookUp(revision: string): Promise<Listing> {
    const { modelInfo } = await import('@huggingface/hub').catch((error: unknown) => {
      throw this.error('that needs a package; npm install @huggingface/hub', 'no-package', undefined, { cause: error })
    })
    const what = `revision ${quote(revision)}`
    const { sha, filePaths } = await this.retrying(async () => {
      try {
        return await modelInfo({
          name: this.#id,
          revision,
          hubUrl: this.#settings.endpoint,
          additionalFields: ['sha', 'filePaths'],
          fetch: async (input) => this.#listing(new URL(String(input)), what),
        })
      } catch (error) {
        if (error instanceof BertkitError) throw error
        throw this.error(`${what}: the answer is not the description of a model`, 'invalid', undefined, {
          cause: error,
        })
      }
    })
    if (typeof sha !== 'string' || !isCommit(sha) || (isCommit(revision) && sha !== revision))
      throw this.error(`${what}: expected a commit but received ${quote(sha)}`, 'invalid')
    return { commit: sha, files: new Set(filePaths) }
  }

  /** A whole answer of limited size, for the package to read. */
  async #listing(url: URL, what: string): Promise<Response> {
    const answer = await this.#send('GET', url, what)
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of this.#body(answer, what)) {
      length += chunk.length
      if (length > MAX_LISTING) throw this.error(`${what}: the answer is longer than ${MAX_LISTING} bytes`, 'invalid')
      chunks.push(chunk)
    }
    return new Response(Buffer.concat(chunks), { headers: { 'content-type': 'application/json' } })
  }

  #url(commit: string, file: string): URL {
    const name = file.split('/').map(encodeURIComponent).join('/')
    return new URL(`${this.#settings.endpoint}/${this.#id}/resolve/${commit}/${name}`)
  }

  /** Size and checksum of a file. */
  async describe(commit: string, file: string): Promise<RemoteFile> {
    const { headers, ok } = await this.retrying(async () => {
      // The Hub redirects a large file to another host, and describes it in the answer that does so.
      const { response, watch } = await this.#send('HEAD', this.#url(commit, file), file, { staysHere: true })
      watch.end()
      return response
    })
    const found = headers.get('x-repo-commit')
    if (found !== null && found !== commit)
      throw this.error(`${file}: expected it at commit ${commit} but received commit ${quote(found)}`, 'invalid')
    const etag = (headers.get('x-linked-etag') ?? headers.get('etag'))?.replace(/^W\//, '').replace(/^"(.*)"$/, '$1')
    // The name of a file of the cache, so no more than a plain name.
    if (etag === undefined || !/^\w[\w-]{7,127}$/.test(etag))
      throw this.error(`${file}: expected an ETag but received ${quote(etag ?? null)}`, 'invalid')
    const length = headers.get('x-linked-size') ?? (ok ? headers.get('content-length') : null)
    const size = length !== null && /^\d{1,15}$/.test(length) ? Number(length) : -1
    if (size < 0 || size > MAX_FILE)
      throw this.error(`${file}: expected a size of at most ${MAX_FILE} bytes but received ${quote(length)}`, 'invalid')
    return { file, commit, size, etag }
  }

  /** The bytes of a file from `offset` on, or from the start where the server does not give a part; `start` says which. */
  async open(remote: RemoteFile, offset: number): Promise<{ start: number; chunks: AsyncIterable<Uint8Array> }> {
    const { commit, file, size } = remote
    const ask = (range?: string) => this.#send('GET', this.#url(commit, file), file, { range })
    const answer = await ask(offset > 0 ? `bytes=${offset}-` : undefined)
    const { headers, status } = answer.response
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? []
    const isPart = status === 206 && Number(from) === offset && Number(total) === size
    if (offset > 0 && isPart && !headers.has('content-encoding'))
      return { start: offset, chunks: this.#body(answer, file) }
    if (status === 200) return { start: 0, chunks: this.#body(answer, file) }
    answer.watch.end()
    await answer.response.body?.cancel()
    if (offset > 0) return { start: 0, chunks: this.#body(await ask(), file) }
    throw this.error(`${file}: expected the whole file but received status ${status}`, 'invalid', status)
  }

  /** A connection that ended too early. */
  cut({ file, size }: RemoteFile, received: number): HubError {
    const text = `${file}: the connection was cut after ${received} of ${size} bytes`
    return new PassingError(this.#message(text), 'unreachable', undefined, undefined)
  }

  /** Repeats what failed for a reason that may pass, with growing pauses. `progress`: bytes that have come so far. */
  async retrying<Result>(action: () => Promise<Result>, progress: () => number = () => 0): Promise<Result> {
    const { retryDelay, signal } = this.#settings
    let failures = 0
    let before = progress()
    for (;;) {
      try {
        if (signal?.aborted) throw aborted(signal.reason)
        return await action()
      } catch (error) {
        if (!(error instanceof PassingError)) throw error
        if (progress() - before >= WORTHWHILE) failures = 0
        before = Math.max(before, progress())
        failures++
        const pause = error.pause ?? retryDelay * 2 ** (failures - 1)
        if (failures >= MAX_TRIES || pause > LONGEST_PAUSE) throw error
        await sleep(pause, undefined, { signal }).catch((reason: unknown) => {
          throw aborted(reason)
        })
      }
    }
  }

  /**
   * One request with its redirects. The token goes to the endpoint alone, and not even there after a detour by another host.
   * `staysHere`: a redirect to another host is the answer.
   */
  async #send(
    method: 'GET' | 'HEAD',
    start: URL,
    what: string,
    { range, staysHere = false }: { range?: string; staysHere?: boolean } = {},
  ): Promise<Answer> {
    const { endpoint, token } = this.#settings
    const watch = new Watch(this.#settings)
    let url = start
    let isTrusted = url.origin === new URL(endpoint).origin
    try {
      for (let hop = 0; ; hop++) {
        // Compressed, a file would have neither the announced length nor parts.
        const headers: Record<string, string> = { 'accept-encoding': 'identity', 'user-agent': 'bertkit' }
        if (isTrusted && token !== undefined) headers.authorization = `Bearer ${token}`
        if (range !== undefined) headers.range = range
        const response = await fetch(url, { method, headers, redirect: 'manual', signal: watch.signal })
        watch.refresh()
        const next = this.#redirect(response, url, what)
        if (next === undefined) {
          // no part of what is asked for: the partial file is longer than the file
          if (!response.ok && !(range !== undefined && response.status === 416)) throw this.#refusal(response, what)
          return { response, watch }
        }
        if (staysHere && next.origin !== url.origin) return { response, watch }
        await response.body?.cancel()
        if (hop === MAX_REDIRECTS) throw this.error(`${what}: more than ${MAX_REDIRECTS} redirects`, 'invalid')
        isTrusted &&= next.origin === url.origin
        url = next
      }
    } catch (error) {
      watch.end()
      throw this.#failure(error, watch, what, url)
    }
  }

  #redirect({ status, headers }: Response, from: URL, what: string): URL | undefined {
    if (![301, 302, 303, 307, 308].includes(status)) return undefined
    const location = headers.get('location') ?? ''
    const next = location !== '' && URL.canParse(location, from.href) ? new URL(location, from) : undefined
    if (next === undefined || !mayRedirect(from, next))
      throw this.error(`${what}: expected a redirect to an https URL`, 'invalid', status)
    return next
  }

  async *#body({ response, watch }: Answer, what: string): AsyncGenerator<Uint8Array> {
    try {
      if (response.body === null) return
      for await (const chunk of response.body) {
        watch.refresh()
        yield chunk
      }
    } catch (error) {
      throw this.#failure(error, watch, what, URL.canParse(response.url) ? new URL(response.url) : undefined)
    } finally {
      watch.end()
    }
  }

  /** What an answer that is no success means. */
  #refusal({ status, headers }: Response, what: string): HubError {
    const { endpoint, token } = this.#settings
    const kind = headers.get('x-error-code')
    const fail = (text: string, reason: HubErrorReason) => this.error(`${text} (status ${status})`, reason, status)
    if (kind === 'GatedRepo')
      return fail(
        `it is gated: accept its terms at ${endpoint}/${this.#id} and use a token of that account`,
        'forbidden',
      )
    if (status === 401 || status === 403) {
      const advice = token === undefined ? 'set HF_TOKEN if it is private' : 'the token may not read it'
      return fail(`there is no such model, or it is not public: ${advice}`, 'forbidden')
    }
    if (kind === 'RepoNotFound') return fail('the Hub has no model of that name', 'not-found')
    if (status === 404 || status === 410) {
      const isKnown = kind === 'RevisionNotFound' || kind === 'EntryNotFound'
      return fail(`${isKnown ? 'it has' : 'there is no such model, or it has'} no ${what}`, 'not-found')
    }
    if (status === 408 || status === 429 || status >= 500) {
      const after = headers.get('retry-after') ?? ''
      const pause = /^\d{1,6}$/.test(after) ? Number(after) * 1000 : undefined
      const advice = status === 429 ? 'too many requests, try again later' : 'the Hub has a problem, try again later'
      const text = `${what}: ${advice}${pause === undefined ? '' : `, in ${pause / 1000} s`} (status ${status})`
      return new PassingError(this.#message(text), 'server', status, pause)
    }
    return fail(`${what}: it was refused`, 'invalid')
  }

  /** What an exception of fetch or of a body means. The URL stays out of the message: a redirected one is a key to the file. */
  #failure(error: unknown, watch: Watch, what: string, url: URL | undefined): unknown {
    if (error instanceof BertkitError) return error
    if (watch.isIdle) {
      const text = `${what}: nothing came for ${this.#settings.idleTimeout / 1000} s`
      return new PassingError(this.#message(text), 'unreachable', undefined, undefined)
    }
    if (watch.signal.aborted) return aborted(error)
    if (!(error instanceof Error)) return error
    const code = codeOf(error)
    const text = this.#message(`${what}: the connection to ${url?.host ?? 'the server'} failed${code && ` (${code})`}`)
    const mayPass = /^(ECONNRESET|ECONNABORTED|EPIPE|ETIMEDOUT|EAI_AGAIN|UND_ERR_\w+|HPE_\w+)$/.test(code)
    return mayPass
      ? new PassingError(text, 'unreachable', undefined, undefined, { cause: error })
      : new HubError(text, 'unreachable', undefined, { cause: error })
  }
}

const aborted = (reason: unknown): AbortedError =>
  Object.assign(new AbortedError('The download was aborted by its signal'), { cause: reason })

/** The code of a network error, which fetch hides in causes. */
function codeOf(error: Error): string {
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    if ('code' in each && typeof each.code === 'string') return each.code
    if (each instanceof AggregateError && each.errors[0] instanceof Error) return codeOf(each.errors[0])
  }
  return ''
}
