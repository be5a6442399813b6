// What the tests of the reference share: random values, central differences, and one measure of distance.
import { expect } from 'vitest'
import { philox4x32 } from './philox.ts'

/** Values in [-1, 1), the same for the same seed on every machine. */
export function uniform(count: number, seed: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => philox4x32([i, 0, 0, 0], [seed, 0])[0] / 2 ** 31 - 1)
}

/** Integers in [0, limit). */
export function integers(count: number, limit: number, seed: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => philox4x32([i, 1, 0, 0], [seed, 0])[0] % limit)
}

export const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i], 0)

function norm(a: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] ** 2
  return Math.sqrt(sum)
}

/** L2 distance relative to the wanted values' norm. */
export function distance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY
  return norm(Float64Array.from(got, (value, i) => value - want[i])) / Math.max(norm(want), 1e-30)
}

/** df/dx for every element of x by central differences; f reads x, which is moved in place and put back. */
export function numericalGradient(x: Float64Array, f: () => number, h = 1e-5): Float64Array {
  return Float64Array.from(x, (value, i) => {
    x[i] = value + h
    const above = f()
    x[i] = value - h
    const below = f()
    x[i] = value
    return (above - below) / (2 * h)
  })
}

/** Holds a gradient to its central differences, whose own error is about h^2 and 1e-16 / h. */
export function expectGradient(got: Float64Array, x: Float64Array, f: () => number): void {
  const want = numericalGradient(x, f)
  expect(got.length).toBe(want.length)
  expect(norm(want)).toBeGreaterThan(0)
  expect(distance(got, want)).toBeLessThan(1e-7)
}
