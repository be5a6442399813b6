// The worker of pages and of the web's other runtimes. Whoever bundles bertkit for them bundles this file too.
import { engineWorker, type ThreadMessage } from './engine-worker.ts'
import type { Request } from './protocol.ts'

/** The part of DedicatedWorkerGlobalScope that is used. */
interface Scope {
  /** Bun's workers have none. */
  readonly location?: { readonly href: string }
  postMessage(message: unknown, transfer: ArrayBufferLike[]): void
  addEventListener(type: 'message', listener: (event: { readonly data: Request | ThreadMessage }) => void): void
}
const scope = globalThis as unknown as Scope
/** The part of Worker that is used. */
interface PoolWorker {
  postMessage(message: unknown): void
  terminate(): void
  addEventListener(type: 'error', listener: (event: { preventDefault(): void }) => void): void
}
const { Worker } = globalThis as unknown as {
  Worker: new (url: string, options: { type: 'module' }) => PoolWorker
}

const take = engineWorker({
  post: (message, transfer) => scope.postMessage(message, transfer),
  start(message) {
    const worker = new Worker(scope.location?.href ?? import.meta.url, { type: 'module' })
    // bk_thread_failed has told the engine. An error that nobody prevents is one of this worker too, and of the page's connection to it,
    // which would end although the engine goes on
    worker.addEventListener('error', (event) => event.preventDefault())
    worker.postMessage(message)
    return worker
  },
})
scope.addEventListener('message', ({ data }) => take(data))
