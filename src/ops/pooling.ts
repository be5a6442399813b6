import type { Graph, Value } from '../graph/graph.ts'
import type { Row } from '../graph/op-table.ts'
import { defineOp, rowsOf } from './op.ts'

/** y = x[index]: x [from, H], index [to] -> [to, H]; such as the first token of each sequence. */
export const gatherRows = defineOp({
  record(graph: Graph, x: Value, index: Value) {
    const to: Row = rowsOf(index)
    const y = graph.value('rows', to, x.width, x.requiresGrad)
    graph.emit('gatherRows', { x, index, y }, { from: rowsOf(x), to, H: x.width })
    return { y }
  },
  backward(graph, dy, _state, x, index) {
    const dx = graph.gradientTarget(x)
    if (dx)
      graph.emit(
        'gatherRowsBackward',
        { dy, index, dx: dx.value },
        { from: rowsOf(x), to: rowsOf(index), H: x.width, add: dx.add },
      )
  },
})

/**
 * Writes columns first .. first + width of x [rows, T] into rows index [rows] of `y` [to, width]; its other rows stay. Index ascends.
 * For a decoder's cache of keys and values; it has no gradient.
 */
export function storeRows(graph: Graph, x: Value, index: Value, y: Value, first: number): void {
  graph.emit('storeRows', { x, index, y }, { rows: rowsOf(x), to: rowsOf(y), T: x.width, H: y.width, first })
}

/** y[target] = y[from] [rows]; target ascends, and no row is both. */
export function copyRows(graph: Graph, y: Value, from: Value, target: Value): void {
  graph.emit('copyRows', { from, target, y }, { rows: rowsOf(from), of: rowsOf(y), H: y.width })
}
