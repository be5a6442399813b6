/** Bytes per element of the float dtypes that can be turned into float32. */
export const FLOAT_WIDTHS = { F16: 2, BF16: 2, F32: 4, F64: 8 } as const
export type FloatDtype = keyof typeof FLOAT_WIDTHS

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

/** Converts all of `stored` (little-endian) into `target`, which has as many elements. F64 is rounded to nearest. */
export function toFloat32(dtype: FloatDtype, stored: ArrayBufferLike, target: Float32Array): void {
  if (dtype === 'F32') target.set(new Float32Array(stored))
  else if (dtype === 'F64') target.set(new Float64Array(stored))
  else {
    const halves = new Uint16Array(stored)
    const bits = new Uint32Array(target.buffer, target.byteOffset, target.length)
    if (dtype === 'BF16') for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16
    else for (let i = 0; i < halves.length; i++) bits[i] = halfBits(halves[i])
  }
}
