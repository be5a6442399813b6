// y = word[ids] + type[typeIds] + position[positionIds]

type Ids = ArrayLike<number>

export interface Embedding {
  ids: Ids
  typeIds: Ids
  positionIds: Ids
  /** Tables [V, H], [Y, H], [P, H]. */
  word: Float64Array
  type: Float64Array
  position: Float64Array
  rows: number
  H: number
}

export function embedding({ ids, typeIds, positionIds, word, type, position, rows, H }: Embedding): {
  y: Float64Array
} {
  const y = new Float64Array(rows * H)
  for (let r = 0; r < rows; r++)
    for (let h = 0; h < H; h++)
      y[r * H + h] = word[ids[r] * H + h] + type[typeIds[r] * H + h] + position[positionIds[r] * H + h]
  return { y }
}

/** The gradient [V, H] of one table: dtable[id] sums dy of the rows that looked id up; paddingIdx gets none (-1: no such id). */
export function embeddingBackward({
  ids,
  dy,
  rows,
  H,
  V,
  paddingIdx = -1,
}: {
  ids: Ids
  dy: Float64Array
  rows: number
  H: number
  V: number
  paddingIdx?: number
}): { dtable: Float64Array } {
  const dtable = new Float64Array(V * H)
  for (let r = 0; r < rows; r++) {
    if (ids[r] === paddingIdx) continue
    for (let h = 0; h < H; h++) dtable[ids[r] * H + h] += dy[r * H + h]
  }
  return { dtable }
}
