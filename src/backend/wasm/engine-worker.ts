// What runs in a worker of any platform: an engine, or a thread of the pool of one.
import type { WasmModule } from './host.ts'
import { type InlineBackend, openInline } from './inline.ts'
import { runThread, type WasmThread } from './instance.ts'
import { HELLO, type Reply, type Request } from './protocol.ts'
import { Server } from './serve.ts'

/** How the engine in a worker is to be opened. */
export interface EngineSettings {
  readonly module: WasmModule
  readonly memoryLimit?: number
  readonly threads: number
}

/** The first message to a worker that becomes a thread of a pool. */
export interface ThreadMessage {
  readonly thread: WasmThread
}

/** The worker itself, as it sees the one who started it and starts others. */
export interface WorkerScope {
  post(message: unknown, transfer: ArrayBufferLike[]): void
  /** Starts another worker of this kind and posts this message to it. */
  start(message: ThreadMessage): { terminate(): void }
}

/** What a worker does with the messages that come. */
export function engineWorker(scope: WorkerScope): (message: Request | ThreadMessage) => void {
  const open = async (settings: unknown): Promise<InlineBackend> => {
    const { module, memoryLimit, threads } = settings as EngineSettings
    const pool = { count: threads, start: (thread: WasmThread) => scope.start({ thread }) }
    return openInline(module, { memoryLimit, threads: threads > 1 ? pool : undefined, turns: false })
  }
  const server = new Server(open, (reply, transfer) => scope.post(reply, transfer))
  scope.post({ id: HELLO, answer: undefined } satisfies Reply, [])
  return (message) => {
    if ('thread' in message) runThread(message.thread)
    else server.take(message)
  }
}
