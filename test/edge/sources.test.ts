// Loading and saving without folders: URLs, the Hub's server, files that the caller has, Blobs and sinks.
import * as fs from 'node:fs/promises'
import * as os from 'node:os'
import * as path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import * as edge from '../../src/edge.ts'
import {
  AbortedError,
  AdamW,
  ArgumentError,
  BertConfig,
  BertForSequenceClassification,
  BertModel,
  BertTokenizer,
  DownloadError,
  FileError,
  type FileMap,
  HubError,
  pipeline,
  WeightsError,
} from '../../src/edge.ts'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { registerPlatform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { sameBits, tinyConfig } from '../session/tiny.ts'
import { FileServer, streamOf, testPlatform } from './web.ts'

const server = new FileServer()
const vocabulary = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...Array.from('abcdefghijklmnopqrstuvwxyz')]
/** A model's files as Node writes them, whole and in shards. */
let whole: Record<string, Uint8Array>
let sharded: Record<string, Uint8Array>
let state: Map<string, { data: Float32Array }>
let root: string

async function filesOf(folder: string): Promise<Record<string, Uint8Array>> {
  const names = (await fs.readdir(folder)).sort()
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, new Uint8Array(await fs.readFile(path.join(folder, name)))])),
  )
}

beforeAll(async () => {
  await server.listen()
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'bertkit-edge-'))
  registerPlatform(nodePlatform)
  using model = new BertForSequenceClassification(tinyConfig({ vocabSize: vocabulary.length }))
  const tokenizer = BertTokenizer.fromVocab(vocabulary)
  for (const [name, options] of [['whole', {}] as const, ['sharded', { maxShardSize: 3000 }] as const]) {
    await model.savePretrained(path.join(root, name), options)
    await tokenizer.savePretrained(path.join(root, name))
  }
  state = await model.stateDict()
  whole = await filesOf(path.join(root, 'whole'))
  sharded = await filesOf(path.join(root, 'sharded'))
})
afterAll(async () => {
  await server.close()
  await fs.rm(root, { recursive: true })
})
beforeEach(() => {
  registerPlatform(testPlatform)
  server.reset()
})
afterEach(() => vi.unstubAllGlobals())

const serve = (files: Record<string, Uint8Array>, folder = 'model') => {
  for (const [name, bytes] of Object.entries(files)) server.files.set(`${folder}/${name}`, bytes)
}

async function expectSame(model: BertForSequenceClassification): Promise<void> {
  const found = await model.stateDict()
  expect([...found.keys()]).toEqual([...state.keys()])
  for (const [name, { data }] of found) expect(sameBits(data, state.get(name)!.data), name).toBe(true)
}

async function failure(loading: Promise<unknown>): Promise<Error & { code?: string }> {
  const outcome = await loading.then(
    () => new Error('it loaded'),
    (error: unknown) => error,
  )
  return outcome as Error
}

const load = (source: Parameters<typeof BertModel.fromPretrained>[0], options = {}) =>
  BertForSequenceClassification.fromPretrained(source, options)

