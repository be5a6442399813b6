// The worker of Node, Deno and Bun.
import { parentPort, Worker } from 'node:worker_threads'
import { engineWorker, type ThreadMessage } from './engine-worker.ts'
import type { Request } from './protocol.ts'

const take = engineWorker({
  post: (message, transfer) => parentPort?.postMessage(message, transfer as ArrayBuffer[]),
  start(message) {
    const worker = new Worker(new URL(import.meta.url), { execArgv: [] })
    worker.on('error', () => {}) // bk_thread_failed has told the engine; unheard, it would end this worker too
    worker.postMessage(message)
    worker.unref()
    return { terminate: () => void worker.terminate() }
  },
})
parentPort?.on('message', (message: Request | ThreadMessage) => take(message))
