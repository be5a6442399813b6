import type { Graph, Value } from '../graph/graph.ts'
import type { ActivationName } from '../graph/op-table.ts'
import { defineOp, rowsOf, together } from './op.ts'

/**
 * y = act(x w^T + bias): x [rows, K], w [N, K], bias [N] -> y [rows, N]. Saves z, the input of the activation.
 * torch.nn.Linear, with the activation fused.
 */
export const linear = defineOp({
  record(graph: Graph, x: Value, w: Value, bias: Value | undefined, activation: ActivationName = 'linear') {
    const K = x.width
    const N = w.width / K
    const rows = rowsOf(x)
    const requiresGrad = graph.options.differentiate && (x.requiresGrad || w.requiresGrad || !!bias?.requiresGrad)
    const y = graph.value('output', rows, N, requiresGrad)
    const z = requiresGrad && graph.saving && activation !== 'linear' ? graph.value('z', rows, N) : undefined
    graph.emit('linear', { x, w, bias, y, z }, { rows, K, N, act: activation })
    return { y, z, K, N }
  },
  backward(graph, dy, { z, K, N }, x, w, bias, activation = 'linear') {
    const rows = rowsOf(x)
    if (z) graph.emit('activationBackward', { dy, z, dz: dy }, { rows, N, act: activation })
    const dw = graph.gradientTarget(w)
    const dbias = bias && graph.gradientTarget(bias)
    for (const [first, second] of together(dw, dbias))
      graph.emit(
        'linearBackwardWeight',
        { dy, x, dw: first?.value, dbias: second?.value },
        { rows, K, N, accumulate: (first ?? second)!.add },
      )
    const dx = graph.gradientTarget(x)
    if (dx) graph.emit('linearBackwardData', { dy, w, dx: dx.value }, { rows, K, N, add: dx.add })
  },
})
