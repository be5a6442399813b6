// What a program may say about the WebAssembly backend.
import { ArgumentError } from '../../errors.ts'
import { kindOf, quote } from '../../json.ts'
import { checkOptionNames } from '../../options.ts'
import type { WasmSource } from './load.ts'

/** Model options of the WebAssembly backend. */
export interface WasmOptions {
  /**
   * false: the engine runs in the thread that calls, which waits for it; by default so only where there are no workers. A URL or a path:
   * where the script of the worker (bertkit/worker, bundled as a script of its own) lies, if not beside the script that is running.
   */
  readonly worker?: boolean | URL | string
  /**
   * Bytes that a model may have in all; default: 96 MiB where there are no workers, as in edge runtimes, else 4 GiB. With threads, where
   * the host refuses so much shared memory, as iOS does: the half, and again, down to 256 MiB, and then one thread.
   */
  readonly memoryLimit?: number
  /** Bytes, a compiled WebAssembly.Module, a Response, or a URL; default: the best binary for this runtime. */
  readonly binary?: WasmSource
}

/** An ArgumentError when it is no number of bytes. */
export function checkMemoryLimit(memoryLimit: unknown): void {
  if (memoryLimit === undefined) return
  if (typeof memoryLimit !== 'number' || !Number.isFinite(memoryLimit) || memoryLimit <= 0)
    throw new ArgumentError(`Expected memoryLimit to be a number of bytes but received ${quote(memoryLimit)}`)
}

/** An ArgumentError for what cannot be, whichever backend is going to serve. What the binary is shows when it is opened. */
export function checkWasmOptions(wasm: WasmOptions): void {
  checkOptionNames('wasm', wasm, ['worker', 'memoryLimit', 'binary'])
  const { binary, memoryLimit, worker } = wasm
  if (worker !== undefined && typeof worker !== 'boolean' && typeof worker !== 'string' && !(worker instanceof URL))
    throw new ArgumentError(`Expected wasm.worker to be true, false, a URL or a path but received ${quote(worker)}`)
  if (binary !== undefined && typeof binary !== 'string' && (typeof binary !== 'object' || binary === null))
    throw new ArgumentError(
      `Expected wasm.binary to be bytes, a WebAssembly.Module, a Response or a URL but received ${kindOf(binary)}`,
    )
  checkMemoryLimit(memoryLimit)
}
