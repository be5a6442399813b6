// The activations over a dense sweep, and with them the elementary functions of native/cpu/math.inl: exp (the left tail of sigmoid is e^z),
// tanh, and the normal distribution function (gelu).
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { type ActivationName, Row } from '../../src/graph/op-table.ts'
import { ACTIVATIONS, activation, activationBackward, laplaceArgument } from '../reference/activation.ts'
import { expectSame, expectWithin, type Open, Random, runRecord, u } from './harness.ts'

/** What |error| is at most, in units of u, for argument z and the true result. */
interface Bound {
  readonly value: (z: number, want: number) => number
  readonly slope: (z: number, want: number) => number
}

/** The normal distribution function is 0.5 plus a polynomial for |z| < sqrt 2, relative in its tail. */
const GELU_NEAR = 1.5

// Relative where the function is. e^-x^2/2 and e^1.702z take a rounded exponent, whose error the exponential multiplies by its size; the
// tanh forms subtract from 1, so their tails are right absolutely; so are all slopes, which lie between -0.2 and 1.2.
const tanhForm: Bound = { value: (z) => 4 * Math.abs(z), slope: () => 14 }
const geluForm: Bound = {
  value: (z, want) => (Math.abs(z) < GELU_NEAR ? 4 * Math.abs(z) : (z < 0 ? 6 + z * z : 4) * Math.abs(want)),
  slope: (z, want) => (Math.abs(z) < GELU_NEAR ? 6 : (6 + z * z) * Math.abs(want)),
}
const BOUNDS: Record<ActivationName, Bound> = {
  linear: { value: () => 0, slope: () => 0 },
  relu: { value: () => 0, slope: () => 0 },
  gelu: geluForm,
  gelu_10: geluForm,
  gelu_new: tanhForm,
  gelu_fast: tanhForm,
  quick_gelu: {
    value: (z, want) => (6 + Math.max(0, -5 * z)) * Math.abs(want),
    slope: () => 20,
  },
  silu: { value: (_, want) => 6 * Math.abs(want), slope: (z) => 6 + 1.5 * Math.min(20, Math.abs(z)) },
  // tanh at most 2 ulp (an ulp is up to 2 u)
  tanh: { value: (_, want) => 4 * Math.abs(want), slope: () => 4 },
  // e^-z at most 2 ulp, a sum and a quotient
  sigmoid: { value: (_, want) => 6 * Math.abs(want), slope: () => 2 },
  hardswish: { value: (_, want) => 4 * Math.abs(want), slope: () => 2 },
  // the argument's rounding, 2 u, is multiplied by its size in the exponent
  laplace: {
    value: (z, want) => (8 + 4 * laplaceArgument(z) ** 2) * want,
    slope: (z, want) => (8 + 4 * laplaceArgument(z) ** 2) * want,
  },
  // 0.01 in float32, and a product
  leaky_relu: { value: (_, want) => 2 * Math.abs(want), slope: (_, want) => want },
  mish: { value: (_, want) => 12 * Math.abs(want), slope: () => 16 },
  relu2: { value: (_, want) => want, slope: () => 0 },
  relu6: { value: () => 0, slope: () => 0 },
  sqrtsoftplus: { value: (_, want) => 8 * want, slope: (_, want) => 12 * want },
}

/** Below the least normal number a result has lost its digits, and may be 0. */
const floor = (z: number): number => Math.max(1, Math.abs(z)) * 2 ** -126

/** [-20, 20] in steps of 1/2000, and 20,000 random bit patterns between -89 and 89: every exponent. */
function sweep(): Float64Array {
  const random = new Random(1)
  const dense = Array.from({ length: 80_000 }, (_, i) => Math.fround((i - 40_000) / 2000 + 1e-5))
  const patterns = new Float32Array(Int32Array.from({ length: 20_000 }, () => random.word()).buffer)
  return Float64Array.from([...dense, ...patterns.filter((z) => Math.abs(z) <= 89)])
}

