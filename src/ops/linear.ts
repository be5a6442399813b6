import type { FloatType, GradientPiece, Graph, Value } from '../graph/graph.ts'
import type { ActivationName } from '../graph/op-table.ts'
import { int8Values, linearInt8 } from './linear-int8.ts'
import { defineOp, pairTargets, rowsOf } from './op.ts'

/**
 * y = act(x w^T + bias): x [rows, K], w [N, K], bias [N] -> y [rows, N], of `type`. Saves z, the input of the activation, from which
 * a backward that reads y may have it again.
 * torch.nn.Linear, with the activation fused. A weight that is kept as int8 is multiplied as such: `linearInt8`.
 */
export function linear(
  graph: Graph,
  x: Value,
  w: Value,
  bias: Value | undefined,
  activation: ActivationName = 'linear',
  type: FloatType = graph.dtype,
): Value {
  const int8 = int8Values(w)
  return int8 ? linearInt8(graph, x, int8, bias, activation) : linearFloat(graph, x, w, bias, activation, type)
}

const linearFloat = defineOp({
  record(graph: Graph, x: Value, w: Value, bias: Value | undefined, activation: ActivationName, type: FloatType) {
    const K = x.width
    const N = w.width / K
    const rows = rowsOf(x)
    const requiresGrad = graph.options.differentiate && (x.requiresGrad || w.requiresGrad || !!bias?.requiresGrad)
    const y = graph.value('output', rows, N, requiresGrad, type)
    const z =
      requiresGrad && graph.saving && activation !== 'linear' ? graph.value('z', rows, N, false, type) : undefined
    const packed = graph.packed(w, K)
    graph.emit('linear', { x, w, bias, packed, y, z }, { rows, K, N, act: activation })
    if (z) graph.recomputable(y)
    return { y, z, K, N }
  },
  backward(graph, dy, { y, z, K, N }, x, w, bias, activation) {
    const rows = rowsOf(x)
    if (z)
      graph.recompute(y, (again) =>
        graph.emit('activationBackward', { dy, z, dz: dy, y: again }, { rows, N, act: activation }),
      )
    if (w.requiresGrad || bias?.requiresGrad) graph.whenComputed(x, (input) => recordWeights(graph, dy, input, w, bias))
    const dx = graph.gradientTarget(x)
    if (!dx) return
    const packed = graph.packed(w, K)
    graph.emit('linearBackwardData', { dy, w, packed, dx: dx.value }, { rows, K, N, add: dx.add })
  },
})

/** The gradients of the weight and the bias of a linear layer with the input x. */
function recordWeights(graph: Graph, dy: Value, x: Value, w: Value, bias: Value | undefined): void {
  const rows = rowsOf(x)
  const [K, N] = [x.width, dy.width]
  // columns of dy: a stack that is frozen in part has a gradient for each of the others
  const columns = new Map<string, { first: number; N: number; dw?: GradientPiece; dbias?: GradientPiece }>()
  const at = (first: number, count: number) => {
    const key = `${first} ${count}`
    const known = columns.get(key) ?? { first, N: count }
    columns.set(key, known)
    return known
  }
  for (const piece of graph.gradientPieces(w)) at(piece.first / K, piece.value.width / K).dw = piece
  for (const piece of graph.gradientPieces(bias)) at(piece.first, piece.value.width).dbias = piece
  for (const { first, N: count, dw, dbias } of columns.values())
    for (const [weight, sums] of pairTargets(dw, dbias))
      graph.emit(
        'linearBackwardWeight',
        { dy, x, dw: weight?.value, dbias: sums?.value },
        { rows, K, N: count, T: N, first, accumulate: (weight ?? sums)!.add },
      )
}