describe('the URL of a folder', () => {
  it.each(['', '/'])('loads model and tokenizer, written with %j at its end', async (end) => {
    serve(whole)
    using model = await load(`${server.url}/model${end}`)
    await expectSame(model)
    expect(model.training).toBe(false)
    const tokenizer = await BertTokenizer.fromPretrained(new URL(`${server.url}/model${end}`))
    expect(tokenizer.encode('a b').inputIds).toEqual([2, 5, 6, 3])
    expect(server.requests.filter((url) => url.endsWith('/config.json'))).toEqual(['/model/config.json'])
  })

  it('takes its query to every file, and errors leave it out', async () => {
    serve(whole)
    server.files.delete('model/model.safetensors')
    const error = await failure(load(`${server.url}/model?key=secret`))
    expect(server.requests[0]).toBe('/model/config.json?key=secret')
    expect(error).toBeInstanceOf(WeightsError)
    expect(error.message).toContain(`${server.url}/model/: found no weights`)
    expect(error.message).not.toContain('secret')
  })

  it('is relative to the page', async () => {
    serve(whole)
    vi.stubGlobal('location', { href: `${server.url}/pages/index.html` })
    for (const source of ['../model', '/model', './../model/'])
      expect((await BertConfig.fromPretrained(source)).numLabels).toBe(3)
  })

  it.each([
    ['blob:https://page/1', /one file/],
    ['./model', /a relative one needs a page/],
    ['not an id!', /Expected a Hub id, or a URL/],
    ['ftp:x', /Expected a Hub id, or a URL/],
  ])('cannot be %s', async (source, message) => {
    const error = await failure(BertConfig.fromPretrained(source))
    expect(error).toBeInstanceOf(ArgumentError)
    expect(error.message).toMatch(message)
  })

  it('loads shards one after another, with one connection at a time', async () => {
    serve(sharded)
    const shards = Object.keys(sharded).filter((name) => name.endsWith('.safetensors'))
    expect(shards.length).toBeGreaterThan(7)
    server.answers.set('model/model.safetensors', (response) => response.writeHead(403).end())
    for (const shard of shards)
      server.answers.set(`model/${shard}`, (response, bytes) => {
        response.write(bytes.subarray(0, -1))
        setTimeout(() => response.end(bytes.subarray(-1)), 200)
      })
    using model = await load(`${server.url}/model`)
    await expectSame(model)
    expect(server.most).toBeLessThan(4)
  })

  it('reports the progress of each file', async () => {
    serve(whole)
    const seen = new Map<string, number>()
    const onDownload = vi.fn(({ file, received }) => void seen.set(file, received))
    using model = await load(`${server.url}/model`, { onDownload })
    expect(model.loadReport?.missing).toEqual([])
    const size = whole['model.safetensors'].length
    expect(onDownload).toHaveBeenCalledWith({ file: 'model.safetensors', received: 0, size })
    expect(seen.get('model.safetensors')).toBe(size)
  })

  it('reads pytorch_model.bin, for which it keeps the file in a Blob', async () => {
    const fixtures = path.join(import.meta.dirname, '..', 'formats', 'fixtures')
    const bin = new Uint8Array(await fs.readFile(path.join(fixtures, 'values.bin')))
    server.files.set('model/pytorch_model.bin', bin)
    server.files.set('model/config.json', whole['config.json'])
    using model = await load(`${server.url}/model`)
    expect(model.loadReport?.unexpected.length).toBeGreaterThan(0)
  })
})

