import type { Graph, Value } from '../graph/graph.ts'
import { rowsOf } from './op.ts'

/**
 * Dropout with probability p on x [rows, H]. When not training, x itself. In place where that is safe: no backward may read x, and
 * nobody may have asked to see it, for whom it gets a copy. The same record on the gradient is its backward.
 */
export function dropout(graph: Graph, x: Value, p: number): Value {
  if (!graph.options.training || p === 0) return x
  const site = graph.site('.dropout')
  const attributes = { rows: rowsOf(x), H: x.width, p, site }
  const keep = graph.keepMask(site, rowsOf(x), x.width, p)
  const y = graph.kept.has(x) ? graph.value('dropout', x.rows, x.width, x.requiresGrad) : x
  graph.emit('dropout', { x, keep, y }, attributes)
  graph.onBackward(() => {
    const dy = graph.gradientOf(y)
    if (!dy) return
    graph.emit('dropout', { x: dy, keep, y: dy }, attributes)
    if (y !== x && x.requiresGrad) graph.setGradient(x, dy)
  })
  return y
}
