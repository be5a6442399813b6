// int8 weights: each row of a matrix [N, K] as whole numbers from -127 to 127 times a scale of its own, its greatest magnitude / 127.
// They are kept as native/ops.def says (linear_int8): panels of 16 rows, one after another; in a panel, for every four columns, a word
// of four bytes for each row, the lowest first. Rows and columns beyond the last are zeros.

/** Rows of a panel. */
export const PANEL = 16
export const panelBytes = (K: number): number => PANEL * 4 * Math.ceil(K / 4)
/** 4-byte words of a matrix. */
export const int8Words = (N: number, K: number): number => (Math.ceil(N / PANEL) * panelBytes(K)) / 4

/** Row `r` of a panel as float32. */
export function takeRow(panel: Int32Array, r: number, scale: number, row: Float32Array): void {
  for (let k = 0; k < row.length; k++) row[k] = scale * ((panel[(k >> 2) * PANEL + r] << (24 - 8 * (k & 3))) >> 24)
}
