// From wherever a binary lies to a compiled module.
import { ArgumentError, BackendError, messageOf } from '../../errors.ts'
import { isModule, type WasmModule, webAssembly } from './host.ts'

/** A binary: its bytes, a compiled WebAssembly.Module, the answer to a fetch, or a URL to be fetched. */
export type WasmSource = ArrayBuffer | Uint8Array | WasmModule | Response | Promise<Response> | URL | string

async function compileBytes(bytes: Uint8Array | ArrayBuffer, where: string): Promise<WasmModule> {
  try {
    return await webAssembly().compile(bytes)
  } catch (cause) {
    throw new BackendError(`${where} is no WebAssembly that this runtime can compile: ${messageOf(cause)}`, { cause })
  }
}

async function compileResponse(response: Response, where: string): Promise<WasmModule> {
  if (!response.ok)
    throw new BackendError(
      `Cannot load the WebAssembly kernels: the answer for ${where} was ${response.status} ${response.statusText}`.trimEnd(),
    )
  const [type] = (response.headers.get('content-type') ?? 'nothing').split(';')
  const isTyped = type.trim().toLowerCase() === 'application/wasm'
  const isFile = where.startsWith('file:') // Deno fetches files, and gives them no type
  if (!isTyped && !isFile)
    throw new BackendError(
      `Cannot load the WebAssembly kernels: ${where} came as ${type.trim()}, expected application/wasm. If the file is right, its server must be told this MIME type`,
    )
  const { compileStreaming } = webAssembly()
  if (!compileStreaming || !isTyped) return compileBytes(await response.arrayBuffer(), where)
  try {
    return await compileStreaming(response)
  } catch (cause) {
    throw new BackendError(`${where} is no WebAssembly that this runtime can compile: ${messageOf(cause)}`, { cause })
  }
}

async function fetchBinary(url: URL | string): Promise<WasmModule> {
  let response: Response
  try {
    response = await fetch(url)
  } catch (cause) {
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
    const remedy = String(url).startsWith('file:')
      ? ". If this runtime fetches no files, give the binary's bytes as the option wasm.binary, or import 'bertkit' instead of 'bertkit/edge'"
      : ''
    throw new BackendError(`Cannot load the WebAssembly kernels from ${url}: ${messageOf(reason)}${remedy}`, { cause })
  }
  return compileResponse(response, String(url))
}

// A module is compiled once for each URL and each Response, which can be read only once, whatever the number of models.
const compiled = new Map<string, Promise<WasmModule>>()
const compiledAnswers = new WeakMap<object, Promise<WasmModule>>()

/** Compiles once for each key, unless it fails. */
export function compileOnce(key: string | object, compile: () => Promise<WasmModule>): Promise<WasmModule> {
  const known = typeof key === 'string' ? compiled.get(key) : compiledAnswers.get(key)
  if (known) return known
  const module = compile()
  if (typeof key === 'string') {
    compiled.set(key, module)
    module.catch(() => compiled.delete(key))
  } else compiledAnswers.set(key, module)
  return module
}

/**
 * The compiled module of a binary. A BackendError says what is wrong with it: an answer that is no success, a wrong MIME type, bytes that
 * cannot be compiled.
 */
export async function loadWasm(source: WasmSource): Promise<WasmModule> {
  if (typeof source === 'string' || source instanceof URL) return compileOnce(String(source), () => fetchBinary(source))
  if (typeof source !== 'object' || source === null)
    throw new ArgumentError(
      `Expected a WebAssembly binary as bytes, WebAssembly.Module, Response or URL but received ${String(source)}`,
    )
  if (isModule(source)) return source
  if (source instanceof ArrayBuffer || source instanceof Uint8Array) return compileBytes(source, 'The binary')
  return compileOnce(source, () => compileAnswer(source as Response | Promise<Response>))
}

async function compileAnswer(source: Response | Promise<Response>): Promise<WasmModule> {
  const response = await source
  if (typeof Response === 'undefined' || !(response instanceof Response))
    throw new ArgumentError(
      'Expected a WebAssembly binary as bytes, WebAssembly.Module, Response or URL but received an object',
    )
  return compileResponse(response, response.url || 'the binary')
}
