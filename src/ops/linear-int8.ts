import type { Graph, Value } from '../graph/graph.ts'
import { type ActivationName, Arena } from '../graph/op-table.ts'
import { rowsOf } from './op.ts'

/** A matrix that is kept as int8: its words, and a scale for each row. */
export interface Int8Values {
  readonly words: Value
  readonly scales: Value
}

/** What holds a matrix of the weights that is kept as int8; undefined: it is float32. */
export function int8Values({ parameter }: Value): Int8Values | undefined {
  if (!parameter?.int8) return undefined
  const { name, weights, int8 } = parameter
  const place = { rows: undefined, arena: Arena.weights, requiresGrad: false }
  return {
    words: { ...place, name, width: int8.words, type: 'int32', offset: weights },
    scales: { ...place, name: `${name} scales`, width: int8.rows, type: 'float32', offset: int8.scales },
  }
}

/**
 * y = act(x w^T + bias) with a weight of int8 [N, K], a scale for each of its rows, and x rounded to int8, 64 columns of a row by one
 * scale, while it is read: x [rows, K], bias [N] -> y [rows, N], all float32. For inference: it has no backward.
 */
export function linearInt8(
  graph: Graph,
  x: Value,
  { words, scales }: Int8Values,
  bias: Value | undefined,
  activation: ActivationName,
): Value {
  const N = scales.width
  const rows = rowsOf(x)
  const y = graph.value('output', rows, N)
  graph.emit('linearInt8', { x, w: words, scale: scales, bias, y }, { rows, K: x.width, N, act: activation })
  return y
}
