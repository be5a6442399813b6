// y = x[index]: rows picked by index, such as each sequence's first.

/** x [from, H] -> y [index.length, H]. */
export function gatherRows({ x, index, H }: { x: Float64Array; index: ArrayLike<number>; H: number }): {
  y: Float64Array
} {
  const y = new Float64Array(index.length * H)
  for (let r = 0; r < index.length; r++) for (let h = 0; h < H; h++) y[r * H + h] = x[index[r] * H + h]
  return { y }
}

/** dx [from, H] = 0, then dx[index] += dy; a row picked twice gets both. */
export function gatherRowsBackward({
  dy,
  index,
  from,
  H,
}: {
  dy: Float64Array
  index: ArrayLike<number>
  from: number
  H: number
}): { dx: Float64Array } {
  const dx = new Float64Array(from * H)
  for (let r = 0; r < index.length; r++) for (let h = 0; h < H; h++) dx[index[r] * H + h] += dy[r * H + h]
  return { dx }
}
