// Inverted dropout: y = x / (1 - p) where kept, else 0.

/** Whether element (row, column) survives. */
export type Keep = (row: number, column: number) => boolean

/** Dropout of one record: its probability and its mask. Both absent: none. */
export interface DropoutOptions {
  p?: number
  keep?: Keep
}

/** The mask given as bytes [rows, columns], 0 for what is dropped. */
export const keepBytes =
  (mask: ArrayLike<number>, columns: number): Keep =>
  (row, column) =>
    mask[row * columns + column] !== 0

/** The factor of each element: 1 / (1 - p) or 0. */
export function dropoutFactor({ p = 0, keep }: DropoutOptions): (row: number, column: number) => number {
  if (p === 0) return () => 1
  if (!keep) throw new Error('dropout with p > 0 needs a mask')
  return (row, column) => (keep(row, column) ? 1 / (1 - p) : 0)
}

/** x [rows, H]. Linear in x with a diagonal matrix, so it is its own backward: dropout of dy. */
export function dropout({ x, rows, H, p, keep }: { x: Float64Array; rows: number; H: number } & DropoutOptions): {
  y: Float64Array
} {
  const factor = dropoutFactor({ p, keep })
  const y = new Float64Array(rows * H)
  for (let r = 0; r < rows; r++) for (let h = 0; h < H; h++) y[r * H + h] = x[r * H + h] * factor(r, h)
  return { y }
}
