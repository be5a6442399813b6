// Downloads: what they leave in the cache, who gets the token, and connections that break.
import fs from 'node:fs'
import http from 'node:http'
import { describe, expect, test } from 'vitest'
import { AbortedError } from '../../src/errors.ts'
import type { HubOptions } from '../../src/formats/hub-options.ts'
import {
  blobs,
  COMMIT,
  cacheDir,
  expectCleanCache,
  FILES,
  get,
  hub,
  ID,
  inCache,
  NEWER,
  random,
  refuses,
  snapshot,
  WEIGHTS,
} from './hub-fixture.ts'
import { cutAfter, gitName, type Intercept, sha256 } from './hub-server.ts'

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

  test('brings how a decoder generates', async () => {
    const text = '{"num_beams":3}'
    hub.models.set(ID, { commit: COMMIT, files: { ...FILES, 'generation_config.json': text } })
    await get('config')
    await get('tokenizer')
    expect(fs.existsSync(snapshot('generation_config.json'))).toBe(false)
    await get('model')
    expect(fs.readFileSync(snapshot('generation_config.json'), 'utf8')).toBe(text)
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
    const partial = `${sha256(WEIGHTS)}.bertkit.incomplete`
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
    expect(fs.statSync(inCache('blobs', `${sha256(WEIGHTS)}.bertkit.incomplete`)).size).toBe(50_000)
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