describe('what a server may do wrong', () => {
  const weights = 'model/model.safetensors'
  const cases: [string, string, Parameters<typeof server.answers.set>[1], Partial<DownloadError>, RegExp][] = [
    [
      '404',
      'model/config.json',
      (response) => response.writeHead(404).end(),
      { reason: 'not-found', status: 404 },
      /404/,
    ],
    [
      '403',
      'model/config.json',
      (response) => response.writeHead(403).end(),
      { reason: 'forbidden', status: 403 },
      /403/,
    ],
    ['500', 'model/config.json', (response) => response.writeHead(500).end(), { reason: 'server', status: 500 }, /500/],
    [
      'a page of that type',
      'model/config.json',
      (response) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<p>hello'),
      { reason: 'invalid', status: 200 },
      /an HTML page instead of the file/,
    ],
    [
      'a page of another type',
      weights,
      (response) =>
        response.writeHead(200, { 'content-type': 'application/octet-stream' }).end('\n<!DOCTYPE html>\n<html>'),
      { reason: 'invalid' },
      /an HTML page instead of the file/,
    ],
    [
      'a connection that breaks',
      weights,
      (response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy())
      },
      { reason: 'unreachable' },
      /the connection failed/,
    ],
    [
      'a connection on which nothing comes',
      weights,
      (response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2))
      },
      { reason: 'unreachable' },
      /nothing came for 0.2 s/,
    ],
    ['no answer', 'model/config.json', () => {}, { reason: 'unreachable' }, /nothing came for 0.2 s/],
  ]
  it.each(cases)('%s', async (_, name, answer, fields, message) => {
    serve(whole)
    server.answers.set(name, answer)
    const error = await failure(load(`${server.url}/model`, { downloadTimeout: 200 }))
    expect(error).toBeInstanceOf(DownloadError)
    expect(error).toMatchObject({ code: 'ERR_DOWNLOAD', url: `${server.url}/${name}`, ...fields })
    expect(error.message).toMatch(message)
    expect(error.message).toContain(`${server.url}/${name}`)
  })

  it('a body that ends early without a length is a truncated file', async () => {
    serve(whole)
    server.answers.set(weights, (response, bytes) => {
      response.write(bytes.subarray(0, bytes.length - 10))
      response.end()
    })
    const error = await failure(load(`${server.url}/model`))
    expect(error).toBeInstanceOf(WeightsError)
    expect(error.message).toMatch(/the file ends after/)
    expect(error.message).toContain(`${server.url}/${weights}`)
  })

  it('pages and refusals for files that it does not need do not matter', async () => {
    serve(whole)
    const page = Buffer.from('<!doctype html><title>a page for every path</title>')
    for (const name of ['modules.json', 'special_tokens_map.json', 'tokenizer.json'])
      server.answers.set(`model/${name}`, (response) =>
        response.writeHead(200, { 'content-type': 'text/html' }).end(page),
      )
    server.answers.set('model/tokenizer_config.json', (response) => response.writeHead(403).end())
    using classify = await pipeline('text-classification', `${server.url}/model`)
    expect(await classify('a b')).toHaveLength(1)
  })

  it('a slow server is waited for', async () => {
    serve(whole)
    server.answers.set(weights, async (response, bytes) => {
      for (let at = 0; at < bytes.length; at += 2000) {
        response.write(bytes.subarray(at, at + 2000))
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      response.end()
    })
    using model = await load(`${server.url}/model`, { downloadTimeout: 5000 })
    await expectSame(model)
  })

  it('no server at all', async () => {
    const other = new FileServer()
    await other.listen()
    const { url } = other
    await other.close()
    const error = await failure(load(`${url}/model`))
    expect(error).toMatchObject({ reason: 'unreachable', url: `${url}/model/config.json` })
    expect(error.message).toMatch(/ECONNREFUSED/)
  })

  it.each(['before', 'during the headers', 'during the body'])('a signal aborts the load %s', async (when) => {
    serve(whole)
    const controller = new AbortController()
    server.answers.set(weights, (response, bytes) => {
      if (when === 'during the body') {
        response.writeHead(200, { 'content-length': bytes.length })
        response.write(bytes.subarray(0, bytes.length / 2))
      }
      setTimeout(() => controller.abort('enough'), 50)
    })
    if (when === 'before') controller.abort('enough')
    const error = await failure(load(`${server.url}/model`, { signal: controller.signal }))
    expect(error).toBeInstanceOf(AbortedError)
    expect(error.cause).toBe('enough')
    await vi.waitFor(() => expect(server.abandoned).toBe(when === 'before' ? 0 : 1))
  })
})

