// z = x w^T + bias; y = act(z)
import { type Activation, activation } from './activation.ts'

export interface Linear {
  /** [rows, K] */
  x: Float64Array
  /** [N, K] */
  w: Float64Array
  /** [N] */
  bias?: Float64Array
  rows: number
  K: number
  N: number
  act?: Activation
}

/** y and z are [rows, N]. */
export function linear({ x, w, bias, rows, K, N, act = 'linear' }: Linear): { y: Float64Array; z: Float64Array } {
  const z = new Float64Array(rows * N)
  for (let r = 0; r < rows; r++)
    for (let n = 0; n < N; n++) {
      let sum = bias?.[n] ?? 0
      for (let k = 0; k < K; k++) sum += x[r * K + k] * w[n * K + k]
      z[r * N + n] = sum
    }
  return { y: activation(act, z), z }
}

/** From dy, the gradient of z: dx = dy w, dw = dy^T x, dbias = the sum of dy's rows. */
export function linearBackward({
  dy,
  x,
  w,
  rows,
  K,
  N,
}: {
  dy: Float64Array
  x: Float64Array
  w: Float64Array
  rows: number
  K: number
  N: number
}): { dx: Float64Array; dw: Float64Array; dbias: Float64Array } {
  const dx = new Float64Array(rows * K)
  const dw = new Float64Array(N * K)
  const dbias = new Float64Array(N)
  for (let r = 0; r < rows; r++)
    for (let n = 0; n < N; n++) {
      const g = dy[r * N + n]
      dbias[n] += g
      for (let k = 0; k < K; k++) {
        dx[r * K + k] += g * w[n * K + k]
        dw[n * K + k] += g * x[r * K + k]
      }
    }
  return { dx, dw, dbias }
}
