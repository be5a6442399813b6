import { beforeEach, describe, expect, it, vi } from 'vitest'
import {
  AbortedError,
  ArgumentError,
  BertModel,
  DownloadError,
  FileError,
  type FileMap,
  HubError,
  pipeline,
  WeightsError,
} from '../../src/edge.ts'
import { registerPlatform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { tinyConfig } from '../session/tiny.ts'
import { expectSame, failure, load, serve, server, sharded, state, useModelServer, whole } from './model-server.ts'
import { streamOf, testPlatform } from './web.ts'

useModelServer()

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