describe('a Hub id', () => {
  const hub = (id: string) =>
    vi.stubGlobal('fetch', (input: URL, options: RequestInit) => {
      const { href } = new URL(input)
      expect(href).toMatch(/^https:\/\/huggingface\.co\//)
      return realFetch(href.replace(`https://huggingface.co/${id}/`, `${server.url}/${id}/`), options)
    })
  const realFetch = fetch

  it('is fetched from the Hub’s server, by its revision', async () => {
    serve(whole, 'org/name/resolve/refs%2Fpr%2F1')
    hub('org/name')
    using model = await load('org/name', { revision: 'refs/pr/1' })
    await expectSame(model)
  })

  it('that does not exist is a HubError', async () => {
    server.answers.set('org/name/resolve/main/config.json', (response) => response.writeHead(401).end())
    hub('org/name')
    const error = await failure(load('org/name', { token: 'hf_x' }))
    expect(error).toBeInstanceOf(HubError)
    expect(error).toMatchObject({ reason: 'forbidden', status: 401 })
    expect(error.message).toContain('https://huggingface.co/org/name/resolve/main/config.json')
    expect(error.message).not.toContain('hf_x')
  })

  it('has no folder for a cache here', async () => {
    expect(await failure(load('org/name', { cacheDir: 'x' }))).toBeInstanceOf(ArgumentError)
    expect(await failure(load('org/name', { localFilesOnly: true }))).toBeInstanceOf(ArgumentError)
  })
})

describe.each([
  ['the web', testPlatform],
  ['Node', nodePlatform],
])('given files, on %s', (_, platform) => {
  beforeEach(() => registerPlatform(platform))
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  const buffer = (bytes: Uint8Array) => bytes.slice().buffer

  it.each<[string, (bytes: Uint8Array, name: string) => FileMap[string]]>([
    ['Uint8Array', (bytes) => bytes],
    ['ArrayBuffer', buffer],
    ['Blob', (bytes) => new Blob([buffer(bytes)])],
    ['Response', (bytes) => new Response(buffer(bytes))],
    ['ReadableStream', (bytes) => streamOf(bytes, 1000)],
    ['ReadableStream of single bytes', (bytes) => streamOf(bytes, 1)],
    ['ReadableStream of one chunk', (bytes) => streamOf(bytes, bytes.length)],
    ['URL', (_, name) => new URL(`${server.url}/model/${name}`)],
  ])('may be each a %s', async (_, make) => {
    for (const files of [whole, sharded]) {
      server.reset()
      serve(files)
      const given = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, make(bytes, name)]))
      using model = await load(given)
      await expectSame(model)
    }
  })

  it('may be texts, and make a pipeline, each read once', async () => {
    const given = {
      'config.json': text(whole['config.json']),
      'vocab.txt': text(whole['vocab.txt']),
      'tokenizer_config.json': new Response(buffer(whole['tokenizer_config.json'])),
      'model.safetensors': new Response(buffer(whole['model.safetensors'])),
    }
    using classify = await pipeline('text-classification', given)
    using expected = await pipeline('text-classification', whole)
    expect(await classify('a b c')).toEqual(await expected('a b c'))
    expect(classify.tokenizer.encode('c').inputIds).toEqual([2, 7, 3])
  })

  it.each<[string, () => FileMap, new (...args: never[]) => Error, RegExp]>([
    [
      'lack the config',
      () => ({ 'model.safetensors': whole['model.safetensors'] }),
      FileError,
      /Expected a file "config.json" but the given ones are: model.safetensors/,
    ],
    [
      'lack the weights',
      () => ({ 'config.json': whole['config.json'] }),
      WeightsError,
      /The given files: found no weights/,
    ],
    [
      'have a number among them',
      () => ({ 'config.json': 5 as never }),
      ArgumentError,
      /Expected "config.json" to be bytes, a Blob/,
    ],
    [
      'have weights as a text',
      () => ({ ...whole, 'model.safetensors': '/model.safetensors' }),
      ArgumentError,
      /give new URL/,
    ],
    [
      'be truncated',
      () => ({ ...whole, 'model.safetensors': streamOf(whole['model.safetensors'].subarray(0, -1), 999) }),
      WeightsError,
      /model.safetensors: expected .* the file ends after/,
    ],
    [
      'be truncated in the header',
      () => ({ ...whole, 'model.safetensors': streamOf(whole['model.safetensors'].subarray(0, 40), 999) }),
      WeightsError,
      /model.safetensors: expected .* the file ends after 32/,
    ],
    [
      'be an answer of 404',
      () => ({ ...whole, 'config.json': new Response('', { status: 404 }) }),
      DownloadError,
      /config.json: the server answered 404/,
    ],
    [
      'be a stream of texts',
      () => ({ ...whole, 'model.safetensors': new ReadableStream({ start: (c) => c.enqueue('x' as never) }) }),
      ArgumentError,
      /a stream of Uint8Array but it gave a string/,
    ],
    [
      'be a stream that fails',
      () => ({ ...whole, 'model.safetensors': new ReadableStream({ start: (c) => c.error(new Error('mine')) }) }),
      FileError,
      /Cannot read model.safetensors: the stream failed: mine/,
    ],
  ])('may not %s', async (_, given, type, message) => {
    const error = await failure(load(given()))
    expect(error).toBeInstanceOf(type)
    expect(error.message).toMatch(message)
  })

  it('are refused when they were read already', async () => {
    const response = new Response(buffer(whole['model.safetensors']))
    await response.arrayBuffer()
    expect((await failure(load({ ...whole, 'model.safetensors': response }))).message).toMatch(/was read already/)
    const stream = streamOf(whole['model.safetensors'], 100)
    stream.getReader()
    expect((await failure(load({ ...whole, 'model.safetensors': stream }))).message).toMatch(/is being read/)
  })

  it('stop at a signal, and let go of the stream', async () => {
    const controller = new AbortController()
    const cancel = vi.fn()
    const stream = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}), cancel })
    setTimeout(() => controller.abort(), 20)
    const error = await failure(load({ ...whole, 'model.safetensors': stream }, { signal: controller.signal }))
    expect(error).toBeInstanceOf(AbortedError)
    expect(cancel).toHaveBeenCalledOnce()
  })

  it('may be in folders, as sentence-transformers has them', async () => {
    const inside = Object.entries(whole).map(([name, bytes]) => [`0_Transformer/${name}`, bytes])
    const modules = [{ idx: 0, name: '0', path: '0_Transformer', type: 'sentence_transformers.models.Transformer' }]
    using model = await load({ 'modules.json': JSON.stringify(modules), ...Object.fromEntries(inside) })
    await expectSame(model)
  })
})

