import { describe, expect, it } from 'vitest'
import { dropout, keepBytes } from './dropout.ts'
import { dot, expectGradient, uniform } from './numerics.ts'
import { philoxKeep } from './philox.ts'

const key = { seed: 9, step: 4, microStep: 1, site: 2 }

describe('dropout', () => {
  it('scales what is kept and clears the rest', () => {
    const keep = keepBytes([1, 0, 0, 1, 1, 1], 3)
    const { y } = dropout({ x: Float64Array.of(1, 2, 3, 4, 5, 6), rows: 2, H: 3, p: 0.5, keep })
    expect([...y]).toEqual([2, 0, 0, 8, 10, 12])
  })

  it('is its own adjoint, and nothing at p = 0', () => {
    const [rows, H, p] = [3, 131, 0.3]
    const keep = philoxKeep(key, p)
    const x = uniform(rows * H, 1)
    const dy = uniform(rows * H, 2)
    expectGradient(dropout({ x: dy, rows, H, p, keep }).y, x, () => dot(dy, dropout({ x, rows, H, p, keep }).y))
    expect([...dropout({ x, rows, H }).y]).toEqual([...x])
  })

  it('refuses p without a mask', () => {
    expect(() => dropout({ x: uniform(1, 1), rows: 1, H: 1, p: 0.1 })).toThrow(/mask/)
  })
})
