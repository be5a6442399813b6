import { fromBfloat16 } from '../bfloat16.ts'

/** Bits per element of every dtype, by safetensors' names. */
export const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
}

/** Bytes per element of the float dtypes that can be turned into float32. */
const FLOAT_WIDTHS = { F16: 2, BF16: 2, F32: 4, F64: 8 } as const
export type FloatDtype = keyof typeof FLOAT_WIDTHS

export const isFloat = (dtype: string): dtype is FloatDtype => Object.hasOwn(FLOAT_WIDTHS, dtype)

/** Float32 bits of IEEE binary16 bits; exact, NaN payloads included. */
function halfBits(half: number): number {
  const sign = (half & 0x8000) << 16
  const exponent = (half >> 10) & 0x1f
  let mantissa = half & 0x3ff
  if (exponent === 0x1f) return sign | 0x7f800000 | (mantissa << 13)
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (mantissa << 13)
  if (mantissa === 0) return sign
  // A subnormal half is a normal float: shift until the implicit bit appears.
  let shifted = 113
  while ((mantissa & 0x400) === 0) {
    mantissa <<= 1
    shifted--
  }
  return sign | (shifted << 23) | ((mantissa & 0x3ff) << 13)
}

/**
 * Converts all of `stored` (little-endian, at a multiple of its width in its buffer) into `target`, which has as many
 * elements. F64 is rounded to nearest.
 */
export function toFloat32(dtype: FloatDtype, stored: Uint8Array, target: Float32Array): void {
  const { buffer, byteOffset } = stored
  const count = target.length
  if (dtype === 'F32') target.set(new Float32Array(buffer, byteOffset, count))
  else if (dtype === 'F64') target.set(new Float64Array(buffer, byteOffset, count))
  else {
    const halves = new Uint16Array(buffer, byteOffset, count)
    const bits = new Uint32Array(target.buffer, target.byteOffset, count)
    if (dtype === 'BF16') fromBfloat16(halves, target)
    else for (let i = 0; i < count; i++) bits[i] = halfBits(halves[i])
  }
}
