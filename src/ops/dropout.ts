import type { Graph, Value } from '../graph/graph.ts'
import { rowsOf } from './op.ts'

/**
 * Dropout with probability p on x [rows, H], in place: only for an x that no backward reads again. When not training, x itself.
 * The same record on the gradient is its backward.
 */
export function dropoutInPlace(graph: Graph, x: Value, p: number): Value {
  if (!graph.options.training || p === 0) return x
  const attributes = { rows: rowsOf(x), H: x.width, p, site: graph.site('.dropout') }
  graph.emit('dropout', { x, y: x }, attributes)
  graph.onBackward(() => {
    const dy = graph.gradientOf(x)
    if (dy) graph.emit('dropout', { x: dy, y: dy }, attributes)
  })
  return x
}
