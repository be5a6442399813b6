import type { Graph, Value } from '../graph/graph.ts'
import { prelu, xielu } from '../ops/parametric-activation.ts'
import type { ParameterScope } from './parameters.ts'

/** Records act(z), z [rows, N]; z may be used up. */
export type RecordActivation = (graph: Graph, z: Value) => Value

/**
 * The activations of ACT2FN that have parameters, by the names of their ops: declares them in `scope`, with the first values of
 * Transformers' activations.py.
 */
export const parametric = {
  /** torch.nn.PReLU(): one slope for all. */
  prelu(scope: ParameterScope): RecordActivation {
    const weight = scope.declare('weight', [1], 0.25)
    return (graph, z) => prelu(graph, z, weight.value(graph))
  },
  /**
   * XIELUActivation(). Its first values are made in bfloat16: log(e^0.8 - 1), log(e^(0.8 - 0.5) - 1), 0.5 and -1e-6, so rounded.
   * Transformers keeps and trains them in that type until someone calls `.float()`; here they are float32 as everything is.
   */
  xielu(scope: ParameterScope): RecordActivation {
    const alphaP = scope.declare('alpha_p', [1], 0.2041015625)
    const alphaN = scope.declare('alpha_n', [1], -1.046875)
    const beta = scope.declareBuffer('beta', 0.5)
    const eps = scope.declareBuffer('eps', -9.98377799987793e-7)
    return (graph, z) =>
      xielu(graph, z, {
        alphaP: alphaP.value(graph),
        alphaN: alphaN.value(graph),
        beta: beta.value(graph),
        eps: eps.value(graph),
      })
  },
}

export const isParametric = (activation: string): activation is keyof typeof parametric =>
  Object.hasOwn(parametric, activation)