/** A safetensors file by hand: tensors in this order, with these bytes. */
function safetensors(
  tensors: readonly [name: string, dtype: string, shape: number[], bytes: Uint8Array][],
): Uint8Array {
  let end = 0
  const header = tensors.map(([name, dtype, shape, { length }]) => {
    end += length
    return [name, { dtype, shape, data_offsets: [end - length, end] }]
  })
  // listed backwards: the order of the file is not that of its header
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header.reverse())))
  const length = new Uint8Array(8)
  new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true)
  return Uint8Array.from([length, json, ...tensors.map(([, , , bytes]) => bytes)].flatMap((part) => [...part]))
}

describe('a stream of weights', () => {
  it('may have its tensors in any order, some of them not wanted, and as float16 and bfloat16', async () => {
    const entries = [...state].reverse()
    const shapes = new Map<string, readonly number[]>()
    using model = await load(whole)
    for (const { name, shape } of model.parameters()) shapes.set(name, shape)
    const dtypes = ['BF16', 'F16', 'F32'] as const
    const expected = new Map<string, Float32Array>()
    const stored = entries.map(([name, { data }], i): [string, string, number[], Uint8Array] => {
      const dtype = dtypes[i % 3]
      // small whole numbers are exact in all three
      const values = Float32Array.from(data, (_, k) => (k % 17) - 8)
      expected.set(name, values)
      const bits = new Uint32Array(values.buffer)
      const halves =
        dtype === 'BF16'
          ? Uint16Array.from(bits, (word) => word >>> 16)
          : Uint16Array.from(bits, (word, k) =>
              values[k] === 0
                ? 0
                : ((word >>> 16) & 0x8000) | ((((word >>> 23) & 255) - 112) << 10) | ((word >>> 13) & 0x3ff),
            )
      const source = dtype === 'F32' ? values : halves
      return [name, dtype, [...shapes.get(name)!], new Uint8Array(source.slice().buffer)]
    })
    stored.splice(3, 0, ['something.else', 'I64', [2], new Uint8Array(16)])
    using loaded = await load({
      'config.json': whole['config.json'],
      'model.safetensors': streamOf(safetensors(stored), 333),
    })
    expect(loaded.loadReport?.unexpected).toEqual(['something.else'])
    for (const [name, { data }] of await loaded.stateDict()) expect(data, name).toEqual(expected.get(name))
  })

  it('is never held: a model of 40 MB streams through a few', async () => {
    const config = tinyConfig({ vocabSize: 20_000, hiddenSize: 512, numHiddenLayers: 1, numAttentionHeads: 8 })
    using model = new BertModel(config)
    const shapes = model.parameters()
    let end = 0
    const header = Object.fromEntries(
      shapes.map(({ name, shape, size }) => {
        end += 4 * size
        return [name, { dtype: 'F32', shape, data_offsets: [end - 4 * size, end] }]
      }),
    )
    expect(end).toBeGreaterThan(40e6)
    const json = new TextEncoder().encode(JSON.stringify(header))
    const chunk = new Uint8Array(2 ** 16).fill(1)
    let sent = 0
    let most = 0
    const before = process.memoryUsage().arrayBuffers
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          most = Math.max(most, process.memoryUsage().arrayBuffers - before)
          const part = chunk.subarray(0, Math.min(chunk.length, end - sent))
          if (part.length === 0) return controller.close()
          sent += part.length
          controller.enqueue(part)
        },
        start(controller) {
          const length = new Uint8Array(8)
          new DataView(length.buffer).setBigUint64(0, BigInt(json.length), true)
          controller.enqueue(length)
          controller.enqueue(json)
        },
      },
      { highWaterMark: 0 },
    )
    using loaded = await BertModel.fromPretrained({ 'config.json': config.toText(), 'model.safetensors': body })
    expect(loaded.loadReport?.missing).toEqual([])
    expect(sent).toBe(end)
    // the addon's memory is not among arrayBuffers; pieces of 1 MiB that are not collected yet are
    expect(most).toBeLessThan(0.25 * end)
  })
})