const SPECIAL = [0, -0, 1e-45, -1e-45, 2 ** -126, -(2 ** -126), 100, -100, 1e10, -1e10]
const EXTREME = [3e38, -3e38, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]

/** act(z) of each element: a product of 1 and the row of a weight is z itself. */
async function values(backend: Backend, z: Float64Array, act: ActivationName): Promise<Float32Array> {
  const outputs = await runRecord(backend, {
    op: 'linear',
    operands: { x: Float64Array.of(1), w: z },
    attributes: { rows: Row.tokens, K: 1, N: z.length, act },
    rows: { tokens: 1 },
  })
  return outputs.y
}

/** dz, and y, the activation again. */
async function slopes(backend: Backend, dy: Float64Array, z: Float64Array, act: ActivationName) {
  const run = {
    op: 'activationBackward',
    attributes: { rows: Row.tokens, N: z.length, act },
    rows: { tokens: 1 },
  } as const
  const { dz, y } = await runRecord(backend, { ...run, operands: { dy, z } })
  const alone = await runRecord(backend, { ...run, operands: { dy, z }, absent: ['y'] })
  expectSame(`${act}: dz alone`, alone.dz, dz)
  const inPlace = await runRecord(backend, { ...run, operands: { dy, z }, inPlace: { dz: 'dy' } })
  expectSame(`${act}: dz on dy`, inPlace.dz, dz)
  expectSame(`${act}: y, with dz on dy`, inPlace.y, y)
  return { dz, y }
}

function expectKind(what: string, got: Float32Array, want: Float64Array, z: Float64Array): void {
  z.forEach((argument, i) => {
    const right = Math.fround(want[i]) // relu2 of 3e38 is infinite in float32
    const same = Number.isFinite(right)
      ? Math.abs(got[i] - right) <= 1e-6 * Math.abs(right) + 1e-30
      : Object.is(got[i], right)
    if (!same) expect.fail(`${what}(${argument}) is ${got[i]}, expected ${right}`)
  })
}

export function activations(open: Open): void {
  describe('activations', () => {
    const backend = open()
    const z = sweep()
    const ones = new Float64Array(z.length).fill(1)

    it.each(ACTIVATIONS)('%s and its slope stay within their bounds', async (act) => {
      const { value, slope } = BOUNDS[act]
      const want = activation(act, z)
      expectWithin(act, await values(backend, z, act), want, (i) => value(z[i], want[i]) * u + floor(z[i]))
      const { dz } = activationBackward({ dy: ones, z, act })
      const got = await slopes(backend, ones, z, act)
      expectWithin(`${act}'`, got.dz, dz, (i) => slope(z[i], dz[i]) * u + floor(z[i]))
      expectWithin(`${act} again`, got.y, want, (i) => value(z[i], want[i]) * u + floor(z[i]))
    })

    it.each(ACTIVATIONS)('%s of zeros, the least, the largest, infinities and NaN', async (act) => {
      const all = Float64Array.from([...SPECIAL, ...EXTREME])
      expectKind(act, await values(backend, all, act), activation(act, all), all)
      // 3e38 overflows inside some slopes, as in float32 everywhere; relu passes a gradient at NaN, as PyTorch's does
      const tame = Float64Array.from(act === 'relu' ? SPECIAL : [...SPECIAL, ...EXTREME.slice(2)])
      const dy = new Float64Array(tame.length).fill(1)
      const got = await slopes(backend, dy, tame, act)
      expectKind(`${act}'`, got.dz, activationBackward({ dy, z: tame, act }).dz, tame)
      expectKind(`${act} again`, got.y, activation(act, tame), tame)
    })

    it.each([1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 127, 16383, 16384, 16385])('%i elements', async (length) => {
      const random = new Random(length)
      const [dy, x] = [random.reals(length), random.reals(length, 3)]
      const want = activationBackward({ dy, z: x, act: 'gelu' }).dz
      const { dz, y } = await slopes(backend, dy, x, 'gelu')
      expectWithin('dz', dz, want, () => 8 * u)
      expectWithin('y', y, activation('gelu', x), () => 8 * u)
    })
  })
}
