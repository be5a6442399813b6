import type { FloatType, Graph, Value } from '../graph/graph.ts'
import { Arena, Scalar } from '../graph/op-table.ts'

/** A stretch of the flat buffers with one set of scalars, its `group`; offsets in bytes, `length` in elements. */
export interface UpdateRange {
  readonly weights: number
  readonly gradients: number
  readonly length: number
  readonly group: number
  /** It is one linear layer's weight, which is packed in the same pass. */
  readonly packed?: PackedWeight
}

/** A linear layer's weight [N, K] at byte `weights`, and where it is packed for products of `type`. */
export interface PackedWeight {
  readonly weights: number
  readonly N: number
  readonly K: number
  readonly type: FloatType
  readonly place: PackedPlace
}

export interface PackedPlace {
  readonly offset: number
  readonly words: number
}

function packedOperands({ N, K, type, place: { offset, words } }: PackedWeight) {
  const packed: Value = {
    name: 'packed',
    rows: undefined,
    width: words,
    type: 'float32',
    arena: Arena.packed,
    offset,
    requiresGrad: false,
  }
  return { operands: { packed }, attributes: { N, K, product: type === 'bfloat16' } }
}

const NOT_PACKED = { operands: {}, attributes: { N: 1, K: 1, product: false } }

/** Packs weights that were written, not updated. */
export function recordPacking(graph: Graph, weights: readonly PackedWeight[]): void {
  for (const weight of weights) {
    const { operands, attributes } = packedOperands(weight)
    const w = stretch('w', Arena.weights, weight.weights, weight.N * weight.K).value
    graph.emit('packWeight', { w, ...operands }, attributes)
  }
}

/** `elements` from byte `offset` on: a value from the last 64-byte border before it, and where in that value they begin. */
function stretch(name: string, arena: Arena, offset: number, elements: number): { value: Value; first: number } {
  const first = (offset % 64) / 4
  const value = {
    name,
    rows: undefined,
    width: first + elements,
    type: 'float32' as const,
    arena,
    offset: offset - first * 4,
    requiresGrad: false,
  }
  return { value, first }
}

/**
 * Global norm, clipping and AdamW over the flat buffers; the moments lie as the gradients do. Nothing is changed where the norm or `loss`
 * is not finite. Returns [norm, clip coefficient]. An update has no gradient of its own.
 */
export function recordUpdate(
  graph: Graph,
  gradientLength: number,
  ranges: readonly UpdateRange[],
  loss?: Value,
): Value {
  const norm = graph.keep(graph.statistic('norm', undefined, 2))
  const all = stretch('gradients', Arena.gradients, 0, gradientLength).value
  graph.emit('gradientNorm', { g: all, loss, norm }, { n: gradientLength })
  for (const { weights, gradients, length, group, packed } of ranges) {
    const { operands, attributes } = packed ? packedOperands(packed) : NOT_PACKED
    const w = stretch('w', Arena.weights, weights, length)
    const like = (name: string, arena: Arena) => stretch(name, arena, gradients, length)
    const g = like('g', Arena.gradients)
    graph.emit(
      'adamw',
      {
        g: g.value,
        norm,
        w: w.value,
        expAvg: like('exp_avg', Arena.expAvg).value,
        expAvgSq: like('exp_avg_sq', Arena.expAvgSq).value,
        ...operands,
      },
      {
        n: length,
        W: w.value.width,
        G: g.value.width,
        wFirst: w.first,
        gFirst: g.first,
        group: Scalar.group0 + 4 * group,
        ...attributes,
      },
    )
  }
  return norm
}