describe('saving without a folder', () => {
  const bytesOf = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer())

  it('gives Blobs of the same bytes as a folder has', async () => {
    using model = await load(whole)
    const tokenizer = await BertTokenizer.fromPretrained(whole)
    for (const [files, options] of [[whole, {}] as const, [sharded, { maxShardSize: 3000 }] as const]) {
      const blobs = { ...(await model.savePretrained(undefined, options)), ...(await tokenizer.savePretrained()) }
      expect(Object.keys(blobs).sort()).toEqual(Object.keys(files).sort())
      for (const [name, blob] of Object.entries(blobs)) expect(await bytesOf(blob), name).toEqual(files[name])
      using again = await load(blobs)
      await expectSame(again)
    }
  })

  it('streams files into a sink, one after another', async () => {
    using model = await load(whole)
    const chunks = new Map<string, Uint8Array[]>()
    const sizes = new Map<string, number>()
    const events: string[] = []
    const sink = {
      write(name: string, size: number) {
        events.push(`open ${name}`)
        sizes.set(name, size)
        chunks.set(name, [])
        return new WritableStream<Uint8Array>({
          async write(chunk) {
            await new Promise((resolve) => setTimeout(resolve, 1))
            chunks.get(name)!.push(chunk)
          },
          close: () => void events.push(`close ${name}`),
        })
      },
    }
    await model.savePretrained(sink)
    await (await BertTokenizer.fromPretrained(whole)).savePretrained(sink)
    expect(
      Object.fromEntries(
        [...chunks].map(([name, parts]) => [name, Uint8Array.from(parts.flatMap((part) => [...part]))]),
      ),
    ).toEqual(whole)
    for (const [name, size] of sizes) expect(size, name).toBe(whole[name].length)
    const names = ['model.safetensors', 'config.json', 'vocab.txt', 'tokenizer.json', 'tokenizer_config.json']
    expect(events).toEqual(names.flatMap((name) => [`open ${name}`, `close ${name}`]))
  })

  it('aborts the stream of a file that fails, and the model stays usable', async () => {
    using model = await load(whole)
    const abort = vi.fn()
    const sink = { write: () => new WritableStream({ write: () => Promise.reject(new Error('full')), abort }) }
    await expect(model.savePretrained(sink)).rejects.toThrow('full')
    await expect(model.savePretrained({ write: () => 5 as never })).rejects.toThrow(ArgumentError)
    await expectSame(model)
  })

  it.each([5, {}, null])('refuses %j for a place', async (target) => {
    using model = await load(whole)
    await expect(model.savePretrained(target as never)).rejects.toThrow(ArgumentError)
  })

  it('has no folders', async () => {
    using model = await load(whole)
    await expect(model.savePretrained('folder')).rejects.toThrow(/savePretrained\(\) without one returns Blobs/)
  })
})

