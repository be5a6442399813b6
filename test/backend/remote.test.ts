// A backend behind a worker: the native one, in this thread, with messages that are copied as between threads.
import { describe, expect, it, vi } from 'vitest'
import type { Backend, Elements } from '../../src/backend/backend.ts'
import { openNative } from '../../src/backend/native.ts'
import { nodeWasm } from '../../src/backend/wasm/node.ts'
import { HELLO, RETURN_BYTES, RETURNED, type Reply, type Request } from '../../src/backend/wasm/protocol.ts'
import { openRemote, type WorkerPort } from '../../src/backend/wasm/remote.ts'
import { Server } from '../../src/backend/wasm/serve.ts'
import { AbortedError, ArgumentError, BackendError, BusyError, DisposedError, PlanError } from '../../src/errors.ts'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'

interface Wire {
  readonly port: WorkerPort
  readonly held: boolean[]
  fail(reason: string): void
  terminated: number
}

/** Both ends, in one thread. */
function wire(open: (settings: unknown) => Promise<Backend>): Wire {
  let reply: (reply: Reply) => void
  let failed: (reason: string) => void
  const clone = <T>(message: T, transfer: ArrayBufferLike[]) =>
    structuredClone(message, { transfer: transfer as ArrayBuffer[] })
  const server = new Server(open, (answer, transfer) => {
    const copy = clone(answer, transfer)
    setImmediate(() => reply(copy))
  })
  const held: boolean[] = []
  const made: Wire = {
    held,
    terminated: 0,
    fail: (reason) => failed(reason),
    port: {
      post(request: Request, transfer) {
        const copy = clone(request, transfer)
        setImmediate(() => server.take(copy))
      },
      listen(onReply, onFailed) {
        reply = onReply
        failed = onFailed
        setImmediate(() => reply({ id: HELLO, answer: undefined })) // the script has begun
      },
      hold: (awaited) => void held.push(awaited),
      terminate: () => void made.terminated++,
    },
  }
  return made
}

const native = async (settings: unknown): Promise<Backend> => openNative(settings as { threads?: number })
const open = (): Promise<Backend> => openRemote(wire(native).port, { threads: 2 })

/** A plan that does nothing with one input. */
function nothing() {
  const graph = new Graph({ tokens: 4 }, { differentiate: false, training: false })
  graph.input('from', Row.tokens, 4, 'float32')
  return compilePlan(graph, 0)
}

