// Workers of the web, and binaries that are fetched.
import { BackendError, messageOf } from '../../errors.ts'
import type { WasmBinary } from './features.ts'
import { loadWasm } from './load.ts'
import { MOST_THREADS, type WasmHost } from './open.ts'
import type { WorkerPort } from './remote.ts'

/** The part of the web's Worker that is used. */
interface WebWorker {
  postMessage(message: unknown, transfer: ArrayBufferLike[]): void
  terminate(): void
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: 'error' | 'messageerror', listener: (event: { readonly message?: string }) => void): void
}
type WorkerClass = new (url: URL | string, options: { type: 'module' }) => WebWorker

interface Web {
  readonly Worker?: WorkerClass
  readonly crossOriginIsolated?: boolean
  readonly navigator?: { readonly hardwareConcurrency?: number }
}
const web = globalThis as unknown as Web

function portOf(worker: WebWorker): WorkerPort {
  return {
    post: (request, transfer) => worker.postMessage(request, transfer),
    listen(reply, failed) {
      worker.addEventListener('message', ({ data }) => reply(data))
      const report = ({ message }: { readonly message?: string }) =>
        failed(
          `The worker of the wasm backend failed: ${message || 'its script could not be loaded. Bundle bertkit/worker as a script of its own and give its URL as the option wasm.worker; a page may only start workers of its own origin'}`,
        )
      worker.addEventListener('error', report)
      worker.addEventListener('messageerror', report)
    },
    hold() {},
    terminate: () => worker.terminate(),
  }
}

function startWorker(script?: URL | string): WorkerPort {
  const { Worker } = web as { Worker: WorkerClass }
  try {
    // written out, since bundlers look for this expression to find the worker's script
    return portOf(
      script === undefined
        ? new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
        : new Worker(script, { type: 'module' }),
    )
  } catch (cause) {
    const reason = messageOf(cause)
    throw new BackendError(`The worker of the wasm backend could not be started: ${reason}`, { cause })
  }
}

/** Where a binary lies, as seen from this script. */
function binaryUrl(name: WasmBinary): URL {
  try {
    return new URL(`../../wasm/${name}.wasm`, import.meta.url)
  } catch (cause) {
    // in an edge worker a script has no URL
    throw new BackendError(
      `This runtime does not say where its scripts lie, so bertkit's WebAssembly cannot be found: give it as the option wasm.binary (import binary from 'bertkit/wasm/${name}.wasm')`,
      { cause },
    )
  }
}

/** Read at each use: tests and polyfills change globals. */
export const webWasm: WasmHost = {
  load: async (name) => loadWasm(binaryUrl(name)),
  open: loadWasm,
  get startWorker() {
    return web.Worker === undefined ? undefined : startWorker
  },
  get threads() {
    return web.crossOriginIsolated === true ? Math.min(MOST_THREADS, web.navigator?.hardwareConcurrency ?? 1) : 1
  },
  get sharesMemory() {
    return web.crossOriginIsolated !== false && typeof SharedArrayBuffer !== 'undefined'
  },
}
