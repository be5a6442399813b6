// The web's worker, whose scope is this thread here.
import fs from 'node:fs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { loadWasm } from '../../src/backend/wasm/load.ts'
import { HELLO, type Reply } from '../../src/backend/wasm/protocol.ts'
import { fileOf, missing } from './binaries.ts'

const lacking = missing('bertkit-threads')

class PoolWorker extends EventTarget {
  static readonly started: PoolWorker[] = []
  readonly posted: unknown[] = []
  constructor() {
    super()
    PoolWorker.started.push(this)
  }
  postMessage(message: unknown): void {
    this.posted.push(message)
  }
  terminate(): void {}
}

describe.skipIf(lacking)(`the web's worker${lacking ? ` (${lacking})` : ''}`, () => {
  afterEach(() => {
    vi.unstubAllGlobals()
  })

  test('an error of a thread of its pool is not one of its own', async () => {
    const replies: Reply[] = []
    const listeners: ((event: { readonly data: unknown }) => void)[] = []
    vi.stubGlobal('Worker', PoolWorker)
    vi.stubGlobal('postMessage', (reply: Reply) => void replies.push(reply))
    vi.stubGlobal('addEventListener', (_: string, listener: (typeof listeners)[0]) => void listeners.push(listener))
    await import('../../src/backend/wasm/worker.ts')
    expect(replies.map(({ id }) => id)).toEqual([HELLO])
    const module = await loadWasm(fs.readFileSync(fileOf('bertkit-threads')))
    listeners[0]({ data: { kind: 'open', id: 0, settings: { module, memoryLimit: 64 * 2 ** 20, threads: 2 } } })
    await vi.waitFor(() => expect(replies.length).toBe(2))
    expect(replies[1]).toMatchObject({ id: 0, answer: { threads: 2 } })
    expect(PoolWorker.started.map(({ posted }) => posted.length)).toEqual([1])
    // by the HTML standard an 'error' event that nobody prevents goes on to the scope of the worker, and to whoever started that
    const event = new Event('error', { cancelable: true })
    PoolWorker.started[0].dispatchEvent(event)
    expect(event.defaultPrevented).toBe(true)
  })
})
