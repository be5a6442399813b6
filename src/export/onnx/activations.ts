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

const clip = (g: GraphBuilder, x: Value, low: number, high: number): Value =>
  g.apply('Min', [g.apply('Max', [x, g.float(low)]), g.float(high)])

/** log(1 + e^x) */
const softplus: Build = (g, x) => g.apply('Softplus', [x])

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
  gelu_10: (g, x) => clip(g, gelu(g, x), -10, 10),
  hardswish: (g, x) => {
    const gate = clip(g, g.apply('Add', [x, g.float(3)]), 0, 6)
    return g.apply('Div', [g.apply('Mul', [x, gate]), g.float(6)])
  },
  laplace: (g, x) => {
    // biome-ignore lint/suspicious/noApproximativeNumericConstant: Transformers rounds mu to six digits
    const standard = g.apply('Div', [g.apply('Sub', [x, g.float(0.707107)]), g.float(0.282095 * Math.SQRT2)])
    return g.apply('Mul', [g.apply('Add', [g.apply('Erf', [standard]), g.float(1)]), g.float(0.5)])
  },
  leaky_relu: (g, x) => g.apply('Max', [x, g.apply('Mul', [x, g.float(0.01)])]),
  mish: (g, x) => g.apply('Mul', [x, g.apply('Tanh', [softplus(g, x)])]),
  relu2: (g, x) => {
    const positive = g.apply('Relu', [x])
    return g.apply('Mul', [positive, positive])
  },
  relu6: (g, x) => clip(g, x, 0, 6),
  sqrtsoftplus: (g, x) => g.apply('Sqrt', [softplus(g, x)]),
  prelu: (g, x) => g.apply('PRelu', [x, g.parameter('weight', [1])]),
  xielu: (g, x) => {
    const [beta, eps] = [g.parameter('beta', []), g.parameter('eps', [])]
    const p = softplus(g, g.parameter('alpha_p', [1]))
    const n = g.apply('Add', [softplus(g, g.parameter('alpha_n', [1])), beta])
    const positive = g.apply('Mul', [g.apply('Mul', [x, x]), p])
    const beyond = g.apply('Sub', [g.apply('Exp', [g.apply('Min', [x, eps])]), g.float(1)])
    const negative = g.apply('Mul', [g.apply('Sub', [beyond, x]), n])
    const curved = g.apply('Where', [g.apply('Greater', [x, g.float(0)]), positive, negative])
    return g.apply('Add', [curved, g.apply('Mul', [x, beta])])
  },
}

/** The activation that config.json calls `hiddenAct`, of x in any shape; its parameters, if it has any, are those of `module`. */
export const activate = (g: GraphBuilder, module: string, x: Value, hiddenAct: string): Value =>
  g.scope(module, () => activations[activationOf(hiddenAct)](g, x))
