import { activationOf } from '../../model/config.ts'
import type { GraphBuilder, Value } from './graph.ts'

type Build = (g: GraphBuilder, x: Value) => Value

/** 0.5 x (1 + erf(x / sqrt 2)) in the order that ONNX Runtime recognises as one Gelu. */
const gelu: Build = (g, x) => {
  const erf = g.apply('Erf', [g.apply('Div', [x, g.float(Math.SQRT2)])])
  return g.apply('Mul', [g.apply('Mul', [x, g.apply('Add', [erf, g.float(1)])]), g.float(0.5)])
}

/** 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
const geluTanh: Build = (g, x) => {
  const scaled = g.apply('Mul', [x, g.float(Math.sqrt(2 / Math.PI))])
  const square = g.apply('Mul', [g.apply('Mul', [x, g.float(0.044715)]), x])
  const tanh = g.apply('Tanh', [g.apply('Mul', [scaled, g.apply('Add', [square, g.float(1)])])])
  return g.apply('Mul', [g.apply('Mul', [x, g.float(0.5)]), g.apply('Add', [tanh, g.float(1)])])
}

const sigmoid: Build = (g, x) => g.apply('Sigmoid', [x])

/** By the names that HIDDEN_ACTS maps to; formulas: Transformers' activations.py. */
const activations: Readonly<Record<string, Build>> = {
  gelu,
  gelu_new: geluTanh,
  // the same function, its products in another order
  gelu_fast: geluTanh,
  quick_gelu: (g, x) => g.apply('Mul', [x, sigmoid(g, g.apply('Mul', [x, g.float(1.702)]))]),
  relu: (g, x) => g.apply('Relu', [x]),
  silu: (g, x) => g.apply('Mul', [x, sigmoid(g, x)]),
  tanh: (g, x) => g.apply('Tanh', [x]),
  sigmoid,
  linear: (_, x) => x,
}

/** The activation that config.json calls `hiddenAct`, of x in any shape. */
export const activate = (g: GraphBuilder, x: Value, hiddenAct: string): Value =>
  g.scope(hiddenAct, () => activations[activationOf(hiddenAct)](g, x))
