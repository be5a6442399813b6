import { describe, expect, it } from 'vitest'
import { ACTIVATIONS, activationBackward } from './activation.ts'
import { linear, linearBackward } from './linear.ts'
import { distance, dot, expectGradient, uniform } from './numerics.ts'

describe('linear', () => {
  it('is x w^T + bias', () => {
    const x = Float64Array.of(1, 2, 3, 4)
    const w = Float64Array.of(1, 0, 0, 1, 2, -1)
    const { y, z } = linear({ x, w, bias: Float64Array.of(10, -20, 30), rows: 2, K: 2, N: 3, act: 'relu' })
    expect([...z]).toEqual([11, -18, 30, 13, -16, 32])
    expect([...y]).toEqual([11, 0, 30, 13, 0, 32])
  })

  const shapes: [number, number, number][] = [
    [1, 1, 1],
    [1, 7, 3],
    [5, 2, 11],
    [13, 3, 1],
  ]
  it.each(shapes.flatMap((shape) => ACTIVATIONS.map((act) => [...shape, act] as const)))(
    'backward at [%i, %i] x [%i], %s',
    (rows, K, N, act) => {
      const x = uniform(rows * K, 1)
      const w = uniform(N * K, 2)
      // so that relu lets something through; laplace would be 1 there, where differences see no slope
      const bias = uniform(N, 3).map((b) => b + (act === 'laplace' ? 0.5 : 1.5))
      const dy = uniform(rows * N, 4)
      const f = () => dot(dy, linear({ x, w, bias, rows, K, N, act }).y)
      const { z } = linear({ x, w, bias, rows, K, N, act })
      const { dz } = activationBackward({ dy, z, act })
      const { dx, dw, dbias } = linearBackward({ dy: dz, x, w, rows, K, N })
      expectGradient(dx, x, f)
      expectGradient(dw, w, f)
      expectGradient(dbias, bias, f)
    },
  )

  it('goes without a bias', () => {
    const [x, w] = [uniform(6, 1), uniform(8, 2)]
    const { z } = linear({ x, w, rows: 3, K: 2, N: 4 })
    const { z: zero } = linear({ x, w, bias: new Float64Array(4), rows: 3, K: 2, N: 4 })
    expect(distance(z, zero)).toBe(0)
  })
})
