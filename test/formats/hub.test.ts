// Models by their Hub id: which names are ids, what the cache answers, what is downloaded, and how it fails.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AbortedError, ArgumentError, FileError, HubError, type HubErrorReason } from '../../src/errors.ts'
import { type HubOptions, isHubId, resolveModelFolder, snapshotOf } from '../../src/formats/hub.ts'
import type { ModelPart } from '../../src/formats/hub-files.ts'
import { hubSettings, mayRedirect } from '../../src/formats/hub-settings.ts'
import { Random } from './helpers.ts'
import { cutAfter, etagOf, gitName, HubServer, type Intercept, sendBytes, sha256 } from './hub-server.ts'

const COMMIT = 'a'.repeat(40)
const NEWER = 'b'.repeat(40)
const ID = 'org/tiny'
const FOLDER = 'models--org--tiny'
const random = new Random(7)
const WEIGHTS = Buffer.from(Array.from({ length: 300_000 }, () => random.below(256)))
const FILES = {
  'config.json': '{"model_type":"bert"}\n',
  'model.safetensors': WEIGHTS,
  'tokenizer.json': '{"model":{}}',
  'tokenizer_config.json': '{"do_lower_case":false}',
  'vocab.txt': '[PAD]\n[UNK]\n',
  'modules.json': '[]',
  '1_Pooling/config.json': '{"pooling_mode_mean_tokens":true}',
  'README.md': 'not needed',
  'pytorch_model.bin': Buffer.from('not needed either'),
}

let hub: HubServer
let home: string
beforeAll(async () => {
  hub = await HubServer.start()
})
afterAll(() => hub.stop())
beforeEach(() => {
  home = fs.mkdtempSync(path.join(tmpdir(), 'bertkit-hub-'))
  hub.models.clear()
  hub.models.set(ID, { commit: COMMIT, files: FILES, refs: ['v1', 'refs/pr/1'] })
  hub.seen.length = 0
  hub.intercept = () => false
})
afterEach(() => {
  vi.unstubAllEnvs()
  fs.rmSync(home, { recursive: true, force: true })
})

const cacheDir = () => path.join(home, 'hub')
const inCache = (...parts: string[]) => path.join(cacheDir(), FOLDER, ...parts)
const snapshot = (...parts: string[]) => inCache('snapshots', COMMIT, ...parts)
const blobs = () => (fs.existsSync(inCache('blobs')) ? fs.readdirSync(inCache('blobs')) : [])
const environment = (more: Record<string, string> = {}) => ({ HF_ENDPOINT: hub.endpoint, HF_HOME: home, ...more })

/** Resolves with pauses too short to wait for. */
// in get() the environment is what a test says, not that of the process
async function get(
  part: ModelPart,
  {
    env = {},
    id = ID,
    retryDelay = 1,
    ...options
  }: HubOptions & { env?: object; id?: string; retryDelay?: number } = {},
): Promise<string> {
  const settings = await hubSettings(options, environment({ ...env }))
  return snapshotOf(id, part, { ...settings, retryDelay })
}

async function refuses(attempt: Promise<unknown>, reason: HubErrorReason, message: RegExp): Promise<HubError> {
  const error: unknown = await attempt.then(
    () => undefined,
    (thrown) => thrown,
  )
  expect(error).toBeInstanceOf(HubError)
  const found = error as HubError
  expect([found.code, found.name, found.reason]).toEqual(['ERR_HUB', 'HubError', reason])
  expect(found.message).toMatch(message)
  expect(found.message.length).toBeLessThan(1000)
  return found
}

/** Nothing that is not whole may have a final name, and nothing temporary may stay but what a download can go on with. */
function expectCleanCache(): void {
  const names = fs.existsSync(cacheDir()) ? fs.readdirSync(cacheDir(), { recursive: true, encoding: 'utf8' }) : []
  expect(names.filter((name) => name.endsWith('.tmp') || /-\d+-\d+\.incomplete$/.test(name))).toEqual([])
  for (const name of blobs())
    if (!name.endsWith('.incomplete')) {
      const bytes = fs.readFileSync(inCache('blobs', name))
      expect(name).toBe(name.length === 64 ? sha256(bytes) : gitName(bytes))
    }
}

