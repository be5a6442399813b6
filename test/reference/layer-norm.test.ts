import { describe, expect, it } from 'vitest'
import { layerNorm, layerNormBackward, layerNormBackwardWeight } from './layer-norm.ts'
import { dot, expectGradient, uniform } from './numerics.ts'
import { philoxKeep } from './philox.ts'

const key = { seed: 9, step: 4, microStep: 1, site: 2 }

describe('layerNorm', () => {
  it('gives rows of mean beta and deviation gamma', () => {
    const [rows, H] = [4, 97]
    const gamma = new Float64Array(H).fill(3)
    const beta = new Float64Array(H).fill(-2)
    const { y } = layerNorm({ x: uniform(rows * H, 1), gamma, beta, rows, H, eps: 0 })
    for (let r = 0; r < rows; r++) {
      const row = y.subarray(r * H, (r + 1) * H)
      const mean = row.reduce((a, b) => a + b) / H
      expect(mean).toBeCloseTo(-2, 12)
      expect(Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / H)).toBeCloseTo(3, 12)
    }
  })

  it.each([
    [1, 1, 0.1, false, 0],
    [1, 7, 1e-12, true, 0],
    [5, 13, 1e-12, true, 0],
    [3, 31, 1e-2, false, 0.4],
    [4, 67, 1e-12, true, 0.25],
  ])('backward at %i rows of %i, eps %f, residual %s, p %f', (rows, H, eps, withResidual, p) => {
    const keep = philoxKeep(key, p)
    const x = uniform(rows * H, 1)
    const residual = withResidual ? uniform(rows * H, 2) : undefined
    const gamma = uniform(H, 3)
    const beta = uniform(H, 4)
    const dy = uniform(rows * H, 5)
    const forward = () => layerNorm({ x, residual, gamma, beta, rows, H, eps, p, keep })
    const f = () => dot(dy, forward().y)
    const saved = forward()
    const { dx, dresidual } = layerNormBackward({ dy, ...saved, gamma, rows, H, p, keep })
    const { dgamma, dbeta } = layerNormBackwardWeight({ dy, ...saved, rows, H })
    expectGradient(dbeta, beta, f)
    if (H === 1) {
      // One value is its own mean: y is beta whatever the rest is.
      expect([...dx, ...dresidual, ...dgamma].every((value) => value === 0)).toBe(true)
      return
    }
    expectGradient(dx, x, f)
    if (residual) expectGradient(dresidual, residual, f)
    expectGradient(dgamma, gamma, f)
  })
})
