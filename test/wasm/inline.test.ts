// The WebAssembly backend where things go wrong: binaries that cannot be had, memory that runs out, engines that trap; and its threads.
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { openNative } from '../../src/backend/native.ts'
import { chooseBinary, wasmFeatures } from '../../src/backend/wasm/features.ts'
import { loadBuilt } from '../../src/backend/wasm/files.ts'
import { defaultMemoryLimit, type InlineBackend, openInline } from '../../src/backend/wasm/inline.ts'
import type { WasmThreads } from '../../src/backend/wasm/instance.ts'
import { loadWasm } from '../../src/backend/wasm/load.ts'
import { AbortedError, BackendError, DisposedError } from '../../src/errors.ts'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { fileOf, missing } from './binaries.ts'

const MIB = 2 ** 20
const H = 64
const built = missing('bertkit')
const threaded = missing('bertkit-threads')
const because = (reason: string | undefined) => (reason ? ` (${reason})` : '')

/** `count` dropouts one after another over 100 rows: a run that takes its time, and whose result is its masks. */
function dropouts(backend: Backend, count = 1) {
  const graph = new Graph({ tokens: 100 }, { differentiate: false, training: false })
  const [x, y] = ['x', 'y'].map((name) => graph.input(name, Row.tokens, H, 'float32'))
  for (let site = 1; site <= count; site++) graph.emit('dropout', { x, y }, { rows: Row.tokens, H, p: 0.4, site })
  const plan = compilePlan(graph)
  const scalars = new Float64Array(plan.scalars)
  scalars[Row.tokens] = 100
  scalars[Scalar.seed] = 1234
  scalars[Scalar.step] = 5
  const memory = backend.createMemory()
  const program = backend.compile(plan)
  const run = async (signal?: AbortSignal) => {
    memory.reserve(Arena.io, plan.arenaBytes.io)
    memory.write(Arena.io, x.offset!, new Float32Array(100 * H).fill(1))
    await program.run(memory, scalars, signal)
    const result = new Float32Array(100 * H)
    await memory.read(Arena.io, y.offset!, result)
    return result
  }
  return { memory, program, run }
}

/** Makes every kernel's address one that is none: the next record traps. Found by what stands before them in native/cpu/kernel.h. */
function breakKernels(backend: InlineBackend): void {
  const words = new Int32Array(backend.cancelWords().buffer)
  const { rows, columns, unit, bytes } = backend.description.products.bfloat16
  const tile = [rows, columns, unit, bytes]
  const at = words.findIndex((_, i) => [0, 5].every((from) => tile.every((value, k) => words[i + from + k] === value)))
  expect(at).toBeGreaterThan(0)
  words.fill(-1, at + 9, at + 9 + 2 * 64)
}

describe('which binary', () => {
  const all = { simd128: true, relaxedSimd: true, threads: true }
  test.each([
    ['bertkit-relaxed-threads', true, all],
    ['bertkit-relaxed', false, all],
    ['bertkit-threads', true, { ...all, relaxedSimd: false }],
    ['bertkit', true, { ...all, relaxedSimd: false, threads: false }],
  ] as const)('%s', (name, several, features) => {
    expect(chooseBinary(several, features)).toBe(name)
  })

  test('none without SIMD, and an error says so', () => {
    expect(() => chooseBinary(false, { ...all, simd128: false })).toThrow(/no SIMD/)
  })

  test('Node has SIMD and threads', () => {
    expect(wasmFeatures()).toMatchObject({ simd128: true, threads: true })
  })

  test('a runtime without WebAssembly is told so', () => {
    vi.stubGlobal('WebAssembly', undefined)
    try {
      expect(() => wasmFeatures()).toThrow(/has no WebAssembly/)
    } finally {
      vi.unstubAllGlobals()
    }
  })

  test('the default limit leaves an edge worker room, and elsewhere is what WebAssembly can have', () => {
    expect(defaultMemoryLimit()).toBeGreaterThan(4000 * MIB)
    vi.stubGlobal('navigator', { userAgent: 'Cloudflare-Workers' })
    try {
      expect(defaultMemoryLimit()).toBe(96 * MIB)
    } finally {
      vi.unstubAllGlobals()
    }
  })
})