describe('names', () => {
  test.each(['bert-base-uncased', 'org/name', 'a', 'Foo-BAR_foo.bar123', 'google/bert_uncased_L-2_H-128_A-2', '123'])(
    '%s is a Hub id',
    (name) => expect(isHubId(name)).toBe(true),
  )
  test.each([
    './no-such',
    '../x',
    '.',
    '..',
    '',
    '/abs/olute',
    'a/b/c',
    'org/name/',
    'org//name',
    '~/model',
    'C:\\models\\x',
    'C:/x',
    'foo--bar',
    'a..b',
    'foo.git',
    '.hidden',
    '-x',
    'x-',
    'x.',
    'org/.x',
    'ünïcode/x',
    'a b',
    'a\nb',
    'a\n',
    'x'.repeat(97),
    'https://huggingface.co/a',
    'a\0b',
  ])('%j is not', (name) => expect(isHubId(name)).toBe(false))

  test('what is not an id, and what is there, is a folder without any network', async () => {
    vi.stubEnv('HF_ENDPOINT', hub.endpoint)
    vi.stubEnv('HF_HUB_OFFLINE', '')
    for (const name of ['./no-such', '/no/such', 'a/b/c', 'org/name/', 'test', 'test/formats', 'package.json'])
      expect(await resolveModelFolder(name, 'model')).toBe(name)
    expect(hub.seen).toEqual([])
  })

  test('wrong arguments are ArgumentErrors and never show a token', async () => {
    const wrong: [unknown, unknown][] = [
      [7, {}],
      [ID, 'main'],
      [ID, null],
      [ID, { revison: 'main' }],
      [ID, { downloadTimeout: 0 }],
      [ID, { signal: 'now' }],
      ...['../x', '', 'a..b', '/a', 'a//b', 'a/', 'a/.x', 'a\\b', 'x'.repeat(201), 'a b', 'a:b'].map(
        (revision): [unknown, unknown] => [ID, { revision }],
      ),
    ]
    for (const [name, options] of wrong)
      await expect(resolveModelFolder(name as string, 'model', options as HubOptions)).rejects.toThrow(ArgumentError)
    const error: unknown = await resolveModelFolder(ID, 'model', { token: ['hf_secret'] as never }).catch((e) => e)
    expect(String(error)).toContain('token')
    expect(String(error)).not.toContain('hf_secret')
    await expect(hubSettings({ token: 'hf_a\u00e9b' }, {})).rejects.toThrow(ArgumentError)
    expect(hub.seen).toEqual([])
  })
})

