import type { Graph, Value } from '../graph/graph.ts'
import { Arena, Scalar } from '../graph/op-table.ts'

/** A stretch of the flat buffers that one parameter group owns; offsets in bytes, `length` in elements. */
export interface UpdateRange {
  readonly weights: number
  readonly gradients: number
  readonly length: number
  readonly group: number
}

const range = (name: string, arena: Arena, offset: number, width: number): Value => ({
  name,
  rows: undefined,
  width,
  integer: false,
  arena,
  offset,
  requiresGrad: false,
})

/**
 * Global norm, clipping and AdamW over the flat buffers; the moments lie as the gradients do. Returns [norm, clip coefficient].
 * An update has no gradient of its own.
 */
export function recordUpdate(graph: Graph, gradientLength: number, ranges: readonly UpdateRange[]): Value {
  const norm = graph.keep(graph.value('norm', undefined, 2))
  graph.emit('gradientNorm', { g: range('gradients', Arena.gradients, 0, gradientLength), norm }, { n: gradientLength })
  for (const { weights, gradients, length, group } of ranges)
    graph.emit(
      'adamw',
      {
        g: range('g', Arena.gradients, gradients, length),
        norm,
        w: range('w', Arena.weights, weights, length),
        expAvg: range('exp_avg', Arena.expAvg, gradients, length),
        expAvgSq: range('exp_avg_sq', Arena.expAvgSq, gradients, length),
      },
      { n: length, group: Scalar.group0 + 2 * group },
    )
  return norm
}
