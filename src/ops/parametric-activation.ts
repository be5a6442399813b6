import type { Graph, Value } from '../graph/graph.ts'
import { defineOp, pairTargets, rowsOf } from './op.ts'

/** Where act(z) goes: beside z, which the backward reads, or onto it where nothing is differentiated and nobody has asked to see z. */
function resultOf(graph: Graph, z: Value, parameters: readonly Value[]): Value {
  const requiresGrad = graph.options.differentiate && [z, ...parameters].some((value) => value.requiresGrad)
  return requiresGrad || graph.kept.has(z) ? graph.value('activated', z.rows, z.width, requiresGrad) : z
}

/** dz takes the place of dy, unless z has another reader whose gradient is there already. */
function emitGradient(graph: Graph, dy: Value, z: Value, emit: (dz: Value) => void): void {
  if (!z.requiresGrad) return
  if (graph.gradientOf(z)) throw new TypeError(`${z.name} is read by another op as well as its activation`)
  emit(dy)
  graph.setGradient(z, dy)
}

/** y = z where z > 0, else weight z: z [rows, N], weight [1]. torch.nn.PReLU with one parameter. Saves z. */
export const prelu = defineOp({
  record(graph: Graph, z: Value, weight: Value) {
    const y = resultOf(graph, z, [weight])
    graph.emit('prelu', { z, weight, y }, { rows: rowsOf(z), N: z.width })
    return { y }
  },
  backward(graph, dy, _state, z, weight) {
    const shape = { rows: rowsOf(z), N: z.width }
    const dweight = graph.gradientTarget(weight)
    if (dweight)
      graph.emit('preluBackwardWeight', { dy, z, dweight: dweight.value }, { ...shape, accumulate: dweight.add })
    emitGradient(graph, dy, z, (dz) => graph.emit('preluBackward', { dy, z, weight, dz }, shape))
  },
})

/** Each [1]; beta and eps are not trained. */
export interface XieluParameters {
  readonly alphaP: Value
  readonly alphaN: Value
  readonly beta: Value
  readonly eps: Value
}

/**
 * y = p z^2 + beta z where z > 0, else n (e^min(z, eps) - 1 - z) + beta z, with p = softplus(alphaP), n = beta + softplus(alphaN):
 * z [rows, N]. Huang and Schlag, "Deriving Activation Functions Using Integration" (2024); Transformers' XIELUActivation in float32.
 * Saves z.
 */
export const xielu = defineOp({
  record(graph: Graph, z: Value, parameters: XieluParameters) {
    const y = resultOf(graph, z, [parameters.alphaP, parameters.alphaN])
    graph.emit('xielu', { z, ...parameters, y }, { rows: rowsOf(z), N: z.width })
    return { y }
  },
  backward(graph, dy, _state, z, parameters) {
    const shape = { rows: rowsOf(z), N: z.width }
    const { alphaP, alphaN, eps } = parameters
    for (const [p, n] of pairTargets(graph.gradientTarget(alphaP), graph.gradientTarget(alphaN)))
      graph.emit(
        'xieluBackwardWeight',
        { dy, z, alphaP, alphaN, eps, dalphaP: p?.value, dalphaN: n?.value },
        { ...shape, accumulate: (p ?? n)!.add },
      )
    emitGradient(graph, dy, z, (dz) => graph.emit('xieluBackward', { dy, z, ...parameters, dz }, shape))
  },
})
