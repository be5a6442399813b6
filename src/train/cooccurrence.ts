// Which tokens stand near which, as a sparse matrix of positive pointwise mutual information.
import type { SparseMatrix } from './low-rank.ts'
import type { Turn } from './slices.ts'

/** Tokens that count as near, on either side; the k-th counts 1 / k. */
const WINDOW = 5
/** Numbers of the dense table of counts: 128 MiB. The most frequent tokens are the contexts, as many as fit. */
const TABLE = 2 ** 25
const MOST_CONTEXTS = 4096
/** Contexts count with their frequency to this power, which rare ones win by. */
const SMOOTHING = 0.75

function idsOf(frequencies: Float64Array, isWanted: (count: number) => boolean): number[] {
  const ids: number[] = []
  for (const [id, count] of frequencies.entries()) if (count > 0 && isWanted(count)) ids.push(id)
  return ids
}

/** Counts of tokens near each other. */
export class Cooccurrence {
  readonly #vocabSize: number
  readonly #contexts: number
  /** Of a token, the column that counts it as a context; -1 without one. */
  readonly #column: Int32Array
  /** A row of contexts for each token. */
  readonly #near: Float32Array

  /** `frequencies` of all tokens; those of 0, such as special ones, are no contexts. */
  constructor(frequencies: Float64Array) {
    const size = frequencies.length
    const room = Math.min(size, MOST_CONTEXTS, Math.max(1, Math.floor(TABLE / size)))
    // of those that are as frequent as the last one some may have no room
    const least = frequencies.toSorted()[size - room]
    const contexts = [
      ...idsOf(frequencies, (count) => count > least),
      ...idsOf(frequencies, (count) => count === least),
    ]
    this.#vocabSize = size
    this.#contexts = Math.min(contexts.length, room)
    this.#column = new Int32Array(size).fill(-1)
    for (const [column, id] of contexts.slice(0, room).entries()) this.#column[id] = column
    this.#near = new Float32Array(size * this.#contexts)
  }

  /** Counts a sequence. Tokens of `borders` are near nothing, and nothing is near across them. */
  add(sequence: ArrayLike<number>, borders: ReadonlySet<number>): void {
    for (let i = 0; i < sequence.length; i++) {
      if (borders.has(sequence[i])) continue
      for (let k = 1; k <= WINDOW && i + k < sequence.length && !borders.has(sequence[i + k]); k++) {
        this.#count(sequence[i], sequence[i + k], 1 / k)
        this.#count(sequence[i + k], sequence[i], 1 / k)
      }
    }
  }

  #count(id: number, near: number, weight: number): void {
    const column = this.#column[near]
    if (column >= 0) this.#near[id * this.#contexts + column] += weight
  }

  /**
   * max(0, log p(token, context) / (p(token) p(context)^0.75)), a row a token: Levy, Goldberg and Dagan (2015), "Improving Distributional
   * Similarity with Lessons Learned from Word Embeddings".
   */
  async positiveInformation(turn: Turn): Promise<SparseMatrix> {
    const columns = this.#contexts
    const near = this.#near
    const ofRow = new Float64Array(this.#vocabSize)
    const ofColumn = new Float64Array(columns)
    let pairs = 0
    for (let id = 0, at = 0; id < ofRow.length; id++) {
      for (let j = 0; j < columns; j++, at++) {
        ofRow[id] += near[at]
        ofColumn[j] += near[at]
        if (near[at] > 0) pairs++
      }
      await turn()
    }
    const smoothed = ofColumn.map((sum) => sum ** SMOOTHING)
    const all = smoothed.reduce((sum, each) => sum + each, 0)
    const starts = new Uint32Array(ofRow.length + 1)
    const indices = new Uint16Array(pairs)
    const values = new Float32Array(pairs)
    let found = 0
    for (let id = 0, at = 0; id < ofRow.length; id++) {
      for (let j = 0; j < columns; j++, at++) {
        const information = near[at] > 0 ? Math.log((near[at] / ofRow[id]) * (all / smoothed[j])) : 0
        if (information <= 0) continue
        indices[found] = j
        values[found++] = information
      }
      starts[id + 1] = found
      await turn()
    }
    return { columns, starts, indices, values }
  }
}
