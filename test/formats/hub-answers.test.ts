// What the Hub answers, and what is made of it.
import fs from 'node:fs'
import { describe, expect, test } from 'vitest'
import { mayRedirect } from '../../src/formats/hub-settings.ts'
import {
  blobs,
  COMMIT,
  cacheDir,
  expectCleanCache,
  FILES,
  get,
  home,
  hub,
  ID,
  inCache,
  NEWER,
  refuses,
  snapshot,
  WEIGHTS,
} from './hub-fixture.ts'
import { etagOf, type Intercept, sendBytes, sha256 } from './hub-server.ts'

describe('an answer', () => {
  const onHub =
    (status: number, headers = {}, where = /./): Intercept =>
    (seen, response) => {
      if (!where.test(seen.url)) return false
      response.writeHead(status, headers).end()
      return true
    }

  test.each([
    [401, 'RepoNotFound', 'forbidden', /no such model, or it is not public: set HF_TOKEN/],
    [401, undefined, 'forbidden', /no such model, or it is not public/],
    [403, 'GatedRepo', 'forbidden', /gated: accept its terms at http:\/\/127\.0\.0\.1:\d+\/org\/tiny /],
    [403, undefined, 'forbidden', /not public/],
    [404, 'RepoNotFound', 'not-found', /no model of that name/],
    [404, 'RevisionNotFound', 'not-found', /it has no revision "main"/],
    [404, undefined, 'not-found', /no such model, or it has no revision/],
    [400, undefined, 'invalid', /refused/],
    [418, undefined, 'invalid', /refused/],
  ] as const)('%d %s is final', async (status, kind, reason, message) => {
    hub.intercept = onHub(status, kind === undefined ? {} : { 'x-error-code': kind })
    const error = await refuses(get('model', { token: false }), reason, message)
    expect(error.status).toBe(status)
    expect(hub.seen.length).toBe(1)
    expect(error.message).toMatch(/^There is no folder "[^"]+", and it cannot be had from the Hub: /)
  })

  test('403 with a token says that the token is not enough', async () => {
    hub.intercept = onHub(403)
    const error = await refuses(get('model', { token: 'hf_secret' }), 'forbidden', /the token may not read it/)
    expect(error.message).not.toContain('hf_secret')
  })

  test.each([500, 502, 503, 504, 429, 408])('%d is tried again, a few times', async (status) => {
    hub.intercept = onHub(status)
    const error = await refuses(get('model'), 'server', /try again later/)
    expect(error.status).toBe(status)
    expect(hub.seen.length).toBe(5)
    hub.seen.length = 0
    let left = 3
    hub.intercept = (seen, response, content) => left > 0 && left-- > 0 && onHub(status)(seen, response, content)
    await get('model')
    expectCleanCache()
  })

  test('may ask for a pause, but not for a long one', async () => {
    hub.intercept = onHub(429, { 'retry-after': '3600' })
    await refuses(get('model'), 'server', /in 3600 s/)
    expect(hub.seen.length).toBe(1)
    let first = true
    hub.intercept = (seen, response, content) => {
      if (!first) return false
      first = false
      return onHub(503, { 'retry-after': '0' })(seen, response, content)
    }
    await get('config', { retryDelay: 1e9 })
  })

  test('of a model without the files says what it lacks', async () => {
    const { 'config.json': config, 'README.md': readme } = FILES
    hub.models.set(ID, { commit: COMMIT, files: { 'config.json': config, 'tf_model.h5': 'x' } })
    hub.models.set('org/none', { commit: COMMIT, files: { 'README.md': readme } })
    await refuses(get('model'), 'not-found', /has no model\.safetensors or .*pytorch_model\.bin/)
    await refuses(get('tokenizer'), 'not-found', /has no tokenizer\.json or vocab\.txt/)
    await refuses(get('config', { id: 'org/none' }), 'not-found', /has no config\.json/)
    expect(fs.existsSync(inCache('refs/main'))).toBe(false)
  })

  test('of other content than announced is refused and leaves nothing', async () => {
    const wrong = Buffer.from(WEIGHTS)
    wrong[77] ^= 1
    hub.intercept = (seen, response) => {
      if (seen.server === 'cdn') sendBytes(seen, response, wrong)
      return seen.server === 'cdn'
    }
    await refuses(get('model'), 'invalid', /checksum of model\.safetensors is not/)
    expect(blobs().some((name) => name.startsWith(sha256(WEIGHTS)))).toBe(false)
    hub.intercept = ({ url, method }, response) => {
      const isConfig = url.endsWith('config.json') && method === 'GET'
      if (isConfig) response.end(FILES['config.json'].replace('bert', 'burt'))
      return isConfig
    }
    await refuses(get('config'), 'invalid', /checksum of config\.json/)
    expect(fs.existsSync(snapshot('config.json'))).toBe(false)
    expectCleanCache()
  })

  test('of another length than announced is refused', async () => {
    const answerWith =
      (bytes: Uint8Array): Intercept =>
      (seen, response) => {
        if (seen.server === 'cdn') response.writeHead(200).end(bytes)
        return seen.server === 'cdn'
      }
    hub.intercept = answerWith(Buffer.concat([WEIGHTS, WEIGHTS]))
    await refuses(get('model'), 'invalid', /longer than the announced 300000/)
    fs.rmSync(cacheDir(), { recursive: true })
    hub.intercept = answerWith(WEIGHTS.subarray(0, 1000))
    await refuses(get('model'), 'unreachable', /cut after 1000 of 300000 bytes/)
    expect(fs.existsSync(snapshot('model.safetensors'))).toBe(false)
    expectCleanCache()
  })

  const description =
    (value: unknown): Intercept =>
    (seen, response) => {
      if (!seen.url.startsWith('/api/')) return false
      response.setHeader('content-type', 'application/json')
      response.end(typeof value === 'string' ? value : JSON.stringify(value))
      return true
    }
  test.each([
    ['no JSON', 'x'.repeat(5000)],
    ['null', null],
    ['no commit', { siblings: [] }],
    ['a path for a commit', { sha: '../../../etc', siblings: [] }],
    ['another commit', { sha: NEWER, siblings: [] }],
    ['siblings of another kind', { sha: COMMIT, siblings: 7 }],
    ['a sibling of another kind', { sha: COMMIT, siblings: [null] }],
  ])('that describes a model with %s is refused', async (_, value) => {
    hub.intercept = description(value)
    await refuses(get('model', { revision: COMMIT }), 'invalid', /revision/)
    expect(fs.existsSync(cacheDir())).toBe(false)
  })

  test('that never ends is given up', async () => {
    hub.intercept = (_, response) => {
      const block = Buffer.alloc(2 ** 20, ' ')
      const more = () => response.write(block, (error) => error || more())
      more()
      return true
    }
    await refuses(get('model'), 'invalid', /longer than/)
  })

  test.each([
    ['no ETag', /expected an ETag/, { 'content-length': '5' }],
    ['a path for an ETag', /expected an ETag/, { etag: '"../../../../etc/passwd"', 'content-length': '5' }],
    ['no size', /expected a size/, { etag: `"${'c'.repeat(40)}"` }],
    ['an absurd size', /expected a size/, { etag: `"${'c'.repeat(40)}"`, 'x-linked-size': '999999999999999' }],
    ['a negative size', /expected a size/, { etag: `"${'c'.repeat(40)}"`, 'x-linked-size': '-5' }],
    [
      'another commit',
      /but received commit/,
      { etag: `"${'c'.repeat(40)}"`, 'content-length': '5', 'x-repo-commit': NEWER },
    ],
  ])('that describes a file with %s is refused', async (_, message, headers) => {
    hub.intercept = ({ method }, response) => {
      if (method === 'HEAD') {
        response.removeHeader('content-length')
        response.writeHead(200, headers).end()
      }
      return method === 'HEAD'
    }
    await refuses(get('config'), 'invalid', message)
    expect(blobs()).toEqual([])
  })

  test.each([
    '../../evil.safetensors',
    '/etc/evil.safetensors',
    'a/b.safetensors',
    'evil',
    '..\\evil.safetensors',
    7,
    null,
  ])('whose index names the shard %j is refused', async (shard) => {
    const index = JSON.stringify({ weight_map: { a: shard } })
    const files = { 'config.json': '{}', 'model.safetensors.index.json': index, '../../evil.safetensors': 'x' }
    hub.models.set(ID, { commit: COMMIT, files })
    await refuses(get('model'), 'invalid', /weight_map/)
    expect(fs.readdirSync(snapshot())).toEqual(['model.safetensors.index.json'])
    expect(fs.readdirSync(home)).toEqual(['hub'])
  })

  test('that lists hostile names never has them asked for', async () => {
    const hostile = { '../../../evil': 'x', '/etc/evil': 'x', __proto__: 'x', 'a\0b': 'x' }
    hub.models.set(ID, { commit: COMMIT, files: { ...FILES, ...hostile } })
    await get('model')
    expect(hub.requests().filter((each) => /evil|proto|\0/.test(each))).toEqual([])
  })

  test.each(['http://192.0.2.1/x', 'file:///etc/passwd', 'http://', 'ftp://127.0.0.1/x', ''])(
    'that redirects to %j is refused',
    async (location) => {
      hub.intercept = ({ method }, response) => {
        if (method === 'GET') response.writeHead(302, { location }).end()
        return method === 'GET'
      }
      await refuses(get('model'), 'invalid', /redirect/)
      expect(hub.seen.length).toBe(1)
    },
  )

  test('may redirect to https, and to http only on this machine from this machine', () => {
    const may = (from: string, to: string) => mayRedirect(new URL(from), new URL(to))
    expect(may('https://a.example', 'https://b.example')).toBe(true)
    expect(may('http://127.0.0.1:1', 'http://[::1]:2')).toBe(true)
    expect(may('http://localhost:1', 'https://b.example')).toBe(true)
    expect(may('https://a.example', 'http://localhost:1')).toBe(false)
    expect(may('https://a.example', 'http://a.example')).toBe(false)
    expect(may('http://localhost:1', 'http://a.example')).toBe(false)
  })

  test('that redirects for ever is refused', async () => {
    hub.intercept = (_, response) => {
      response.writeHead(302, { location: '/again' }).end()
      return true
    }
    await refuses(get('model'), 'invalid', /redirects/)
    expect(hub.seen.length).toBeLessThan(20)
  })
})

test('the checksums of this test are those of git and of the Hub', () => {
  // `printf 'hello\n' | git hash-object --stdin`
  expect(etagOf('a.txt', Buffer.from('hello\n'))).toBe('ce013625030ba8dba906f756967f9e9ca394464a')
})
