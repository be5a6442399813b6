// The binaries of dist/wasm, and why a test of one is skipped.
import fs from 'node:fs'
import path from 'node:path'
import v8 from 'node:v8'
import { type WasmBinary, wasmFeatures } from '../../src/backend/wasm/features.ts'

// the V8 of Node 20 has relaxed SIMD, but only when asked
if (process.versions.node.startsWith('20.')) v8.setFlagsFromString('--experimental-wasm-relaxed-simd')

export const BINARIES: readonly WasmBinary[] = [
  'bertkit',
  'bertkit-threads',
  'bertkit-relaxed',
  'bertkit-relaxed-threads',
]

export const fileOf = (binary: WasmBinary) =>
  path.join(import.meta.dirname, '..', '..', 'dist', 'wasm', `${binary}.wasm`)

/** Why this binary cannot be run here; undefined where it can. */
export function missing(binary: WasmBinary): string | undefined {
  if (!fs.existsSync(fileOf(binary))) return `no dist/wasm/${binary}.wasm: npm run build:wasm`
  if (binary.includes('relaxed') && !wasmFeatures().relaxedSimd) return 'this runtime has no relaxed SIMD'
  return undefined
}
