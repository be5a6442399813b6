// Where a token goes when a server redirects, on runtimes whose fetch would take it anywhere.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { HubError } from '../../src/edge.ts'
import { UrlFiles } from '../../src/formats/url-files.ts'
import { openWebModel } from '../../src/formats/web-model.ts'
import { HubServer } from '../formats/hub-server.ts'
import { failure } from './model-server.ts'

afterEach(() => vi.unstubAllGlobals())

const HUB = 'https://huggingface.co'
const CDN = 'https://cdn.example'
const FILE = `${HUB}/org/name/resolve/main/config.json`
const token = 'hf_secret'

describe('a token', () => {
  /** Where each URL redirects; others have a file. */
  const redirects = new Map<string, string>()
  let seen: [url: string, authorization: string | undefined, redirect: string | undefined][]
  let isBrowser: boolean

  /** As in older versions of workerd: redirects are followed with all headers. As a browser: they cannot be looked at. */
  async function careless(input: URL | string, { headers, redirect }: RequestInit = {}): Promise<Response> {
    const url = String(input)
    seen.push([url, (headers as Record<string, string> | undefined)?.authorization, redirect])
    const location = redirects.get(url)
    if (location === undefined) return new Response('{"ok":true}')
    if (redirect !== 'manual') return careless(new URL(location, url), { headers: isBrowser ? undefined : headers })
    if (isBrowser) return Object.defineProperty(Response.error(), 'type', { value: 'opaqueredirect' })
    return new Response('moved', { status: 302, headers: { location } })
  }
  beforeEach(() => {
    redirects.clear()
    seen = []
    isBrowser = false
    vi.stubGlobal('fetch', careless)
  })
  const read = (options = {}) => openWebModel('org/name', options).readText('config.json')
  const tokens = () => seen.map(([url, authorization]) => [url, authorization])
  const bearer = `Bearer ${token}`

  it('stays on the Hub', async () => {
    redirects.set(FILE, '/moved').set(`${HUB}/moved`, `${CDN}/a?key=1`).set(`${CDN}/a?key=1`, `${HUB}/back`)
    expect(await read({ token })).toBe('{"ok":true}')
    expect(tokens()).toEqual([
      [FILE, bearer],
      [`${HUB}/moved`, bearer],
      [`${CDN}/a?key=1`, undefined],
      [`${HUB}/back`, undefined], // nor is it sent after a detour
    ])
  })

  it('is left to a browser, which does not show where a redirect leads', async () => {
    isBrowser = true
    redirects.set(FILE, `${CDN}/a`)
    expect(await read({ token })).toBe('{"ok":true}')
    expect(seen).toEqual([
      [FILE, bearer, 'manual'],
      [FILE, bearer, 'follow'],
      [`${CDN}/a`, undefined, undefined],
    ])
  })

  it('that there is not leaves redirects to fetch', async () => {
    redirects.set(FILE, `${CDN}/a`)
    expect(await read()).toBe('{"ok":true}')
    expect(seen[0]).toEqual([FILE, undefined, 'follow'])
  })

  it.each([
    ['to http', 'http://huggingface.co/a', /answered 302/],
    ['to no URL', 'https://', /answered 302/],
    ['in a circle', FILE, /more than 8 redirects/],
  ])('is not sent %s', async (_, location, message) => {
    redirects.set(FILE, location)
    const error = await failure(read({ token }))
    expect(error).toBeInstanceOf(HubError)
    expect(error).toMatchObject({ reason: 'invalid', status: 302 })
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain(token)
    expect(seen.every(([url]) => url === FILE)).toBe(true)
  })
})

describe('on this runtime', () => {
  let hub: HubServer
  beforeAll(async () => {
    hub = await HubServer.start()
  })
  afterAll(() => hub.stop())

  it('a large file comes from the other host without the token', async () => {
    const weights = new Uint8Array(100_000).fill(7)
    hub.models.set('org/tiny', { commit: 'a'.repeat(40), files: { 'model.safetensors': weights } })
    const url = new URL(`${hub.endpoint}/org/tiny/resolve/main/`)
    const files = new UrlFiles(url, { headers: { authorization: `Bearer ${token}` }, id: 'org/tiny' })
    expect(await files.read('model.safetensors')).toEqual(weights)
    expect(hub.seen.map(({ server, headers }) => [server, headers.authorization])).toEqual([
      ['hub', `Bearer ${token}`],
      ['cdn', undefined],
    ])
  })
})
