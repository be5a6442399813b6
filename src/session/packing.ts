import type { ProductDescription } from '../backend/backend.ts'
import { type FloatType, Graph, type Packing, type ParameterSlot, roundUp } from '../graph/graph.ts'
import { compilePlan, type Plan } from '../graph/plan.ts'
import { type PackedPlace, type PackedWeight, recordPacking, type UpdateRange } from '../ops/optimizer.ts'

interface Entry {
  readonly N: number
  readonly K: number
  readonly place: PackedPlace
  /** Packed from the weight as it is now. */
  fresh: boolean
}

/** The byte behind a weight. */
const endOf = (weights: number, { N, K }: Entry): number => weights + N * K * 4

const ceil = (n: number, unit: number): number => Math.ceil(n / unit) * unit

/**
 * The weights of a model's linear layers in the order in which x w^T reads them, so that it packs its activations only; dy w reads the
 * same where that is its order too. A weight gets a place when a plan that reads it is recorded; an update packs what it changes in the
 * same pass.
 */
export class PackedWeights implements Packing {
  /** By the byte offset of the weight. */
  readonly #entries = new Map<number, Entry>()
  #bytes = 0
  /** Of the weights that the last forward read. */
  #version = -1
  #givenUp = false

  constructor(
    private readonly type: FloatType,
    private readonly product: ProductDescription,
  ) {}

  /**
   * Whether this run reads packed weights of `version`. bfloat16 formats (pairs, tiles): always. float32: only for inference, from the
   * second forward with the same weights on, since in training packing costs little and the copies would double the memory of the weights.
   */
  serves(differentiate: boolean, version: number): boolean {
    if (this.product.bytes === 0) return false
    if (!this.optional) return true
    if (differentiate) {
      this.invalidate()
      return false
    }
    const readBefore = this.#version === version
    this.#version = version
    return readBefore && !this.#givenUp
  }

  /** Whether all can be computed without. */
  get optional(): boolean {
    return this.product.bytes !== 2
  }

  /** There is no memory for them: from now on they serve nothing. */
  giveUp(): void {
    this.#givenUp = true
    this.invalidate()
  }

  /** Of the arena. */
  get bytes(): number {
    return this.#bytes
  }

  place({ weights, width }: ParameterSlot, K: number): PackedPlace {
    const known = this.#entries.get(weights)
    if (known) return known.place
    const N = width / K
    const { columns, unit, bytes } = this.product
    const words = (ceil(K, unit) * ceil(N, columns) * bytes) / 4
    const place = { offset: this.#bytes, words }
    this.#bytes += roundUp(words * 4)
    this.#entries.set(weights, { N, K, place, fresh: false })
    return place
  }

  /** Weights have been written. */
  invalidate(): void {
    for (const entry of this.#entries.values()) entry.fresh = false
  }

  /** The program that packs what is not packed as it is now, and what to call when it has run; undefined where nothing is stale. */
  stale(): { readonly plan: Plan; readonly packed: () => void } | undefined {
    const stale = [...this.#entries].filter(([, { fresh }]) => !fresh)
    if (stale.length === 0) return undefined
    const graph = new Graph({}, { differentiate: false, training: false })
    recordPacking(
      graph,
      stale.map(([weights, entry]) => this.#weight(weights, entry)),
    )
    const packed = () => {
      for (const [, entry] of stale) entry.fresh = true
    }
    return { plan: compilePlan(graph, 0), packed }
  }

  /** The stretches of an update, cut so that each packed weight inside one is a stretch of its own, packed in its pass. */
  split(ranges: readonly UpdateRange[]): readonly UpdateRange[] {
    const entries = [...this.#entries].sort(([a], [b]) => a - b)
    return ranges.flatMap((range) => {
      const pieces: UpdateRange[] = []
      const end = range.weights + range.length * 4
      let at = range.weights
      const upTo = (border: number, packed?: PackedWeight) => {
        if (border === at) return
        const piece = {
          ...range,
          weights: at,
          gradients: range.gradients + at - range.weights,
          length: (border - at) / 4,
        }
        pieces.push(packed ? { ...piece, packed } : piece)
        at = border
      }
      for (const [weights, entry] of entries) {
        if (weights < range.weights || endOf(weights, entry) > end) continue
        upTo(weights)
        upTo(endOf(weights, entry), this.#weight(weights, entry))
      }
      upTo(end)
      return pieces
    })
  }

  /** Weights that an update of these stretches has changed in part are not packed as they are now. */
  updated(ranges: readonly UpdateRange[]): void {
    for (const [weights, entry] of this.#entries) {
      const last = endOf(weights, entry)
      const inPart = ({ weights: first, length }: UpdateRange) => {
        const end = first + length * 4
        return first < last && weights < end && (weights < first || last > end)
      }
      if (ranges.some(inPart)) entry.fresh = false
    }
  }

  #weight(weights: number, { N, K, place }: Entry): PackedWeight {
    return { weights, N, K, type: this.type, place }
  }
}