describe('the environment', () => {
  const settings = (env: Record<string, string>, options: HubOptions = {}) => hubSettings(options, env)
  const homeFolder = process.env.HOME ?? ''

  test('names the cache as for huggingface_hub', async () => {
    const cases: [Record<string, string>, string][] = [
      [{}, path.join(homeFolder, '.cache/huggingface/hub')],
      [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
      [{ HF_HOME: '/h', XDG_CACHE_HOME: '/x' }, '/h/hub'],
      [{ HF_HOME: '~/h' }, path.join(homeFolder, 'h/hub')],
      [{ HF_HOME: '$PLACE/h', PLACE: '/p' }, '/p/h/hub'],
      [{ HUGGINGFACE_HUB_CACHE: '/old', HF_HOME: '/h' }, '/old'],
      [{ HF_HUB_CACHE: '/new', HUGGINGFACE_HUB_CACHE: '/old' }, '/new'],
    ]
    for (const [env, expected] of cases) expect((await settings(env)).cacheDir).toBe(expected)
    expect((await settings({ HF_HUB_CACHE: '/new' }, { cacheDir: '/mine' })).cacheDir).toBe('/mine')
  })

  test('takes the token from the option, HF_TOKEN or the file, in this order', async () => {
    fs.writeFileSync(path.join(home, 'token'), 'hf_file\n')
    const env = { HF_HOME: home }
    expect((await settings(env)).token).toBe('hf_file')
    expect((await settings({ ...env, HF_TOKEN: ' hf_env\r\n' })).token).toBe('hf_env')
    expect((await settings({ ...env, HF_TOKEN: 'hf_env' }, { token: 'hf_option' })).token).toBe('hf_option')
    expect((await settings({ ...env, HF_TOKEN: 'hf_env' }, { token: false })).token).toBeUndefined()
    expect((await settings({ ...env, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' })).token).toBeUndefined()
    expect((await settings({ HF_HOME: '/no/such' })).token).toBeUndefined()
    fs.writeFileSync(path.join(home, 'elsewhere'), 'hf_other')
    expect((await settings({ ...env, HF_TOKEN_PATH: path.join(home, 'elsewhere') })).token).toBe('hf_other')
  })

  test('may name another endpoint, but over the network only with https', async () => {
    expect((await settings({})).endpoint).toBe('https://huggingface.co')
    expect((await settings({ HF_ENDPOINT: 'https://mirror.example/hf//' })).endpoint).toBe('https://mirror.example/hf')
    expect((await settings({ HF_ENDPOINT: 'http://localhost:8080' })).endpoint).toBe('http://localhost:8080')
    for (const endpoint of [
      'http://mirror.example',
      'ftp://x',
      'mirror',
      'https://a:b@x',
      'http://127.0.0.1.x',
      'file:///x',
    ])
      await expect(settings({ HF_ENDPOINT: endpoint })).rejects.toThrow(ArgumentError)
  })
})

describe('a download', () => {
  test('brings the files of a model, no others, in the layout of the cache', async () => {
    expect(await get('model')).toBe(snapshot())
    const found = fs.readdirSync(snapshot(), { recursive: true, encoding: 'utf8' }).sort()
    expect(found).toEqual(['1_Pooling', '1_Pooling/config.json', 'config.json', 'model.safetensors', 'modules.json'])
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(fs.readFileSync(snapshot('1_Pooling/config.json'), 'utf8')).toBe(FILES['1_Pooling/config.json'])
    expect(fs.readlinkSync(snapshot('model.safetensors'))).toBe(`../../blobs/${sha256(WEIGHTS)}`)
    expect(fs.readlinkSync(snapshot('1_Pooling/config.json'))).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
    expect(fs.readFileSync(inCache('refs/main'), 'utf8')).toBe(COMMIT)
    expect(hub.requests('cdn')).toEqual([`GET /${ID}/model.safetensors`])
    expectCleanCache()
  })

  test('happens once; then the cache answers without a connection', async () => {
    await get('model')
    await get('tokenizer')
    hub.seen.length = 0
    for (const part of ['config', 'tokenizer', 'model'] as const) expect(await get(part)).toBe(snapshot())
    expect(await get('model', { revision: COMMIT })).toBe(snapshot())
    expect(hub.seen).toEqual([])
  })

  test('of a config or a tokenizer leaves the weights', async () => {
    await get('config')
    expect(fs.readdirSync(snapshot())).toEqual(['config.json'])
    await get('tokenizer')
    expect(fs.readdirSync(snapshot()).sort()).toEqual([
      'config.json',
      'tokenizer.json',
      'tokenizer_config.json',
      'vocab.txt',
    ])
    expect(hub.requests('cdn')).toEqual([])
  })

  test('takes a tag, and the commit that the cache has for a branch', async () => {
    await get('config', { revision: 'v1' })
    expect(fs.readFileSync(inCache('refs/v1'), 'utf8')).toBe(COMMIT)
    await get('config', { revision: 'refs/pr/1' })
    expect(fs.readFileSync(inCache('refs/refs/pr/1'), 'utf8')).toBe(COMMIT)
    await get('config')
    // the branch moves on: the rest still comes from the commit that the config is of
    hub.intercept = ({ url }, response) => {
      if (!url.endsWith('/main')) return false
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ sha: NEWER, siblings: [] }))
      return true
    }
    expect(await get('tokenizer')).toBe(snapshot())
  })

  test('starts anew where the cached commit is no longer there', async () => {
    await get('config')
    hub.models.set(ID, { commit: NEWER, files: FILES })
    expect(await get('model')).toBe(inCache('snapshots', NEWER))
    expect(fs.readFileSync(inCache('refs/main'), 'utf8')).toBe(NEWER)
    expect(await get('config')).toBe(inCache('snapshots', NEWER))
  })

  test('takes shards, and pytorch_model.bin where there is no safetensors', async () => {
    const shards = { 'model-1.safetensors': Buffer.from('first'), 'model-2.safetensors': Buffer.from('second') }
    const weight_map = { a: 'model-1.safetensors', b: 'model-2.safetensors', c: 'model-1.safetensors' }
    const index = { 'model.safetensors.index.json': JSON.stringify({ weight_map }) }
    const { 'config.json': config, 'pytorch_model.bin': bin } = FILES
    hub.models.set(ID, {
      commit: COMMIT,
      files: { ...shards, ...index, 'config.json': config, 'pytorch_model.bin': bin },
    })
    hub.models.set('org/old', { commit: COMMIT, files: { 'config.json': config, 'pytorch_model.bin': bin } })
    await get('model')
    expect(fs.readdirSync(snapshot()).sort()).toEqual(
      ['config.json', ...Object.keys(shards), ...Object.keys(index)].sort(),
    )
    const old = await get('model', { id: 'org/old' })
    expect(fs.readdirSync(old).sort()).toEqual(['config.json', 'pytorch_model.bin'])
    // a shard that has gone is fetched again, and nothing else
    fs.rmSync(snapshot('model-2.safetensors'))
    hub.seen.length = 0
    await get('model')
    expect(hub.requests('hub').filter((each) => !each.includes('/api/'))).toEqual([
      `HEAD /${ID}/resolve/${COMMIT}/model-2.safetensors`,
    ])
    expect(hub.requests('cdn')).toEqual([])
  })

  test('reports how far it is', async () => {
    const seen: string[] = []
    await get('model', { onDownload: ({ file, received, size }) => seen.push(`${file} ${received}/${size}`) })
    expect(seen).toContain(`model.safetensors 0/${WEIGHTS.length}`)
    expect(seen).toContain(`model.safetensors ${WEIGHTS.length}/${WEIGHTS.length}`)
  })

  test('puts copies where there are no links', async () => {
    await get('model', { env: { HF_HUB_DISABLE_SYMLINKS: '1' } })
    expect(fs.lstatSync(snapshot('model.safetensors')).isFile()).toBe(true)
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expectCleanCache()
  })

  test('replaces a link that leads nowhere and a blob of another length', async () => {
    await get('model')
    fs.writeFileSync(inCache('blobs', sha256(WEIGHTS)), 'short')
    fs.rmSync(snapshot('model.safetensors'))
    fs.rmSync(inCache('blobs', gitName(Buffer.from(FILES['config.json']))))
    await get('model')
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(fs.readFileSync(snapshot('config.json'), 'utf8')).toBe(FILES['config.json'])
    expectCleanCache()
  })

  test('of an empty file is an empty file', async () => {
    hub.models.set(ID, { commit: COMMIT, files: { ...FILES, 'modules.json': '' } })
    await get('model')
    expect(fs.readFileSync(snapshot('modules.json'), 'utf8')).toBe('')
  })

  test('remembers which optional files there are not', async () => {
    hub.models.set(ID, { commit: COMMIT, files: { 'vocab.txt': FILES['vocab.txt'] } })
    await get('tokenizer')
    expect(fs.existsSync(inCache('.no_exist', COMMIT, 'tokenizer_config.json'))).toBe(true)
    hub.seen.length = 0
    await get('tokenizer')
    expect(hub.seen).toEqual([])
  })

  test('by many at once ends with one whole cache', async () => {
    const all = await Promise.all(
      Array.from({ length: 6 }, (_, i) => get((['model', 'tokenizer', 'config'] as const)[i % 3])),
    )
    expect(new Set(all)).toEqual(new Set([snapshot()]))
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(blobs().filter((name) => name.endsWith('.incomplete'))).toEqual([])
    expectCleanCache()
  })
})

describe('the token', () => {
  test('goes to the Hub and to nobody else', async () => {
    hub.intercept = ({ server, headers }, response) => {
      if (server === 'hub' && headers.authorization !== 'Bearer hf_secret') {
        response.writeHead(401).end()
        return true
      }
      return false
    }
    await get('model', { token: 'hf_secret' })
    const cdn = hub.seen.filter(({ server }) => server === 'cdn')
    expect(cdn.length).toBe(1)
    expect(cdn.every(({ headers }) => headers.authorization === undefined)).toBe(true)
  })

  test('stays with redirects on the Hub and is gone after a detour', async () => {
    const target = `/${ID}/resolve/${COMMIT}/config.json`
    let detour = ''
    hub.intercept = ({ method, server, url }, response, content) => {
      if (server === 'cdn') response.writeHead(302, { location: `${hub.endpoint}/moved` }).end()
      else if (url === target && method === 'GET') response.writeHead(307, { location: detour }).end()
      else if (url === '/moved')
        response.writeHead(200, { 'content-length': FILES['config.json'].length }).end(FILES['config.json'])
      else return content === undefined && false
      return true
    }
    const tokens = () => hub.seen.filter(({ url }) => url === '/moved').map(({ headers }) => headers.authorization)
    detour = '/moved'
    await get('config', { token: 'hf_secret' })
    expect(tokens()).toEqual(['Bearer hf_secret'])
    fs.rmSync(cacheDir(), { recursive: true })
    hub.seen.length = 0
    detour = `${hub.cdn}/x`
    await get('config', { token: 'hf_secret' })
    expect(tokens()).toEqual([undefined])
  })
})

describe('a connection', () => {
  const onCdn =
    (answer: Intercept): Intercept =>
    (seen, response, content) =>
      seen.server === 'cdn' && answer(seen, response, content)

  test('that is cut anywhere is resumed where it was cut', async () => {
    for (let round = 0; round < 8; round++) {
      fs.rmSync(cacheDir(), { recursive: true, force: true })
      hub.seen.length = 0
      const cuts = [random.below(100_000), 1 + random.below(100_000), random.below(99_000)]
      hub.intercept = onCdn((seen, response, content) => {
        const cut = cuts.shift()
        return cut !== undefined && cutAfter(response, seen, content!, cut)
      })
      await get('model')
      expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
      const ranges = hub.seen.filter(({ server }) => server === 'cdn').map(({ headers }) => headers.range ?? '')
      expect(ranges.length).toBe(4)
      expect(ranges.at(-1)).toMatch(/^bytes=[1-9]\d*-$/)
      expectCleanCache()
    }
  })

  test('that is always cut fails, and the next download goes on from there', async () => {
    hub.intercept = onCdn((seen, response, content) => cutAfter(response, seen, content!, 20_000))
    const error = await refuses(get('model'), 'unreachable', /model\.safetensors/)
    expect(error.message).not.toContain('secret')
    const partial = `${sha256(WEIGHTS)}.incomplete`
    expect(blobs()).toContain(partial)
    const kept = fs.statSync(inCache('blobs', partial)).size
    expect(kept).toBeGreaterThan(0)
    expect(fs.existsSync(snapshot('model.safetensors'))).toBe(false)
    expect(fs.existsSync(inCache('refs/main'))).toBe(false)
    hub.intercept = () => false
    hub.seen.length = 0
    await get('model')
    expect(hub.seen.find(({ server }) => server === 'cdn')?.headers.range).toBe(`bytes=${kept}-`)
    expectCleanCache()
  })

  test('is resumed on what a killed process left, not on what a living one writes', async () => {
    const dead = await new Promise<number>((resolve) => {
      const child = spawn(process.execPath, ['-e', ''])
      child.once('exit', () => resolve(child.pid!))
    })
    // names of this machine, learnt from a download that is under way
    let own = ''
    hub.intercept = onCdn(() => {
      own = blobs().find((name) => name.startsWith(sha256(WEIGHTS))) ?? ''
      return false
    })
    await get('model')
    const [, stem, host] = /^(\w{64}\.)(\w{8})-\d+-\d+\.incomplete$/.exec(own)!
    for (const [pid, range] of [
      [dead, 'bytes=1000-'],
      [process.ppid, undefined],
    ] as const) {
      fs.rmSync(cacheDir(), { recursive: true })
      fs.mkdirSync(inCache('blobs'), { recursive: true })
      const left = inCache('blobs', `${stem}${host}-${pid}-0.incomplete`)
      fs.writeFileSync(left, WEIGHTS.subarray(0, 1000))
      hub.seen.length = 0
      await get('model')
      expect(hub.seen.find(({ server }) => server === 'cdn')?.headers.range).toBe(range)
      expect(fs.existsSync(left)).toBe(pid !== dead)
      expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    }
  })

  test.each([
    ['of other content', Buffer.alloc(1000)],
    ['that is whole', WEIGHTS],
    ['that is too long', Buffer.concat([WEIGHTS, WEIGHTS])],
    ['of the right length and other content', Buffer.alloc(WEIGHTS.length)],
  ])('makes a whole file of a partial file %s', async (_, left) => {
    fs.mkdirSync(inCache('blobs'), { recursive: true })
    fs.writeFileSync(inCache('blobs', `${sha256(WEIGHTS)}.incomplete`), left)
    await get('model')
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expect(hub.requests('cdn').length).toBe(left === WEIGHTS ? 0 : left.length === 1000 ? 2 : 1)
    expectCleanCache()
  })

  test.each([
    ['ignores the range', (response: http.ServerResponse) => response.writeHead(200).end(WEIGHTS)],
    [
      'sends another range',
      (response: http.ServerResponse) =>
        response.writeHead(206, { 'content-range': `bytes 0-9/${WEIGHTS.length}` }).end(WEIGHTS.subarray(0, 10)),
    ],
    ['refuses the range', (response: http.ServerResponse) => response.writeHead(416).end()],
  ])('to a server that %s starts at the beginning', async (_, answer) => {
    fs.mkdirSync(inCache('blobs'), { recursive: true })
    fs.writeFileSync(inCache('blobs', `${sha256(WEIGHTS)}.incomplete`), WEIGHTS.subarray(0, 1000))
    hub.intercept = onCdn(({ headers }, response) => {
      if (headers.range === undefined) return false
      answer(response)
      return true
    })
    await get('model')
    expect(fs.readFileSync(snapshot('model.safetensors')).equals(WEIGHTS)).toBe(true)
    expectCleanCache()
  })

  test.each(['hub', 'cdn'] as const)('to a silent %s is given up', async (silent) => {
    hub.intercept = ({ server }) => server === silent
    await refuses(get('model', { downloadTimeout: 30 }), 'unreachable', /nothing came for 0\.03 s/)
    expectCleanCache()
  })

  test('that is slow but steady is not', async () => {
    hub.intercept = onCdn((_, response, content) => {
      response.writeHead(200, { 'content-length': content!.length })
      let sent = 0
      const timer = setInterval(() => {
        response.write(content!.subarray(sent, sent + 30_000))
        sent += 30_000
        if (sent < content!.length) return
        clearInterval(timer)
        response.end()
      }, 150)
      return true
    })
    // ten pieces take longer than the limit, each of them far less
    await get('model', { downloadTimeout: 1200 })
    expect(hub.requests('cdn').length).toBe(1)
    expectCleanCache()
  })

  test('is given up on a signal, and what came is kept', async () => {
    const controller = new AbortController()
    hub.intercept = onCdn((seen, response, content) => {
      response.writeHead(200, { 'content-length': content!.length })
      response.write(content!.subarray(0, 50_000))
      return seen.method === 'GET'
    })
    const onDownload: HubOptions['onDownload'] = ({ received }) => {
      if (received === 50_000) controller.abort()
    }
    await expect(get('model', { signal: controller.signal, onDownload })).rejects.toThrow(AbortedError)
    expect(fs.statSync(inCache('blobs', `${sha256(WEIGHTS)}.incomplete`)).size).toBe(50_000)
    await expect(get('model', { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError)
    // in a pause between two tries too
    hub.intercept = (_, response) => {
      setImmediate(() => late.abort())
      response.writeHead(503).end()
      return true
    }
    const late = new AbortController()
    await expect(get('model', { signal: late.signal, retryDelay: 50_000 })).rejects.toThrow(AbortedError)
    expectCleanCache()
  })

  test('that nobody answers is not tried again', async () => {
    const server = http.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    await new Promise((resolve) => server.close(resolve))
    const env = { HF_ENDPOINT: `http://127.0.0.1:${port}` }
    await refuses(
      get('model', { env, retryDelay: 1e9 }),
      'unreachable',
      /connection to 127\.0\.0\.1:\d+ failed \(ECONNREFUSED\)/,
    )
  })
})

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
    expect(error.message).toMatch(/no folder of that name/)
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

describe('without the network', () => {
  test.each(['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'])('%s names what the cache lacks', async (name) => {
    const env = { [name]: '1' }
    await refuses(
      get('model', { env }),
      'not-cached',
      new RegExp(`${name} is set, but .*${FOLDER} lacks revision "main"`),
    )
    await get('config')
    hub.seen.length = 0
    await refuses(get('model', { env }), 'not-cached', /lacks model\.safetensors or/)
    await refuses(get('tokenizer', { localFilesOnly: true }), 'not-cached', /localFilesOnly.*lacks tokenizer\.json or/)
    await refuses(get('config', { env, revision: NEWER }), 'not-cached', /lacks config\.json/)
    expect(await get('config', { env })).toBe(snapshot())
    expect(hub.seen).toEqual([])
  })

  test('a cache that cannot say whether a file is missing is good enough, and only then', async () => {
    await get('tokenizer')
    fs.rmSync(snapshot('tokenizer_config.json'))
    expect(await get('tokenizer', { localFilesOnly: true })).toBe(snapshot())
    const env = { HF_ENDPOINT: 'http://127.0.0.1:1' }
    expect(await get('tokenizer', { env })).toBe(snapshot())
    await get('tokenizer')
    expect(fs.existsSync(snapshot('tokenizer_config.json'))).toBe(true)
  })

  test('a torn ref or a missing shard is not taken for a model', async () => {
    fs.mkdirSync(inCache('refs'), { recursive: true })
    fs.writeFileSync(inCache('refs/main'), '../../../..')
    await refuses(get('config', { localFilesOnly: true }), 'not-cached', /lacks revision/)
    fs.writeFileSync(inCache('refs/main'), COMMIT)
    fs.mkdirSync(snapshot(), { recursive: true })
    fs.writeFileSync(snapshot('config.json'), '{}')
    fs.writeFileSync(snapshot('model.safetensors.index.json'), '{"weight_map":{"a":"m-1.safetensors"}}')
    await refuses(get('model', { localFilesOnly: true }), 'not-cached', /lacks m-1\.safetensors/)
  })

  test('a cache that cannot be written is a FileError', async () => {
    fs.writeFileSync(path.join(home, 'file'), '')
    await expect(get('config', { cacheDir: path.join(home, 'file', 'hub') })).rejects.toThrow(FileError)
  })
})

test('the checksums of this test are those of git and of the Hub', () => {
  // `printf 'hello\n' | git hash-object --stdin`
  expect(etagOf('a.txt', Buffer.from('hello\n'))).toBe('ce013625030ba8dba906f756967f9e9ca394464a')
})