describe('a backend in a worker', () => {
  it('describes what runs there', async () => {
    const backend = await open()
    expect(backend.description).toEqual(openNative({ threads: 2 }).description)
    expect(await backend.measurePeak('float32', 0.01)).toBeGreaterThan(0)
  })

  it('rejects with the error of the one that could not open', async () => {
    const { port, ...rest } = wire(native)
    await expect(openRemote(port, { isa: 'mips' })).rejects.toThrow(/mips/)
    expect(rest.held.at(-1)).toBe(false)
  })

  it('reports the error of a call without an answer at the next that has one, and is usable afterwards', async () => {
    const backend = await open()
    const memory = backend.createMemory()
    memory.reserve(Arena.io, 64)
    memory.write(Arena.io, 64, new Float32Array(4))
    const target = new Float32Array(4)
    await expect(memory.read(Arena.io, 0, target)).rejects.toThrow(BackendError)
    memory.write(Arena.io, 0, Float32Array.of(1, 2, 3, 4))
    await memory.read(Arena.io, 0, target)
    expect([...target]).toEqual([1, 2, 3, 4])
  })

  it('answers with the reason where a memory could not be created, and goes on', async () => {
    let refuse = true
    const refusing = async (settings: unknown): Promise<Backend> => {
      const backend = await native(settings)
      const createMemory = () => {
        if (refuse) throw new BackendError('No memory for a model', { reason: 'memory' })
        return backend.createMemory()
      }
      return { ...backend, createMemory }
    }
    const backend = await openRemote(wire(refusing).port, { threads: 1 })
    const none = backend.createMemory()
    none.reserve(Arena.io, 64)
    const failure = await none.read(Arena.io, 0, new Float32Array(1)).catch((error: unknown) => error)
    expect(failure).toMatchObject({ message: 'No memory for a model', reason: 'memory' })
    refuse = false
    const memory = backend.createMemory()
    memory.reserve(Arena.io, 64)
    await memory.read(Arena.io, 0, new Float32Array(1))
  })

  it('copies what it writes', async () => {
    const memory = (await open()).createMemory()
    memory.reserve(Arena.io, 64)
    const source = Float32Array.of(5, 6)
    memory.write(Arena.io, 0, source)
    source.fill(0)
    const target = new Float32Array(2)
    await memory.read(Arena.io, 0, target)
    expect([...target]).toEqual([5, 6])
  })

  it('refuses a malformed plan when it is run', async () => {
    const backend = await open()
    const memory = backend.createMemory()
    const program = backend.compile({ words: Int32Array.of(1, 2, 3) })
    await expect(program.run(memory, new Float64Array(Scalar.group0))).rejects.toThrow(PlanError)
  })

  it('cancels a run that has not begun', async () => {
    const backend = await open()
    const plan = nothing()
    const memory = backend.createMemory()
    memory.reserve(Arena.io, plan.arenaBytes.io)
    const program = backend.compile(plan)
    const run = new Float64Array(plan.scalars)
    const controller = new AbortController()
    const first = program.run(memory, run, controller.signal)
    controller.abort()
    await expect(first).rejects.toThrow(AbortedError)
    await expect(program.run(memory, run, controller.signal)).rejects.toThrow(AbortedError)
    await program.run(memory, run)
  })

  it.each([
    ['rejects a run that was cancelled on its way, though it went on to its end', false],
    ['resolves a run that was cancelled on its way and went on to write weights', true],
  ])('%s', async (_, writesWeights) => {
    let began = () => {}
    const begun = new Promise<void>((resolve) => {
      began = resolve
    })
    let ended = () => {}
    const end = new Promise<void>((resolve) => {
      ended = resolve
    })
    const slow = async (settings: unknown): Promise<Backend> => {
      const backend = await native(settings)
      const run = async () => {
        began()
        await end
      }
      return { ...backend, compile: () => ({ run, dispose() {} }) }
    }
    const backend = await openRemote(wire(slow).port, { threads: 1 })
    const plan = nothing()
    const memory = backend.createMemory()
    const controller = new AbortController()
    const program = backend.compile({ ...plan, writesWeights })
    const running = program.run(memory, new Float64Array(plan.scalars), controller.signal)
    await begun
    controller.abort()
    ended()
    if (writesWeights) await running
    else await expect(running).rejects.toThrow(AbortedError)
  })

  it('refuses to touch memory during a run, and after it was disposed', async () => {
    const backend = await open()
    const plan = nothing()
    const memory = backend.createMemory()
    memory.reserve(Arena.io, plan.arenaBytes.io)
    const running = backend.compile(plan).run(memory, new Float64Array(plan.scalars))
    expect(() => memory.reserve(Arena.io, 1 << 20)).toThrow(BusyError)
    await running
    memory.dispose()
    expect(() => memory.write(Arena.io, 0, new Float32Array(1))).toThrow(DisposedError)
  })

  it('writes large pieces in memory that has come back, whatever their length and type', async () => {
    const made = wire(native)
    const sent: number[] = []
    const post = (request: Request, transfer: ArrayBufferLike[]) => {
      if (request.kind === 'write') sent.push(request.data.buffer.byteLength)
      made.port.post(request, transfer)
    }
    const backend = await openRemote({ ...made.port, post }, { threads: 1 })
    const memory = backend.createMemory()
    const bytes = 2 * RETURN_BYTES
    memory.reserve(Arena.io, bytes)
    const written = async (source: Elements, target: Elements) => {
      memory.write(Arena.io, 0, source)
      await memory.read(Arena.io, 0, target)
      const bytesOf = (data: Elements) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
      return bytesOf(source).equals(bytesOf(target))
    }
    const numbers = (length: number) => Float32Array.from({ length }, (_, i) => (i * 7919) % 1000)
    expect(await written(numbers(bytes / 4), new Float32Array(bytes / 4))).toBe(true)
    expect(await written(Int32Array.from(numbers(bytes / 4 - 7)), new Int32Array(bytes / 4 - 7))).toBe(true)
    expect(await written(Uint16Array.from(numbers(bytes / 4 + 3)), new Uint16Array(bytes / 4 + 3))).toBe(true)
    expect(await written(numbers(5), new Float32Array(5))).toBe(true)
    expect(sent).toEqual([bytes, bytes, bytes, 20])
    // faster than they come back
    for (const value of [1, 2, 3]) memory.write(Arena.io, 0, new Float32Array(bytes / 4).fill(value))
    const target = new Float32Array(bytes / 4)
    await memory.read(Arena.io, 0, target)
    expect(target.every((value) => value === 3)).toBe(true)
  })

  it('rejects everything when the worker has ended', async () => {
    const made = wire(native)
    const backend = await openRemote(made.port, { threads: 1 })
    const memory = backend.createMemory()
    memory.reserve(Arena.io, 64)
    const reading = memory.read(Arena.io, 0, new Float32Array(1))
    made.fail('The worker ran out of memory')
    await expect(reading).rejects.toThrow(/ran out of memory/)
    await expect(memory.read(Arena.io, 0, new Float32Array(1))).rejects.toThrow(/ran out of memory/)
    expect(made.terminated).toBe(1)
  })

  it('gives up on a worker that says nothing, and not on one that is slow after its first word', async () => {
    vi.useFakeTimers()
    try {
      const silent = wire(native)
      const opening = openRemote({ ...silent.port, post() {}, listen() {} }, {})
      const failure = expect(opening).rejects.toThrow(/said nothing for 30 seconds.*bertkit\/worker/)
      await vi.advanceTimersByTimeAsync(30_000)
      await failure
      expect(silent.terminated).toBeGreaterThan(0)
      const heard: ((reply: Reply) => void)[] = []
      const slow = wire(native)
      const pending = openRemote({ ...slow.port, post() {}, listen: (reply) => void heard.push(reply) }, {})
      const settled = vi.fn()
      void pending.then(settled, settled)
      heard[0]({ id: HELLO, answer: undefined })
      await vi.advanceTimersByTimeAsync(120_000)
      expect(settled).not.toHaveBeenCalled()
    } finally {
      vi.useRealTimers()
    }
  })

  it.each([
    ['a text', 'ready', /sent "ready", which is no answer/],
    ['nothing', undefined, /sent nothing/],
    ['a number', 7, /sent a number/],
    ['a list', [HELLO], /sent a list/],
    ['an object without an id', { type: 'ready' }, /sent an object/],
    ['an answer to what was not asked', { id: 41, answer: undefined }, /sent an object/],
    ['an answer without one', { id: 0 }, /sent an object/],
    ['an error that is none', { id: 0, error: null }, /sent an object/],
    ['memory that is none', { id: RETURNED, returned: 'x' }, /sent an object/],
    ['words that are none', { id: 0, answer: undefined, cancelWords: 'x' }, /sent an object/],
  ])('ends at a message that is not from its script: %s', async (_, message, words) => {
    const heard: ((message: unknown) => void)[] = []
    const made = wire(native)
    const opening = openRemote({ ...made.port, post() {}, listen: (reply) => void heard.push(reply) }, {})
    const failure = opening.catch((error: unknown) => error)
    heard[0]({ id: HELLO, answer: undefined })
    heard[0](message)
    heard[0](message) // on its way when the connection ended
    expect(await failure).toBeInstanceOf(BackendError)
    await expect(opening).rejects.toThrow(words)
    await expect(opening).rejects.toThrow(/is its script \(wasm\.worker\) that of bertkit\/worker/)
    expect(made.terminated).toBeGreaterThan(0)
  })

  it('takes no answer before the script has said that it has begun', async () => {
    const heard: ((message: unknown) => void)[] = []
    const { port } = wire(native)
    const opening = openRemote({ ...port, post() {}, listen: (reply) => void heard.push(reply) }, {})
    const failure = expect(opening).rejects.toThrow(/no answer to a question/)
    heard[0]({ id: 0, answer: {} })
    await failure
  })

  it.each(["'ready'", "{ type: 'ready' }"])("refuses a script of one's own that posts %s", async (message) => {
    const script = `import { parentPort } from 'node:worker_threads'; parentPort.postMessage(${message})`
    const port = nodeWasm.startWorker!(new URL(`data:text/javascript,${encodeURIComponent(script)}`))
    await expect(openRemote(port, {})).rejects.toThrow(/that of bertkit\/worker/)
  })

  it('lets the process end while nothing is awaited', async () => {
    const made = wire(native)
    const backend = await openRemote(made.port, { threads: 1 })
    expect(made.held).toEqual([true, false])
    await backend.measurePeak('float32', 0)
    expect(made.held).toEqual([true, false, true, false])
    backend.close()
    expect(made.terminated).toBe(1)
  })

  it('keeps the class of errors that have one', async () => {
    const made = wire(async () => {
      throw new ArgumentError('no such thing')
    })
    await expect(openRemote(made.port, {})).rejects.toThrow(ArgumentError)
    expect(made.terminated).toBe(1)
  })
})
