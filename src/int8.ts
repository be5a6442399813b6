// int8 weights: each row of a matrix [N, K] as whole numbers from -127 to 127 times a scale of its own, its greatest magnitude / 127.
// They are kept as native/ops.def says (linear_int8): panels of 16 rows, one after another; in a panel, for every four columns, a word
// of four bytes for each row, the lowest first. Rows and columns beyond the last are zeros.

/** Rows of a panel. */
export const PANEL = 16
/** Adding it and taking it away rounds a float32 below 2^22 to an integer, ties to even. */
const ROUNDER = 1.5 * 2 ** 23

export const panelBytes = (K: number): number => PANEL * 4 * Math.ceil(K / 4)
/** 4-byte words of a matrix. */
export const int8Words = (N: number, K: number): number => (Math.ceil(N / PANEL) * panelBytes(K)) / 4

/**
 * Rounds a row to int8 and puts it into its panel, as row `r` of it; returns the scale. Computed in float32, as kernels round rows
 * of activations: a row of magnitudes below 2^-126 * 127 is zeros, and the scale of one that is not finite is NaN.
 */
export function putRow(row: Float32Array, panel: Int8Array, r: number): number {
  let most = 0
  let sum = 0
  for (let k = 0; k < row.length; k++) {
    const magnitude = Math.abs(row[k])
    if (magnitude > most) most = magnitude
    sum += magnitude
  }
  const scale = Math.fround(most / 127)
  const inverse = scale < 2 ** -126 || !Number.isFinite(sum) ? 0 : Math.fround(1 / scale)
  for (let k = 0, at = r * 4; k < row.length; k++) {
    panel[at] = Math.fround(Math.fround(row[k] * inverse) + ROUNDER) - ROUNDER
    at += (k & 3) === 3 ? 4 * PANEL - 3 : 1
  }
  return Number.isFinite(sum) ? (inverse === 0 ? 0 : scale) : Number.NaN
}

/** Row `r` of a panel as float32. */
export function takeRow(panel: Int8Array, r: number, scale: number, row: Float32Array): void {
  for (let k = 0; k < row.length; k++) row[k] = scale * panel[(k >> 2) * PANEL * 4 + r * 4 + (k & 3)]
}

/** A matrix [N, K] as int8, and the scales of its rows. */
export function toInt8(values: Float32Array, K: number): { words: Int32Array; scales: Float32Array } {
  const N = values.length / K
  const words = new Int32Array(int8Words(N, K))
  const scales = Float32Array.from({ length: N }, (_, n) => {
    const panel = new Int8Array(words.buffer, Math.floor(n / PANEL) * panelBytes(K), panelBytes(K))
    return putRow(values.subarray(n * K, (n + 1) * K), panel, n % PANEL)
  })
  return { words, scales }
}
