// The binaries of a build, where there is a file system.
import fs from 'node:fs/promises'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { BackendError } from '../../errors.ts'
import { here, pathOfUrl } from '../here.ts'
import type { WasmBinary } from './features.ts'
import type { WasmModule } from './host.ts'
import { compileOnce, loadWasm, type WasmSource } from './load.ts'

/** Where npm run build:wasm leaves them, from src/backend/wasm and from dist/backend/wasm alike. */
const FOLDER = fileURLToPath(new URL('../../../dist/wasm/', here(import.meta.url)))

/** The compiled module of a binary of this build. */
export function loadBuilt(name: WasmBinary): Promise<WasmModule> {
  // BERTKIT_WASM: another folder of binaries, for tests and packagers
  const file = path.join(path.resolve(process.env.BERTKIT_WASM || FOLDER), `${name}.wasm`)
  return compileOnce(file, async () => {
    let bytes: Uint8Array
    try {
      bytes = await fs.readFile(file)
    } catch (cause) {
      const reason =
        cause instanceof Error && 'code' in cause && cause.code === 'ENOENT' ? 'there is no such file' : String(cause)
      throw new BackendError(
        `Cannot load the WebAssembly kernels from ${file}: ${reason}. In a checkout, npm run build:wasm makes them; a bundle has none, so leave bertkit outside of it or name the file in the option wasm.binary`,
        { cause, reason: 'unavailable' },
      )
    }
    try {
      return await loadWasm(bytes)
    } catch (cause) {
      throw cause instanceof BackendError
        ? new BackendError(cause.message.replace('The binary', file), { cause })
        : cause
    }
  })
}

/** The same of what a program gives: paths and file: URLs too. */
export async function loadGiven(binary: WasmSource): Promise<WasmModule> {
  const isText = typeof binary === 'string'
  if (!isText && !(binary instanceof URL)) return loadWasm(binary)
  if (!/^file:/i.test(String(binary)) && (!isText || URL.canParse(binary))) return loadWasm(binary)
  const file = path.resolve(
    /^file:/i.test(String(binary)) ? pathOfUrl(binary, 'wasm.binary to be the URL of a local file') : String(binary),
  )
  return compileOnce(file, async () => {
    const bytes = await fs.readFile(file).catch((cause: Error) => {
      throw new BackendError(`Cannot load the WebAssembly kernels from ${file}: ${cause.message}`, { cause })
    })
    return loadWasm(bytes)
  })
}
