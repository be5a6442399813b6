// Which binary a runtime can take: asked of its validator, with the smallest module that has the feature.
import { BackendError } from '../../errors.ts'
import { webAssembly } from './host.ts'

/** One function of type () -> () or () -> v128 with this body, in a module with these sections before its code. */
const module = (type: readonly number[], sections: readonly number[], body: readonly number[]) =>
  Uint8Array.of(
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...[0x01, type.length + 1, 0x01, ...type],
    ...[0x03, 0x02, 0x01, 0x00],
    ...sections,
    ...[0x0a, body.length + 4, 0x01, body.length + 2, 0x00, ...body, 0x0b],
  )

const VECTOR = [0x60, 0x00, 0x01, 0x7b]
const ZERO = [0x41, 0x00, 0xfd, 0x0f] // i32.const 0, i8x16.splat

/** i8x16.popcnt: among the last that came with SIMD. */
const simd128 = module(VECTOR, [], [...ZERO, 0xfd, 0x62])
/** f32x4.relaxed_madd with its final opcode. */
const relaxedSimd = module(VECTOR, [], [...ZERO, ...ZERO, ...ZERO, 0xfd, 0x85, 0x02])
/** i32.atomic.load of a shared memory; its value is dropped. */
const threads = module(
  [0x60, 0x00, 0x00],
  [0x05, 0x04, 0x01, 0x03, 0x01, 0x01],
  [0x41, 0x00, 0xfe, 0x10, 0x02, 0x00, 0x1a],
)

export interface WasmFeatures {
  readonly simd128: boolean
  /** Fused multiply-adds. Node 20 has them behind --experimental-wasm-relaxed-simd. */
  readonly relaxedSimd: boolean
  /** Atomics, and a SharedArrayBuffer to use them on: in a page only with cross-origin isolation. */
  readonly threads: boolean
}

/** What this runtime's WebAssembly can do. */
export function wasmFeatures(): WasmFeatures {
  const { validate } = webAssembly()
  return {
    simd128: validate(simd128),
    relaxedSimd: validate(relaxedSimd),
    threads: validate(threads) && typeof SharedArrayBuffer !== 'undefined',
  }
}

/**
 * Whether WebAssembly is compiled in the order of its code, as by V8 since 2025 (Turboshaft; in Node 24, not in 22). That cannot be asked,
 * but V8 has Float16Array since about that time. Of other engines it is not known which is faster.
 */
export const compilesInOrder = (): boolean => 'Float16Array' in globalThis

/** `npm run build:wasm` makes one of each. */
export type WasmBinary = 'bertkit' | 'bertkit-threads' | 'bertkit-relaxed' | 'bertkit-relaxed-threads'

/** The best binary for this runtime; a BackendError where there is no SIMD. */
export function chooseBinary(several: boolean, features: WasmFeatures = wasmFeatures()): WasmBinary {
  if (!features.simd128)
    throw new BackendError(
      'The WebAssembly of this runtime has no SIMD, which the wasm backend needs. Chrome 91, Firefox 89, Safari 16.4 and Node 16.4 were the first that had it',
    )
  const name = features.relaxedSimd ? 'bertkit-relaxed' : 'bertkit'
  return several && features.threads ? `${name}-threads` : name
}
