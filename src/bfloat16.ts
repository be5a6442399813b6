// bfloat16 is the upper half of a float32: 8 bits of exponent, 7 of fraction.

const bitsOf = ({ buffer, byteOffset, length }: Float32Array): Uint32Array =>
  new Uint32Array(buffer, byteOffset, length)

/** Exact. */
export function fromBfloat16(
  halves: Uint16Array,
  target: Float32Array = new Float32Array(halves.length),
): Float32Array {
  const bits = bitsOf(target)
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16
  return target
}

/** To the nearest, ties to even; a NaN stays one. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = bitsOf(values)
  const halves = new Uint16Array(values.length)
  for (let i = 0; i < halves.length; i++)
    halves[i] = Number.isNaN(values[i]) ? 0x7fc0 : (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16
  return halves
}
