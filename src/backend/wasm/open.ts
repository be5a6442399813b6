// Opens the WebAssembly backend: which binary, how many threads, in a worker or not.
import { ArgumentError, BackendError } from '../../errors.ts'
import type { Backend } from '../backend.ts'
import type { EngineSettings } from './engine-worker.ts'
import { chooseBinary, type WasmBinary } from './features.ts'
import { importsMemory, type WasmModule } from './host.ts'
import { openInline } from './inline.ts'
import type { WasmSource } from './load.ts'
import type { WasmOptions } from './options.ts'
import { openRemote, type WorkerPort } from './remote.ts'

export type { WasmOptions } from './options.ts'

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
  /** Whether workers may share memory: in a page only with cross-origin isolation. */
  readonly sharesMemory: boolean
  /** The module of what the option `binary` names. */
  open(binary: WasmSource): Promise<WasmModule>
}

const NOT_ISOLATED =
  'a page has it only with cross-origin isolation (the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp)'

/** Threads of an engine: as asked for, else as many as there can be. */
function countThreads(host: WasmHost, threads: number, inWorker: boolean, several: boolean | undefined): number {
  const refuse = (why: string) => {
    if (threads > 1) throw new ArgumentError(`Expected threads to be 1 or left out but received ${threads}: ${why}`)
    return 1
  }
  if (!inWorker) return refuse('the engine has one where it runs without a worker (wasm.worker)')
  if (several === false) return refuse('the binary (wasm.binary) is one without threads')
  if (!host.sharesMemory) return refuse(`threads need shared memory, and ${NOT_ISOLATED}`)
  return threads || host.threads
}

/** `threads`: 0 for as many as the platform has. Throws ArgumentError, or BackendError that says what is missing. */
export async function openWasm(
  host: WasmHost,
  { threads, wasm = {} }: { readonly threads: number; readonly wasm?: WasmOptions },
): Promise<Backend> {
  const { binary, memoryLimit, worker = true } = wasm
  const startWorker = worker === false ? undefined : host.startWorker
  const given = binary === undefined ? undefined : await host.open(binary)
  const count = countThreads(host, threads, startWorker !== undefined, given && importsMemory(given))
  const module = given ?? (await host.load(chooseBinary(count > 1)))
  if (importsMemory(module) && !host.sharesMemory)
    throw new BackendError(`The binary (wasm.binary) is one with threads. They need shared memory, and ${NOT_ISOLATED}`)
  if (!startWorker) return openInline(module, { memoryLimit })
  const openIn = (settings: EngineSettings) =>
    openRemote(startWorker(typeof worker === 'boolean' ? undefined : worker), settings)
  try {
    return await openIn({ module, memoryLimit, threads: count })
  } catch (error) {
    const isRefused = error instanceof BackendError && error.reason === 'memory'
    const isAsked = given !== undefined || memoryLimit !== undefined || threads > 0
    if (!isRefused || isAsked || !importsMemory(module)) throw error
  }
  // even a little shared memory is refused, as where much is in use on iOS; what is not shared grows as it is needed
  return openIn({ module: await host.load(chooseBinary(false)), threads: 1 })
}
