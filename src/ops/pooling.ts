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
