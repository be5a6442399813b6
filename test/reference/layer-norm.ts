// sum = dropout(x) + residual; y = (sum - mean) * rstd * gamma + beta, over each row of H values (Ba et al. 2016, biased variance).
import { type DropoutOptions, dropoutFactor } from './dropout.ts'

export interface LayerNorm extends DropoutOptions {
  x: Float64Array
  residual?: Float64Array
  gamma: Float64Array
  beta: Float64Array
  rows: number
  H: number
  eps: number
}

export interface LayerNormResult {
  /** [rows, H] */
  sum: Float64Array
  y: Float64Array
  /** [rows] */
  mean: Float64Array
  rstd: Float64Array
}

export function layerNorm({ x, residual, gamma, beta, rows, H, eps, p, keep }: LayerNorm): LayerNormResult {
  const factor = dropoutFactor({ p, keep })
  const sum = new Float64Array(rows * H)
  const y = new Float64Array(rows * H)
  const mean = new Float64Array(rows)
  const rstd = new Float64Array(rows)
  for (let r = 0; r < rows; r++) {
    for (let h = 0; h < H; h++) {
      sum[r * H + h] = x[r * H + h] * factor(r, h) + (residual?.[r * H + h] ?? 0)
      mean[r] += sum[r * H + h] / H
    }
    let variance = 0
    for (let h = 0; h < H; h++) variance += (sum[r * H + h] - mean[r]) ** 2 / H
    rstd[r] = 1 / Math.sqrt(variance + eps)
    for (let h = 0; h < H; h++) y[r * H + h] = (sum[r * H + h] - mean[r]) * rstd[r] * gamma[h] + beta[h]
  }
  return { sum, y, mean, rstd }
}

export interface LayerNormBackward extends DropoutOptions {
  dy: Float64Array
  sum: Float64Array
  mean: Float64Array
  rstd: Float64Array
  gamma: Float64Array
  rows: number
  H: number
}

/**
 * With n = (sum - mean) * rstd and g = dy * gamma: dresidual = dsum = rstd * (g - mean(g) - n * mean(g * n)); dx = dropout(dsum).
 * eps is inside rstd, so the formula is exact for any eps.
 */
export function layerNormBackward({ dy, sum, mean, rstd, gamma, rows, H, p, keep }: LayerNormBackward): {
  dx: Float64Array
  dresidual: Float64Array
} {
  const factor = dropoutFactor({ p, keep })
  const dx = new Float64Array(rows * H)
  const dresidual = new Float64Array(rows * H)
  for (let r = 0; r < rows; r++) {
    let meanG = 0
    let meanGN = 0
    for (let h = 0; h < H; h++) {
      const g = dy[r * H + h] * gamma[h]
      meanG += g / H
      meanGN += (g * (sum[r * H + h] - mean[r]) * rstd[r]) / H
    }
    for (let h = 0; h < H; h++) {
      const n = (sum[r * H + h] - mean[r]) * rstd[r]
      dresidual[r * H + h] = rstd[r] * (dy[r * H + h] * gamma[h] - meanG - n * meanGN)
      dx[r * H + h] = dresidual[r * H + h] * factor(r, h)
    }
  }
  return { dx, dresidual }
}

/** dgamma = sum over rows of dy * n; dbeta = sum over rows of dy. */
export function layerNormBackwardWeight({
  dy,
  sum,
  mean,
  rstd,
  rows,
  H,
}: Pick<LayerNormBackward, 'dy' | 'sum' | 'mean' | 'rstd' | 'rows' | 'H'>): {
  dgamma: Float64Array
  dbeta: Float64Array
} {
  const dgamma = new Float64Array(H)
  const dbeta = new Float64Array(H)
  for (let r = 0; r < rows; r++)
    for (let h = 0; h < H; h++) {
      dgamma[h] += dy[r * H + h] * (sum[r * H + h] - mean[r]) * rstd[r]
      dbeta[h] += dy[r * H + h]
    }
  return { dgamma, dbeta }
}
