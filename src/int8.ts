// int8 weights: each row of a matrix [N, K] as whole numbers from -127 to 127 times a scale of its own, its greatest magnitude / 127.
// They are kept as native/ops.def says (linear_int8): panels of 16 rows, one after another; in a panel, for every four columns, a word
// of four bytes for each row, the lowest first. Rows and columns beyond the last are zeros.

/** Rows of a panel. */
export const PANEL = 16
/** Added to a float32 below 2^22, it leaves the nearest integer, ties to even, in the low bits of the sum. */
const ROUNDER = 1.5 * 2 ** 23
/** Such sums of a row, and their bits. */
let sums = new Float32Array(1024)
let sumBits = new Int32Array(sums.buffer)

export const panelBytes = (K: number): number => PANEL * 4 * Math.ceil(K / 4)
/** 4-byte words of a matrix. */
export const int8Words = (N: number, K: number): number => (Math.ceil(N / PANEL) * panelBytes(K)) / 4

export const bitsOf = ({ buffer, byteOffset, length }: Float32Array): Int32Array =>
  new Int32Array(buffer, byteOffset, length)

/** The bits of the greatest magnitude: those of positive floats are in their order, infinity and NaNs come last. */
function greatest(valueBits: Int32Array, from: number, end: number): number {
  let most = 0
  for (let k = from; k < end; k++) {
    const magnitude = valueBits[k] & 0x7fffffff
    if (magnitude > most) most = magnitude
  }
  return most
}

/**
 * Rounds `columns` values from `from` on to int8 and puts them into a panel, as row `r` of it; returns the scale. `valueBits` are those
 * of `values`. Computed in float32, as kernels round rows of activations: a row of magnitudes below 2^-126 * 127 is zeros, and the
 * scale of one that is not finite is NaN.
 */
export function putRow(
  values: Float32Array,
  valueBits: Int32Array,
  from: number,
  columns: number,
  panel: Int32Array,
  r: number,
): number {
  sumBits[0] = greatest(valueBits, from, from + columns)
  const scale = Math.fround(sums[0] / 127)
  const finite = Number.isFinite(scale)
  const isZero = scale < 2 ** -126
  const inverse = isZero || !finite ? 0 : Math.fround(1 / scale)
  const padded = Math.ceil(columns / 4) * 4
  if (sums.length < padded) {
    sums = new Float32Array(padded)
    sumBits = new Int32Array(sums.buffer)
  }
  // sums first and words then: bits that are read right after their sum was stored would have to wait for it
  const fours = columns - (columns % 4)
  // four in a turn: the checks of a turn cost as much as a sum
  for (let k = 0, at = from; k < fours; k += 4, at += 4) {
    sums[k] = Math.fround(values[at] * inverse) + ROUNDER
    sums[k + 1] = Math.fround(values[at + 1] * inverse) + ROUNDER
    sums[k + 2] = Math.fround(values[at + 2] * inverse) + ROUNDER
    sums[k + 3] = Math.fround(values[at + 3] * inverse) + ROUNDER
  }
  for (let k = fours; k < columns; k++) sums[k] = Math.fround(values[from + k] * inverse) + ROUNDER
  for (let k = columns; k < padded; k++) sums[k] = ROUNDER
  for (let k = 0, at = r; k < padded; k += 4, at += PANEL)
    panel[at] =
      (sumBits[k] & 255) | ((sumBits[k + 1] & 255) << 8) | ((sumBits[k + 2] & 255) << 16) | (sumBits[k + 3] << 24)
  if (!finite) return Number.NaN
  return isZero ? 0 : scale
}

/** Row `r` of a panel as float32. */
export function takeRow(panel: Int32Array, r: number, scale: number, row: Float32Array): void {
  for (let k = 0; k < row.length; k++) row[k] = scale * ((panel[(k >> 2) * PANEL + r] << (24 - 8 * (k & 3))) >> 24)
}

/** A matrix [N, K] as int8, and the scales of its rows. */
export function toInt8(values: Float32Array, K: number): { words: Int32Array; scales: Float32Array } {
  const N = values.length / K
  const words = new Int32Array(int8Words(N, K))
  const bits = bitsOf(values)
  const scales = Float32Array.from({ length: N }, (_, n) => {
    const panel = new Int32Array(words.buffer, Math.floor(n / PANEL) * panelBytes(K), panelBytes(K) / 4)
    return putRow(values, bits, n * K, K, panel, n % PANEL)
  })
  return { words, scales }
}
