// Opens the WebAssembly backend: which binary, how many threads, in a worker or not.
import { ArgumentError } from '../../errors.ts'
import type { Backend } from '../backend.ts'
import type { EngineSettings } from './engine-worker.ts'
import { chooseBinary, type WasmBinary } from './features.ts'
import type { WasmModule } from './host.ts'
import { openInline } from './inline.ts'
import { loadWasm, type WasmSource } from './load.ts'
import { openRemote, type WorkerPort } from './remote.ts'

/** Model options of the WebAssembly backend. */
export interface WasmOptions {
  /**
   * false: the engine runs in the thread that calls, which waits for it; by default so only where there are no workers. A URL or a path:
   * where the script of the worker (bertkit/worker) lies, if not beside the script that is running.
   */
  readonly worker?: boolean | URL | string
  /** Bytes that a model may have in all; default: 96 MiB where there are no workers, as in edge runtimes, else 4 GiB. */
  readonly memoryLimit?: number
  /** Bytes, a compiled WebAssembly.Module, a Response, or a URL; default: the best binary for this runtime. */
  readonly binary?: WasmSource
}

/** Threads of a model where nobody says how many, at most: each is a worker of its own. */
export const MOST_THREADS = 8

/** What a platform has for it. */
export interface WasmHost {
  /** A binary of this version of bertkit. */
  load(name: WasmBinary): Promise<WasmModule>
  /** Undefined where there are no workers. `script`: where it lies, if not where it is expected. */
  readonly startWorker: ((script?: URL | string) => WorkerPort) | undefined
  /** Threads where nobody says how many. */
  readonly threads: number
}

/** `threads`: 0 for as many as the platform has. Throws ArgumentError, or BackendError that says what is missing. */
export async function openWasm(
  host: WasmHost,
  { threads, wasm = {} }: { readonly threads: number; readonly wasm?: WasmOptions },
): Promise<Backend> {
  const { binary, memoryLimit, worker = true } = wasm
  const startWorker = worker === false ? undefined : host.startWorker
  if (!startWorker && threads > 1)
    throw new ArgumentError(
      `The wasm backend has one thread where it runs without a worker, but received threads ${threads}`,
    )
  const count = startWorker ? threads || host.threads : 1
  const module = await (binary === undefined ? host.load(chooseBinary(count > 1)) : loadWasm(binary))
  if (!startWorker) return openInline(module, { memoryLimit })
  const settings: EngineSettings = { module, memoryLimit, threads: count }
  return openRemote(startWorker(typeof worker === 'boolean' ? undefined : worker), settings)
}