describe.skipIf(built)(`loading${because(built)}`, () => {
  let server: http.Server
  let base: string
  const bytes = built ? new Uint8Array() : fs.readFileSync(fileOf('bertkit'))
  beforeAll(async () => {
    const answers: Record<string, [number, string, Uint8Array | string]> = {
      '/bertkit.wasm': [200, 'application/wasm', bytes],
      '/typed.wasm': [200, 'text/html; charset=utf-8', '<!doctype html>'],
      '/cut.wasm': [200, 'application/wasm', bytes.subarray(0, 1000)],
    }
    server = http.createServer((request, response) => {
      const [status, type, body] = answers[request.url ?? ''] ?? [404, 'text/plain', 'nothing here']
      response.writeHead(status, { 'content-type': type }).end(body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => {
    server?.close()
  })

  test('from bytes, a module, an answer and a URL, which is compiled once', async () => {
    const module = await loadWasm(bytes)
    expect(await loadWasm(module)).toBe(module)
    const url = `${base}/bertkit.wasm`
    expect(await loadWasm(url)).toBe(await loadWasm(new URL(url)))
    for (const source of [
      bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
      fetch(url),
      await fetch(url),
    ])
      expect(openInline(await loadWasm(source)).description.isa).toBe('simd128')
  })

  test.each([
    ['/missing.wasm', /missing\.wasm was 404/],
    ['/typed.wasm', /came as text\/html, expected application\/wasm/],
    ['/cut.wasm', /cut\.wasm is no WebAssembly that this runtime can compile/],
  ])('%s is refused in plain words', async (place, words) => {
    const refused = loadWasm(base + place)
    await expect(refused).rejects.toThrow(BackendError)
    await expect(refused).rejects.toThrow(words)
  })

  test('a server that is not there', async () => {
    await expect(loadWasm('http://127.0.0.1:9/bertkit.wasm')).rejects.toThrow(
      /Cannot load the WebAssembly kernels from/,
    )
  })

  test('what is no binary at all', async () => {
    await expect(loadWasm(7 as never)).rejects.toThrow(/received 7/)
    await expect(loadWasm({})).rejects.toThrow(/received an object/)
    await expect(loadWasm(Uint8Array.of(1, 2, 3))).rejects.toThrow(/no WebAssembly that this runtime can compile/)
    const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)
    const module = await loadWasm(empty)
    expect(() => openInline(module)).toThrow(/not one of bertkit's/)
  })

  test('a binary of another list of ops', async () => {
    const other = Buffer.from(bytes)
    const at = other.indexOf('ROW 0 ')
    expect(at).toBeGreaterThan(0)
    other[at + 6]++
    const module = await loadWasm(other)
    expect(() => openInline(module)).toThrow(/another list of ops/)
  })

  test('a binary that was not built', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'bertkit-test-'))
    vi.stubEnv('BERTKIT_WASM', folder)
    try {
      await expect(loadBuilt('bertkit')).rejects.toThrow(/no such file.*npm run build:wasm/)
    } finally {
      vi.unstubAllEnvs()
      fs.rmSync(folder, { recursive: true })
    }
  })
})

describe.skipIf(built)(`running${because(built)}`, () => {
  const load = () => loadWasm(fs.readFileSync(fileOf('bertkit')))

  test('dropout has the masks of the native kernels', async () => {
    const native = await dropouts(openNative()).run()
    expect(await dropouts(openInline(await load())).run()).toEqual(native)
    expect(native.filter((value) => value === 0).length).toBeGreaterThan(2000)
  })

  test('a memory that is too small is a BackendError that names both sizes, and the engine goes on', async () => {
    const backend = openInline(await load(), { memoryLimit: 16 * MIB })
    const { memory, run } = dropouts(backend)
    const before = await run()
    expect(() => memory.reserve(Arena.weights, 20 * MIB)).toThrow(/arena of 20971520 bytes.*may have 16777216/)
    expect(() => memory.reserve(Arena.weights, 20 * MIB)).toThrow(BackendError)
    expect(await run()).toEqual(before)
    memory.reserve(Arena.weights, 8 * MIB)
  })

  test('addresses beyond 2 GiB, which WebAssembly gives as negative numbers', async () => {
    const backend = openInline(await load())
    const memory = backend.createMemory()
    const [size, high] = [2.5 * 2 ** 30, 2.25 * 2 ** 30]
    memory.reserve(Arena.weights, size) // pages that nobody touches cost nothing
    memory.write(Arena.weights, high, Float32Array.of(1, 2, 3))
    const read = new Float32Array(3)
    await memory.read(Arena.weights, high, read)
    expect([...read]).toEqual([1, 2, 3])
    // where a negative address would have been counted from the end of the memory
    for (const at of [0, 2 ** 29, 2 ** 30]) {
      await memory.read(Arena.weights, at, read)
      expect([...read]).toEqual([0, 0, 0])
    }
    expect(await dropouts(backend).run()).toEqual(await dropouts(openInline(await load())).run())
    backend.close()
  })

  test('a limit that is too small for an engine', async () => {
    const module = await load()
    expect(() => openInline(module, { memoryLimit: 1000 })).toThrow(/No memory for a WebAssembly engine/)
    expect(() => openInline(module, { memoryLimit: Number.NaN })).toThrow(/memoryLimit/)
  })

  test('a signal is seen before a run, also when it fires by a timer', async () => {
    const { run } = dropouts(openInline(await load()), 200)
    await expect(run(AbortSignal.abort())).rejects.toThrow(AbortedError)
    const signal = AbortSignal.timeout(40)
    const endless = async () => {
      for (;;) await run(signal)
    }
    await expect(endless()).rejects.toThrow(AbortedError)
  })

  test('a signal is seen where the clock stands still during a computation, as in edge workers', async () => {
    const { run } = dropouts(openInline(await load()))
    const now = vi.spyOn(performance, 'now').mockReturnValue(1000)
    try {
      const signal = AbortSignal.timeout(20)
      const endless = async () => {
        for (let i = 0; i < 100_000; i++) await run(signal)
      }
      await expect(endless()).rejects.toThrow(AbortedError)
    } finally {
      now.mockRestore()
    }
  })

  test('closing ends it', async () => {
    const backend = openInline(await load())
    const { memory, program, run } = dropouts(backend)
    await run()
    backend.close()
    await expect(run()).rejects.toThrow(DisposedError)
    memory.dispose()
    program.dispose()
    backend.close()
  })

  test('a trap is a BackendError; the engine is another one then, with the weights and the programs of before', async () => {
    const backend = openInline(await load(), { memoryLimit: 64 * MIB })
    const weights = new Float32Array(1000).map((_, i) => i)
    const { memory, run } = dropouts(backend)
    memory.reserve(Arena.weights, 4000)
    memory.write(Arena.weights, 0, weights)
    const before = await run()
    breakKernels(backend)
    const failed = run()
    await expect(failed).rejects.toThrow(BackendError)
    await expect(failed).rejects.toThrow(
      /WebAssembly engine failed \(.+\); it was started again and its memory was kept/,
    )
    const kept = new Float32Array(1000)
    await memory.read(Arena.weights, 0, kept)
    expect(kept).toEqual(weights)
    expect(await run()).toEqual(before)
  })
})

describe.skipIf(threaded)(`threads${because(threaded)}`, () => {
  const workers: Worker[] = []
  /** Threads are workers of the compiled script: those of Node 20 read no TypeScript. */
  const threads = (count: number): WasmThreads => ({
    count,
    start(thread) {
      const worker = new Worker(new URL('../../dist/backend/wasm/worker-node.js', import.meta.url))
      worker.postMessage({ thread })
      workers.push(worker)
      return { terminate: () => void worker.terminate() }
    },
  })
  const load = () => loadWasm(fs.readFileSync(fileOf('bertkit-threads')))
  afterAll(async () => {
    await Promise.all(workers.map((worker) => worker.terminate()))
  })
  /** Workers take a moment to start; until then runs have fewer threads. */
  const entered = () => new Promise((resolve) => setTimeout(resolve, 500))

  test('one thread or three, the same bits, also without waiting for them', async () => {
    const want = await dropouts(openNative()).run()
    const alone = openInline(await load())
    expect(alone.description.threads).toBe(1)
    expect(await dropouts(alone).run()).toEqual(want)
    const backend = openInline(await load(), { threads: threads(3), memoryLimit: 64 * MIB })
    expect(backend.description.threads).toBe(3)
    expect(await dropouts(backend).run()).toEqual(want)
    await entered()
    const { run } = dropouts(backend, 20)
    const many = await run()
    for (let i = 0; i < 20; i++) expect(await run()).toEqual(many)
    backend.close()
  })

  test('another thread cancels a run by its number, and only that one', async () => {
    const backend = openInline(await load())
    const { run } = dropouts(backend, 20_000)
    const words = backend.cancelWords()
    const worker = new Worker(
      `const { workerData: words } = require('node:worker_threads')
      setTimeout(() => Atomics.store(words, 1, 7), 30)`,
      { eval: true, workerData: words },
    )
    workers.push(worker)
    Atomics.store(words, 0, 7)
    await expect(run()).rejects.toThrow(AbortedError)
    Atomics.store(words, 0, 8)
    await run()
  })

  test('an engine that traps is replaced with its threads', async () => {
    const backend = openInline(await load(), { threads: threads(2), memoryLimit: 64 * MIB })
    const { run } = dropouts(backend, 20)
    const before = await run()
    await entered()
    breakKernels(backend)
    await expect(run()).rejects.toThrow(/WebAssembly engine failed/)
    expect(await run()).toEqual(before)
    await entered()
    expect(await run()).toEqual(before)
    backend.close()
  })
})
