// The activations of Transformers' ACT2FN that bertkit knows, with their derivatives.

/** In the order of ops.def. */
export const ACTIVATIONS = [
  'linear',
  'gelu',
  'gelu_new',
  'gelu_fast',
  'quick_gelu',
  'relu',
  'silu',
  'tanh',
  'sigmoid',
  'gelu_10',
  'hardswish',
  'laplace',
  'leaky_relu',
  'mish',
  'relu2',
  'relu6',
  'sqrtsoftplus',
] as const

export type Activation = (typeof ACTIVATIONS)[number]

/** Between the two expansions below; each reaches float64 accuracy on its side. */
const ERF_SPLIT = 2.5

/** erf x = 2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!! (DLMF 7.6.2): positive terms, so nothing cancels. */
function erfSeries(x: number): number {
  let term = x
  let sum = 0
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    sum += term
    term *= (2 * x * x) / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

/** erfc x = exp(-x^2)/sqrt(pi) / (x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))) for x > 0 (DLMF 7.9.1), from the inside out. */
function erfcFraction(x: number): number {
  let tail = x
  for (let n = 120; n >= 1; n--) tail = x + n / 2 / tail
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / tail
}

/** The error function, within 1e-15. */
export function erf(x: number): number {
  if (Math.abs(x) < ERF_SPLIT) return erfSeries(x)
  return x > 0 ? 1 - erfcFraction(x) : erfcFraction(-x) - 1
}

/** 1 - erf x without cancellation for large x. */
export const erfc = (x: number): number => (x < ERF_SPLIT ? 1 - erf(x) : erfcFraction(x))

const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z))

/** The standard normal distribution's cumulative function and density. */
const normalCdf = (z: number): number => 0.5 * erfc(-z / Math.SQRT2)
const normalDensity = (z: number): number => Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI)

const tanhGelu = (z: number, scale: number): number => 0.5 * z * (1 + Math.tanh(scale * (z + 0.044715 * z ** 3)))

function tanhGeluDerivative(z: number, scale: number): number {
  const t = Math.tanh(scale * (z + 0.044715 * z ** 3))
  return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * scale * (1 + 3 * 0.044715 * z * z)
}

const GELU_NEW_SCALE = Math.sqrt(2 / Math.PI)
const GELU_FAST_SCALE = 0.7978845608

// biome-ignore lint/suspicious/noApproximativeNumericConstant: Transformers has these six digits
const LAPLACE_MU = 0.707107
const LAPLACE_SIGMA = 0.282095
/** What laplace gives the normal distribution function. */
export const laplaceArgument = (z: number): number => (z - LAPLACE_MU) / LAPLACE_SIGMA
const gelu = (z: number): number => z * normalCdf(z)
const softplus = (z: number): number => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)))
const mishFactor = (z: number): number => Math.tanh(softplus(z))

const FUNCTIONS: Record<Activation, (z: number) => number> = {
  linear: (z) => z,
  gelu,
  gelu_new: (z) => tanhGelu(z, GELU_NEW_SCALE),
  gelu_fast: (z) => tanhGelu(z, GELU_FAST_SCALE),
  quick_gelu: (z) => z * sigmoid(1.702 * z),
  relu: (z) => Math.max(0, z),
  silu: (z) => z * sigmoid(z),
  tanh: (z) => Math.tanh(z),
  sigmoid,
  gelu_10: (z) => Math.min(Math.max(gelu(z), -10), 10),
  hardswish: (z) => (z * Math.min(Math.max(z + 3, 0), 6)) / 6,
  laplace: (z) => normalCdf(laplaceArgument(z)),
  leaky_relu: (z) => (z > 0 ? z : 0.01 * z),
  mish: (z) => z * mishFactor(z),
  relu2: (z) => Math.max(0, z) ** 2,
  relu6: (z) => Math.min(Math.max(0, z), 6),
  // e^(z/2) where softplus is e^z but for what float64 cannot see
  sqrtsoftplus: (z) => (z < -40 ? Math.exp(z / 2) : Math.sqrt(softplus(z))),
}

/** Derivatives; at a kink the one that PyTorch takes. */
const DERIVATIVES: Record<Activation, (z: number) => number> = {
  linear: () => 1,
  gelu: (z) => normalCdf(z) + z * normalDensity(z),
  gelu_new: (z) => tanhGeluDerivative(z, GELU_NEW_SCALE),
  gelu_fast: (z) => tanhGeluDerivative(z, GELU_FAST_SCALE),
  quick_gelu: (z) => sigmoid(1.702 * z) * (1 + 1.702 * z * (1 - sigmoid(1.702 * z))),
  relu: (z) => (z > 0 ? 1 : 0),
  silu: (z) => sigmoid(z) * (1 + z * (1 - sigmoid(z))),
  tanh: (z) => 1 - Math.tanh(z) ** 2,
  sigmoid: (z) => sigmoid(z) * (1 - sigmoid(z)),
  gelu_10: (z) => (gelu(z) > 10 ? 0 : normalCdf(z) + z * normalDensity(z)),
  hardswish: (z) => (z <= -3 ? 0 : z < 3 ? z / 3 + 0.5 : 1),
  laplace: (z) => normalDensity(laplaceArgument(z)) / LAPLACE_SIGMA,
  leaky_relu: (z) => (z > 0 ? 1 : 0.01),
  mish: (z) => mishFactor(z) + Math.min(z, 40) * (1 - mishFactor(z) ** 2) * sigmoid(z),
  relu2: (z) => 2 * Math.max(0, z),
  relu6: (z) => (z <= 0 || z >= 6 ? 0 : 1),
  sqrtsoftplus: (z) => (z < -40 ? 0.5 * Math.exp(z / 2) : sigmoid(z) / (2 * Math.sqrt(softplus(z)))),
}

/** y = act(z), any shape. */
export const activation = (act: Activation, z: Float64Array): Float64Array => z.map(FUNCTIONS[act])

/** dz = dy * act'(z), any shape. */
export function activationBackward({ dy, z, act }: { dy: Float64Array; z: Float64Array; act: Activation }): {
  dz: Float64Array
} {
  return { dz: dy.map((gradient, i) => gradient * DERIVATIVES[act](z[i])) }
}
