// A host that refuses shared memories that may become large, as iOS does.
import fs from 'node:fs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { engineWorker } from '../../src/backend/wasm/engine-worker.ts'
import { type WasmModule, webAssembly } from '../../src/backend/wasm/host.ts'
import { openInline } from '../../src/backend/wasm/inline.ts'
import { loadWasm } from '../../src/backend/wasm/load.ts'
import { openWasm, type WasmHost } from '../../src/backend/wasm/open.ts'
import type { WorkerPort } from '../../src/backend/wasm/remote.ts'
import { BackendError } from '../../src/errors.ts'
import { Arena } from '../../src/graph/op-table.ts'
import { fileOf, missing } from './binaries.ts'

const MIB = 2 ** 20
const PAGE = 65_536
const lacking = missing('bertkit') ?? missing('bertkit-threads')

type Descriptor = ConstructorParameters<ReturnType<typeof webAssembly>['Memory']>[0]

/** Refuses memories of more bytes. Returns what was asked for. */
function refuse(most: number, error: new (message: string) => Error = RangeError): number[] {
  const asked: number[] = []
  const api = webAssembly()
  class Memory extends api.Memory {
    constructor(descriptor: Descriptor) {
      asked.push(descriptor.maximum * PAGE)
      if (descriptor.maximum * PAGE > most) throw new error('Out of memory')
      super(descriptor)
    }
  }
  vi.stubGlobal('WebAssembly', Object.create(api, { Memory: { value: Memory } }))
  return asked
}

/** A platform whose worker is this thread, with one thread of each pool; others never come. */
function host(): { host: WasmHost; loaded: string[]; ended: number[] } {
  const loaded: string[] = []
  const ended: number[] = []
  const startWorker = (): WorkerPort => {
    let heard: (message: unknown) => void = () => {}
    let take: ReturnType<typeof engineWorker> | undefined
    const number = ended.push(0) - 1
    return {
      post: (request) => void setImmediate(() => take?.(request)),
      listen(reply) {
        heard = reply
        const post = (message: unknown) => void setImmediate(() => heard(message))
        take = engineWorker({ post, start: () => ({ terminate() {} }) })
      },
      hold() {},
      terminate: () => void ended[number]++,
    }
  }
  const load = async (name: string): Promise<WasmModule> => {
    loaded.push(name)
    return loadWasm(fs.readFileSync(fileOf(name.includes('threads') ? 'bertkit-threads' : 'bertkit')))
  }
  return { host: { load, open: loadWasm, startWorker, threads: 2, sharesMemory: true }, loaded, ended }
}

describe.skipIf(lacking)(`shared memory that is refused${lacking ? ` (${lacking})` : ''}`, () => {
  afterEach(() => {
    vi.unstubAllGlobals()
  })
  const threaded = () => loadWasm(fs.readFileSync(fileOf('bertkit-threads')))

  test('half as much is asked for, until it is given; that is the limit then', async () => {
    const module = await threaded()
    const asked = refuse(1024 * MIB)
    const backend = openInline(module)
    expect(asked.map((bytes) => Math.ceil(bytes / MIB))).toEqual([4096, 2048, 1024])
    const memory = backend.createMemory()
    expect(() => memory.reserve(Arena.weights, 1100 * MIB)).toThrow(/may have 10\d{8} \(memoryLimit\)/)
    memory.reserve(Arena.weights, 900 * MIB)
    backend.close()
  })

  test('the last is 256 MiB', async () => {
    const module = await threaded()
    const asked = refuse(256 * MIB)
    openInline(module).close()
    expect(asked.at(-1)).toBe(256 * MIB)
    const less = refuse(255 * MIB)
    expect(() => openInline(module)).toThrow(/refuses the memory of a WebAssembly engine: Out of memory/)
    expect(less.at(-1)).toBe(256 * MIB)
  })

  test('a limit that somebody gave is kept', async () => {
    const module = await threaded()
    const asked = refuse(256 * MIB)
    expect(() => openInline(module, { memoryLimit: 512 * MIB })).toThrow(BackendError)
    expect(asked).toEqual([512 * MIB])
  })

  test('what is no refusal is not asked for again', async () => {
    const module = await threaded()
    const asked = refuse(256 * MIB, TypeError)
    expect(() => openInline(module)).toThrow(/not one of bertkit's/)
    expect(asked.length).toBe(1)
  })

  test('a model opens with as many threads in less memory', async () => {
    const { host: iphone, loaded } = host()
    refuse(512 * MIB)
    const backend = await openWasm(iphone, { threads: 0 })
    expect(backend.description.threads).toBe(2)
    expect(loaded.length).toBe(1)
    backend.close()
  })

  test('and with one where none is shared at all', async () => {
    const { host: iphone, loaded, ended } = host()
    refuse(100 * MIB)
    const backend = await openWasm(iphone, { threads: 0 })
    expect(backend.description.threads).toBe(1)
    expect(loaded.map((name) => name.includes('threads'))).toEqual([true, false])
    expect(ended).toEqual([1, 0])
    const memory = backend.createMemory()
    memory.reserve(Arena.weights, 300 * MIB)
    memory.write(Arena.weights, 299 * MIB, Float32Array.of(5))
    const read = new Float32Array(1)
    await memory.read(Arena.weights, 299 * MIB, read)
    expect(read[0]).toBe(5)
    backend.close()
  })

  test.each([
    ['threads', { threads: 2 }],
    ['memory', { threads: 0, wasm: { memoryLimit: 512 * MIB } }],
  ])('not where somebody asked for so much: %s', async (_, options) => {
    const { host: iphone, loaded } = host()
    refuse(100 * MIB)
    const opening = openWasm(iphone, options)
    await expect(opening).rejects.toThrow(/refuses the memory/)
    await expect(opening).rejects.toMatchObject({ reason: 'memory' })
    expect(loaded.length).toBe(1)
  })
})
