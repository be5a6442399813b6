import { describe, expect, it } from 'vitest'
import { dot, expectGradient, uniform } from './numerics.ts'
import { prelu, preluBackward, xielu, xieluBackward } from './parametric-activation.ts'

const close = (got: ArrayLike<number>, want: readonly number[]) => {
  expect(got.length).toBe(want.length)
  for (const [i, value] of want.entries())
    expect(Math.abs(got[i] - value), `element ${i}: ${got[i]}`).toBeLessThanOrEqual(
      1e-14 * Math.max(1, Math.abs(value)),
    )
}

/** XIELUActivation().eps: -1e-6 in bfloat16. */
const EPS = -9.98377799987793e-7

// torch 2.13, transformers 5.18: m = ACT2FN[name].double() with its parameters filled; y = m(z); (y * dy).sum().backward()
describe('the values and gradients of ACT2FN:', () => {
  const z = [-1e4, -3, -0.5, -1e-7, 0, 0.25, 2]
  const dy = [0, 1, -2, 0.5, 1, 1.5, -0.75]

  it('prelu, weight -0.3', () => {
    const at = { z: Float64Array.from(z), weight: -0.3 }
    close(prelu(at), [3000, 0.9, 0.15, 3e-8, -0, 0.25, 2])
    const { dz, dweight } = preluBackward({ ...at, dy: Float64Array.from(dy) })
    close(dz, [0, -0.3, 0.6, -0.15, -0.3, 1.5, -0.75])
    close([dweight], [-2.00000005])
  })

  it('xielu, alphas 0.7 and -0.4', () => {
    const at = { z: Float64Array.from([...z, EPS]), alphaP: 0.7, alphaN: -0.4, beta: 0.5, eps: EPS }
    const y = [5129.1395087471265, 0.576465564428831, -0.14208281686287316, -9.600699089396706e-7]
    close(xielu(at), [...y, -1.0113714341796657e-6, 0.19394912805534112, 5.412744195541832, -4.991883951284187e-7])
    const { dz, dalphaP, dalphaN } = xieluBackward({ ...at, dy: Float64Array.from([...dy, 1]) })
    const slopes = [0, -0.4625801927710273, -0.20281911387430096, -0.25650762619997636, -0.5130152523999527]
    close(dz, [...slopes, 1.5773895366640933, -3.6845581466563733, -0.006508131885693436])
    close([dalphaP, dalphaN], [-1.9419207128637328, 0.7371001271139832])
  })
})

describe('backward by central differences of', () => {
  const z = uniform(41, 1).map((x) => 4 * x)
  const dy = uniform(41, 2)

  it('prelu', () => {
    const weight = Float64Array.of(0.3)
    const loss = () => dot(dy, prelu({ z, weight: weight[0] }))
    const { dz, dweight } = preluBackward({ dy, z, weight: weight[0] })
    expectGradient(dz, z, loss)
    expectGradient(Float64Array.of(dweight), weight, loss)
  })

  it('xielu', () => {
    const alphas = Float64Array.of(0.3, -0.8)
    const at = () => ({ z, alphaP: alphas[0], alphaN: alphas[1], beta: 0.5, eps: EPS })
    const loss = () => dot(dy, xielu(at()))
    const { dz, dalphaP, dalphaN } = xieluBackward({ dy, ...at() })
    expectGradient(dz, z, loss)
    expectGradient(Float64Array.of(dalphaP, dalphaN), alphas, loss)
  })
})
