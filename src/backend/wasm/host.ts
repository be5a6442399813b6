// The part of the WebAssembly API that is used: TypeScript has its types only beside those of a page.
import { BackendError } from '../../errors.ts'

/** A WebAssembly.Module. */
export type WasmModule = object

export interface WasmMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer
}

export interface WasmInstance {
  readonly exports: object
}

type Imports = Readonly<Record<string, Readonly<Record<string, unknown>>>>

export interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean
  compile(bytes: Uint8Array | ArrayBuffer): Promise<WasmModule>
  /** Where streams can be compiled. */
  compileStreaming?(response: Response | Promise<Response>): Promise<WasmModule>
  readonly Module: {
    new (bytes: Uint8Array): WasmModule
    imports(module: WasmModule): { name: string; kind: string }[]
  }
  readonly Instance: new (module: WasmModule, imports: Imports) => WasmInstance
  readonly Memory: new (descriptor: { initial: number; maximum: number; shared: boolean }) => WasmMemory
  readonly RuntimeError: new (message?: string) => Error
}

/** What this runtime has as WebAssembly; a BackendError where it has none. */
export function webAssembly(): WebAssemblyApi {
  const api = (globalThis as { readonly WebAssembly?: WebAssemblyApi }).WebAssembly
  if (!api) throw new BackendError('This runtime has no WebAssembly, which the wasm backend needs')
  return api
}

export const isModule = (value: object): boolean =>
  Object.prototype.toString.call(value) === '[object WebAssembly.Module]'

/** Whether a module is one with threads, whose memory is made outside. */
export const importsMemory = (module: WasmModule): boolean =>
  webAssembly()
    .Module.imports(module)
    .some(({ kind }) => kind === 'memory')
