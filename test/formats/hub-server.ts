// The Hub's routes on this machine: the description of a model, its files with the headers and redirects of the Hub, and the host that
// keeps large files, which is another server. A test may answer any request in its own way, and sees all of them.
import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'

export interface HubModel {
  readonly commit: string
  readonly files: Readonly<Record<string, Uint8Array | string>>
  /** Branches and tags beside main. */
  readonly refs?: readonly string[]
}

export interface Seen {
  readonly server: 'hub' | 'cdn'
  readonly method: string
  readonly url: string
  readonly headers: http.IncomingHttpHeaders
}

/** Answers a request and returns true, or leaves it to the server. */
export type Intercept = (seen: Seen, response: http.ServerResponse, content: Uint8Array | undefined) => boolean

const isLarge = (file: string): boolean => /\.(safetensors|bin)$/.test(file)
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
export const gitName = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
export const etagOf = (file: string, bytes: Uint8Array): string => (isLarge(file) ? sha256(bytes) : gitName(bytes))

const listen = (handler: http.RequestListener): Promise<http.Server> =>
  new Promise((resolve) => {
    const server = http.createServer(handler)
    server.listen(0, '127.0.0.1', () => resolve(server))
  })
const addressOf = (server: http.Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

/** Sends bytes, or the range of them that is asked for. */
export function sendBytes({ method, headers }: Seen, response: http.ServerResponse, bytes: Uint8Array): void {
  const [, from] = /^bytes=(\d+)-$/.exec(headers.range ?? '') ?? []
  const start = from === undefined ? 0 : Number(from)
  if (start > 0 && start >= bytes.length) {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end()
    return
  }
  if (from !== undefined) response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`)
  response.setHeader('content-length', bytes.length - start)
  response.writeHead(from === undefined ? 200 : 206)
  response.end(method === 'HEAD' ? undefined : bytes.subarray(start))
}

/** Sends the head of a whole answer and some of its bytes, then cuts the connection. */
export function cutAfter(response: http.ServerResponse, { headers }: Seen, bytes: Uint8Array, count: number): true {
  const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
  if (start > 0) response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`)
  response.setHeader('content-length', bytes.length - start)
  response.writeHead(start > 0 ? 206 : 200)
  response.write(bytes.subarray(start, start + count), () => response.destroy())
  return true
}

export class HubServer {
  readonly models = new Map<string, HubModel>()
  readonly seen: Seen[] = []
  intercept: Intercept = () => false
  endpoint = ''
  cdn = ''
  #servers: http.Server[] = []

  static async start(): Promise<HubServer> {
    const hub = new HubServer()
    hub.#servers = await Promise.all([
      listen((request, response) => hub.#answer('hub', request, response)),
      listen((request, response) => hub.#answer('cdn', request, response)),
    ])
    hub.endpoint = addressOf(hub.#servers[0])
    hub.cdn = addressOf(hub.#servers[1])
    return hub
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  /** Requests as `GET /path`, in order. */
  requests(server?: 'hub' | 'cdn'): string[] {
    return this.seen.filter((each) => server === undefined || each.server === server).map((s) => `${s.method} ${s.url}`)
  }

  #content(id: string, file: string): Uint8Array | undefined {
    const files = this.models.get(id)?.files
    return files !== undefined && Object.hasOwn(files, file) ? Buffer.from(files[file]) : undefined
  }

  #answer(server: 'hub' | 'cdn', request: http.IncomingMessage, response: http.ServerResponse): void {
    const { method = '', url = '', headers } = request
    const { pathname } = new URL(url, 'http://hub')
    const seen: Seen = { server, method, url: decodeURIComponent(pathname), headers }
    this.seen.push(seen)
    const parts = pathname.split('/').slice(1).map(decodeURIComponent)
    const fail = (status: number, code: string) => response.writeHead(status, { 'x-error-code': code }).end()
    if (server === 'cdn') {
      const content = this.#content(`${parts[0]}/${parts[1]}`, parts.slice(2).join('/'))
      if (this.intercept(seen, response, content)) return
      if (content === undefined) fail(404, 'NoSuchKey')
      else sendBytes(seen, response.setHeader('etag', '"of-another-kind"'), content)
      return
    }
    const isApi = parts[0] === 'api'
    const [org, name, route, revision, ...rest] = isApi ? parts.slice(2) : parts
    const id = `${org}/${name}`
    const model = this.models.get(id)
    const file = rest.join('/')
    const content = this.#content(id, file)
    if (this.intercept(seen, response, content)) return
    if (model === undefined) return void fail(401, 'RepoNotFound')
    if (route !== (isApi ? 'revision' : 'resolve')) return void fail(404, 'EntryNotFound')
    if (![model.commit, 'main', ...(model.refs ?? [])].includes(revision)) return void fail(404, 'RevisionNotFound')
    response.setHeader('x-repo-commit', model.commit)
    if (isApi) {
      const siblings = Object.keys(model.files).map((rfilename) => ({ rfilename }))
      const json = { _id: '1', id, sha: model.commit, siblings, lastModified: '2024-01-01T00:00:00.000Z' }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(json))
      return
    }
    if (content === undefined) return void fail(404, 'EntryNotFound')
    const etag = `"${etagOf(file, content)}"`
    if (!isLarge(file)) return void sendBytes(seen, response.setHeader('etag', etag), content)
    response.setHeader('x-linked-etag', etag).setHeader('x-linked-size', content.length)
    response.writeHead(302, { location: `${this.cdn}/${id}/${file}?signature=secret` }).end()
  }
}
