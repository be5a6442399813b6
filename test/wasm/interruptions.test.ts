// A model on the WebAssembly backend whose runs are aborted, which is disposed too early, and whose worker dies.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nodeWasm } from '../../src/backend/wasm/node.ts'
import { openWasm } from '../../src/backend/wasm/open.ts'
import type { Reply } from '../../src/backend/wasm/protocol.ts'
import type { WorkerPort } from '../../src/backend/wasm/remote.ts'
import { AbortedError, BackendError, BusyError } from '../../src/errors.ts'
import { registerPlatform } from '../../src/platform.ts'
import { nodePlatform } from '../../src/platform-node.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { sameBits, sequences, tinyClassifier } from '../session/tiny.ts'
import { missing } from './binaries.ts'

const lacking = missing('bertkit') ?? missing('bertkit-threads')

/** Node's worker, and what it answered. */
interface Watched {
  readonly port: WorkerPort
  readonly replies: Reply[]
  /** The words of a memory that is shared: the number of the run that goes on, or 0. */
  words(): Int32Array | undefined
}

let watched: Watched | undefined
function watch(script?: URL | string): WorkerPort {
  const port = nodeWasm.startWorker!(script)
  const replies: Reply[] = []
  watched = { port, replies, words: () => replies.findLast((reply) => reply.cancelWords)?.cancelWords }
  return {
    ...port,
    listen: (reply, failed) =>
      port.listen((message) => {
        replies.push(message as Reply)
        reply(message)
      }, failed),
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** A step that takes a second or two. */
const size = { hiddenSize: 128, numHiddenLayers: 4, intermediateSize: 512, maxPositionEmbeddings: 256 }
const long = {
  inputIds: sequences(Array.from({ length: 12 }, () => 250)),
  labels: Array.from({ length: 12 }, (_, i) => i % 3),
}
const short = { inputIds: sequences([3, 7, 5]), labels: [0, 1, 2] }
const INLINE = { backend: 'wasm', wasm: { worker: false } } as const
const ONE = { backend: 'wasm', threads: 1 } as const
const SHARED = { backend: 'wasm', threads: 2 } as const

describe.skipIf(lacking)(`interruptions${lacking ? ` (${lacking})` : ''}`, () => {
  beforeEach(() => {
    const open = (options: Parameters<typeof openWasm>[1]) => openWasm({ ...nodeWasm, startWorker: watch }, options)
    registerPlatform({ ...nodePlatform, backends: [{ name: 'wasm', open }] })
  })
  afterEach(() => {
    registerPlatform(nodePlatform)
    watched = undefined
  })

  /** Takes steps with and without an interruption after the first; the weights and losses must be the same. */
  async function undisturbed(options: object, interrupt: (optimizer: AdamW) => Promise<void>): Promise<void> {
    const train = async (interruption?: typeof interrupt) => {
      const model = tinyClassifier(size, options)
      const optimizer = new AdamW(model.train(), { lr: 0.01 })
      const losses = [(await optimizer.step(short)).loss]
      const before = await model.stateDict()
      if (interruption) await interruption(optimizer)
      for (const [name, { data }] of await model.stateDict())
        expect(sameBits(data, before.get(name)!.data), name).toBe(true)
      for (let step = 0; step < 2; step++) losses.push((await optimizer.step(short)).loss)
      model.dispose()
      return losses
    }
    const disturbed = await train(interrupt)
    expect(disturbed).toEqual(await train())
    expect(new Set(disturbed).size).toBe(3)
  }

  test('inline, a signal is seen between the runs of a step', () =>
    undisturbed(INLINE, async (optimizer) => {
      const batches = Array.from({ length: 500 }, () => short)
      await expect(optimizer.step(batches, { signal: AbortSignal.timeout(20) })).rejects.toThrow(AbortedError)
    }))

  test('in a worker with threads, a run that goes on stops before its next record', () =>
    undisturbed(SHARED, async (optimizer) => {
      const controller = new AbortController()
      const step = optimizer.step(long, { signal: controller.signal })
      const { replies, words } = watched!
      while (Atomics.load(words()!, 0) === 0) await turn()
      controller.abort()
      await expect(step).rejects.toThrow(AbortedError)
      // not the side that asks gave up: the worker says that it stopped
      expect(replies.at(-1)).toMatchObject({ error: { name: 'AbortedError' } })
    }))

  test('in a worker without threads, a step that has begun is taken whole, and the next one is not', async () => {
    const trained = async (abort: boolean) => {
      const model = tinyClassifier(size, ONE)
      const optimizer = new AdamW(model.train(), { lr: 0.01 })
      await optimizer.step(long) // records its plan, which takes a while
      const controller = new AbortController()
      const { signal } = controller
      const step = optimizer.step(long, { signal })
      if (abort) {
        const next = optimizer.step(short, { signal })
        setTimeout(() => controller.abort(), 50) // the run has begun
        await expect(next).rejects.toThrow(AbortedError)
      }
      await step
      expect(watched!.words()).toBeUndefined()
      const weights = await model.stateDict()
      model.dispose()
      return weights
    }
    const wanted = await trained(false)
    for (const [name, { data }] of await trained(true)) expect(sameBits(data, wanted.get(name)!.data), name).toBe(true)
  })

  test('in a worker without threads, a run that does not update goes on to its end and rejects then', () =>
    undisturbed(ONE, async (optimizer) => {
      const controller = new AbortController()
      const step = optimizer.step([long, short], { signal: controller.signal })
      expect(watched!.words()).toBeUndefined()
      setTimeout(() => controller.abort(), 50)
      await expect(step).rejects.toThrow(AbortedError)
    }))

  test.each([
    ['inline', INLINE],
    ['in a worker', ONE],
    ['in a worker with threads', SHARED],
  ])('%s, what would disturb a run is refused while it goes on', async (_, options) => {
    const model = tinyClassifier(size, options)
    const state = await model.stateDict()
    const scores = model.forward({ inputIds: short.inputIds })
    expect(() => model.dispose()).toThrow(BusyError)
    await expect(model.loadStateDict(state)).rejects.toThrow(BusyError)
    expect((await scores).logits.shape).toEqual([3, 3])
    await model.loadStateDict(state)
    model.dispose()
  })

  test.each([
    ['one thread', ONE],
    ['threads', SHARED],
  ])('a worker with %s that dies is a BackendError, then and afterwards; other models go on', async (_, options) => {
    const other = tinyClassifier({}, options)
    const expected = (await other.forward({ inputIds: short.inputIds })).logits
    const model = tinyClassifier(size, options)
    await model.forward({ inputIds: short.inputIds })
    const dying = model.forward({ inputIds: long.inputIds })
    await turn()
    watched!.port.terminate()
    await expect(dying).rejects.toThrow(BackendError)
    await expect(model.forward({ inputIds: short.inputIds })).rejects.toThrow(
      /worker of the wasm backend ended with code/,
    )
    model.dispose()
    expect((await other.forward({ inputIds: short.inputIds })).logits).toEqual(expected)
    other.dispose()
  })

  test('a model that is disposed right after it was frozen', async () => {
    const model = tinyClassifier(size, ONE)
    await new AdamW(model).step(short)
    model.freeze('embeddings')
    await turn()
    model.dispose() // an error that nobody awaits would fail the run
    await turn()
  })

  test.each(['/nowhere/worker.js', 'no path', new URL('file:///nowhere/worker.js')])(
    'a script of a worker that is not there, %s',
    async (worker) => {
      const model = tinyClassifier({}, { backend: 'wasm', wasm: { worker } })
      await expect(model.forward({ inputIds: short.inputIds })).rejects.toThrow(BackendError)
      model.dispose()
    },
  )
})
