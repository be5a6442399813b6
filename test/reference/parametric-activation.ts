// The activations of Transformers' ACT2FN that have parameters: torch.nn.PReLU and XIELUActivation (its Python path).

interface Prelu {
  z: Float64Array
  weight: number
}

/** y = z > 0 ? z : weight z, any shape. */
export const prelu = ({ z, weight }: Prelu): Float64Array => z.map((x) => (x > 0 ? x : weight * x))

/** dz = dy times the slope; dweight = the sum of dy z where z is not positive. */
export function preluBackward({ dy, z, weight }: Prelu & { dy: Float64Array }): { dz: Float64Array; dweight: number } {
  let dweight = 0
  const dz = dy.map((gradient, i) => {
    if (!(z[i] > 0)) dweight += gradient * z[i]
    return z[i] > 0 ? gradient : weight * gradient
  })
  return { dz, dweight }
}

export interface Xielu {
  z: Float64Array
  alphaP: number
  alphaN: number
  beta: number
  eps: number
}

const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
const NEAR = 0.1

/** e^x - 1 - x; its power series near 0, where the difference cancels. */
function expTail(x: number): number {
  if (Math.abs(x) > NEAR) return Math.expm1(x) - x
  let term = (x * x) / 2
  let sum = 0
  for (let n = 3; term !== 0 && n < 30; n++) {
    sum += term
    term *= x / n
  }
  return sum
}

/** e^min(z, eps) - 1 - z */
const negative = (z: number, eps: number): number => {
  const least = Math.min(z, eps)
  return expTail(least) + (least - z)
}

/** y = z > 0 ? p z^2 + beta z : n (e^min(z, eps) - 1 - z) + beta z with p = softplus(alphaP), n = beta + softplus(alphaN). */
export function xielu({ z, alphaP, alphaN, beta, eps }: Xielu): Float64Array {
  const [p, n] = [softplus(alphaP), beta + softplus(alphaN)]
  return z.map((x) => (x > 0 ? p * x * x : n * negative(x, eps)) + beta * x)
}

export function xieluBackward({ dy, z, alphaP, alphaN, beta, eps }: Xielu & { dy: Float64Array }): {
  dz: Float64Array
  dalphaP: number
  dalphaN: number
} {
  const [p, n] = [softplus(alphaP), beta + softplus(alphaN)]
  let [dp, dn] = [0, 0]
  const slope = (x: number): number => {
    if (x > 0) return 2 * p * x + beta
    // at its kink the minimum passes half, as in PyTorch
    const passed = x < eps ? 1 : x === eps ? 0.5 : x > eps ? 0 : Number.NaN
    return n * (passed === 1 ? Math.expm1(x) : passed * Math.exp(x) - 1) + beta
  }
  const dz = dy.map((gradient, i) => {
    const x = z[i]
    if (x > 0) dp += gradient * x * x
    else dn += gradient * negative(x, eps)
    return gradient * slope(x)
  })
  return { dz, dalphaP: dp * sigmoid(alphaP), dalphaN: dn * sigmoid(alphaN) }
}