describe('Node', () => {
  beforeEach(() => registerPlatform(nodePlatform))

  it('takes URLs too, of the web and of files', async () => {
    serve(whole)
    for (const source of [`${server.url}/model`, new URL(`${server.url}/model/`), new URL(`file://${root}/whole`)]) {
      using model = await load(source)
      await expectSame(model)
    }
    using opened = await load(new FolderFiles(path.join(root, 'whole')))
    await expectSame(opened)
  })
})

describe('the cases of test/golden', () => {
  const cases = path.join(import.meta.dirname, '..', 'golden', 'cases')

  it('stream over HTTP into every class, and train there as from a folder', async () => {
    const classes = new Set<string>()
    for (const name of await fs.readdir(cases)) {
      const folder = path.join(cases, name)
      const files = await filesOf(folder)
      if (!files['config.json']) continue
      serve(files, name)
      const [given] = [JSON.parse(new TextDecoder().decode(files['inputs.json']))].flat()
      classes.add(given.class)
      const Class = (edge as unknown as Record<string, typeof BertModel>)[given.class]
      using streamed = await Class.fromPretrained(`${server.url}/${name}`)
      using expected = await Class.fromPretrained(new FolderFiles(folder))
      expect(streamed.loadReport).toEqual(expected.loadReport)
      const wanted = await expected.stateDict()
      for (const [tensor, { data }] of await streamed.stateDict())
        expect(sameBits(data, wanted.get(tensor)!.data), `${name} ${tensor}`).toBe(true)
    }
    expect(classes.size).toBe(9)
  })

  it('fine-tune with AdamW to the same losses, and come back from Blobs', async () => {
    serve(whole)
    const batch = {
      inputIds: [
        [2, 5, 6, 3],
        [2, 7, 3],
      ],
      labels: [1, 0],
    }
    const losses: number[][] = []
    for (const source of [`${server.url}/model`, new FolderFiles(path.join(root, 'whole'))]) {
      using model = (await load(source)).train()
      const optimizer = new AdamW(model, { lr: 1e-3 })
      const curve: number[] = []
      for (let step = 0; step < 5; step++) curve.push((await optimizer.step(batch)).loss)
      using again = await load(await model.savePretrained())
      curve.push((await again.forward(batch)).loss!)
      losses.push(curve)
    }
    expect(losses[0]).toEqual(losses[1])
    expect(losses[0][5]).toBeLessThan(losses[0][0])
  })
})

const reference = process.env.BERTKIT_REFERENCE_DIR
describe.runIf(reference !== undefined)('MiniLM over HTTP (without BERTKIT_REFERENCE_DIR it is not there)', () => {
  it('gives the embeddings of sentence-transformers', async () => {
    const folder = path.join(reference ?? '', 'data/weights/all-MiniLM-L6-v2')
    serve(await filesOfTree(folder), 'minilm')
    const golden = path.join(reference ?? '', 'golden/minilm/embeddings.json')
    const { sentences, embeddings } = JSON.parse(await fs.readFile(golden, 'utf8'))
    using embed = await pipeline('feature-extraction', `${server.url}/minilm`, { pooling: 'mean', normalize: true })
    const found = (await embed(sentences)) as { data: Float32Array }[] | { data: Float32Array }
    const rows = Array.isArray(found) ? found.flatMap(({ data }) => [...data]) : [...found.data]
    const expected: number[] = embeddings.flat()
    expect(rows.length).toBe(expected.length)
    const most = rows.reduce((worst, value, i) => Math.max(worst, Math.abs(value - expected[i])), 0)
    expect(most).toBeLessThan(1e-5)
  })
})

async function filesOfTree(folder: string): Promise<Record<string, Uint8Array>> {
  const names = await fs.readdir(folder, { recursive: true })
  const files: Record<string, Uint8Array> = {}
  for (const name of names)
    if ((await fs.stat(path.join(folder, name))).isFile())
      files[name] = new Uint8Array(await fs.readFile(path.join(folder, name)))
  return files
}
