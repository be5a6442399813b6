// prelu and xielu over a sweep of values, shapes that are odd, and their sums whatever the number of threads.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { Row } from '../../src/graph/op-table.ts'
import { prelu, preluBackward, type Xielu, xielu, xieluBackward } from '../reference/parametric-activation.ts'
import { expectSame, expectWithin, type Open, Random, runRecord, u } from './harness.ts'

const f32 = (values: Float64Array): Float32Array => Float32Array.from(values)
const EPS = Math.fround(-9.98377799987793e-7)

type XieluNumbers = Omit<Xielu, 'z'>
const USUAL: XieluNumbers = { alphaP: Math.fround(0.2), alphaN: Math.fround(-1.05), beta: 0.5, eps: EPS }

const operandsOf = ({ alphaP, alphaN, beta, eps }: XieluNumbers) => ({
  alphaP: Float64Array.of(alphaP),
  alphaN: Float64Array.of(alphaN),
  beta: Float64Array.of(beta),
  eps: Float64Array.of(eps),
})

interface Problem {
  readonly z: Float64Array
  readonly dy: Float64Array
  readonly rows: number
  readonly N: number
}

function problem(random: Random, rows: number, N: number, scale = 3): Problem {
  return { z: random.reals(rows * N, scale), dy: random.reals(rows * N), rows, N }
}

/** Sums of float32 over at most 4096 terms, and of float64 beyond: relative to the sum of the sizes of the terms. */
const sumBound = (dy: Float64Array, terms: (z: number) => number, z: Float64Array): number =>
  200 * u * dy.reduce((sum, gradient, i) => sum + Math.abs(gradient * terms(z[i])), 0) + 1e-30

/** [gradient's start, accumulate, ACCUMULATE of the run]: overwritten, added to always, added to in a later micro-step. */
const ADDING = [
  { before: 0, accumulate: false, later: 0 },
  { before: 2, accumulate: true, later: 0 },
  { before: -3, accumulate: false, later: 1 },
]

async function checkPrelu(backend: Backend, { z, dy, rows, N }: Problem, weight: number, index: number) {
  const what = `prelu ${rows} x ${N}`
  const run = { rows: { tokens: rows } }
  const attributes = { rows: Row.tokens, N }
  const parameters = { weight: Float64Array.of(weight) }
  const { y } = await runRecord(backend, { ...run, op: 'prelu', operands: { z, ...parameters }, attributes })
  expectSame(what, y, f32(prelu({ z, weight })))
  const want = preluBackward({ dy, z, weight })
  const backward = { ...run, op: 'preluBackward', operands: { dy, z, ...parameters }, attributes } as const
  const { dz } = await runRecord(backend, backward)
  expectSame(`${what}: dz`, dz, f32(want.dz))
  expectSame(`${what}: in place`, (await runRecord(backend, { ...backward, inPlace: { dz: 'dy' } })).dz, dz)
  const { before, accumulate, later } = ADDING[index % 3]
  const { dweight } = await runRecord(backend, {
    ...run,
    op: 'preluBackwardWeight',
    operands: { dy, z, dweight: Float64Array.of(before) },
    attributes: { ...attributes, accumulate },
    scalars: { accumulate: later },
  })
  const bound = sumBound(dy, (x) => Math.min(x, 0), z) + 4 * u * (Math.abs(before) + Math.abs(want.dweight))
  expectWithin(`${what}: dweight`, dweight, [before + want.dweight], () => bound)
}

async function checkXielu(backend: Backend, { z, dy, rows, N }: Problem, numbers: XieluNumbers, index: number) {
  const what = `xielu ${rows} x ${N}`
  const run = { rows: { tokens: rows } }
  const attributes = { rows: Row.tokens, N }
  const { beta, ...alphasAndEps } = operandsOf(numbers)
  const all = { z, ...alphasAndEps, beta }
  const forward = { ...run, op: 'xielu', operands: all, attributes } as const
  const { y } = await runRecord(backend, forward)
  // terms of other signs where z is negative, which cancel: relative to their sizes, at most 2 |z|, 4 z^2 and, above eps, 2 |eps|
  expectWithin(
    what,
    y,
    xielu({ z, ...numbers }),
    (i) => 8 * u * (2 * Math.max(Math.abs(z[i]), -numbers.eps) + 4 * z[i] ** 2),
  )
  expectSame(`${what}: in place`, (await runRecord(backend, { ...forward, inPlace: { y: 'z' } })).y, y)
  const want = xieluBackward({ dy, z, ...numbers })
  const backward = { ...run, op: 'xieluBackward', operands: { dy, ...all }, attributes } as const
  const { dz } = await runRecord(backend, backward)
  expectWithin(`${what}: dz`, dz, want.dz, (i) => 8 * u * Math.abs(dy[i]) * (2 + 4 * Math.abs(z[i])))
  expectSame(`${what}: in place`, (await runRecord(backend, { ...backward, inPlace: { dz: 'dy' } })).dz, dz)
  const { before, accumulate, later } = ADDING[index % 3]
  const absent = [[], ['dalphaP'], ['dalphaN']][index % 3]
  const start = { dalphaP: Float64Array.of(before), dalphaN: Float64Array.of(2 * before) }
  const got = await runRecord(backend, {
    ...run,
    op: 'xieluBackwardWeight',
    operands: { dy, z, ...alphasAndEps, ...start },
    attributes: { ...attributes, accumulate },
    scalars: { accumulate: later },
    absent,
  })
  for (const name of ['dalphaP', 'dalphaN'] as const) {
    if (absent.includes(name)) continue
    const terms = (x: number) => (name === 'dalphaP' ? Math.max(x, 0) ** 2 : Math.max(-x, 0))
    const bound = sumBound(dy, terms, z) + 4 * u * (Math.abs(start[name][0]) + Math.abs(want[name]))
    expectWithin(`${what}: ${name}`, got[name], [start[name][0] + want[name]], () => bound)
  }
}

export function parametricActivations(open: Open): void {
  describe('parametric activations', () => {
    const backend = open()
    const shapes = [1, 2, 3, 5, 8, 17, 64, 131].flatMap((rows) => [1, 7, 16, 33, 768].map((N) => [rows, N] as const))

    it('prelu, forward and backward', async () => {
      const random = new Random(3)
      for (const [i, [rows, N]] of shapes.entries())
        await checkPrelu(backend, problem(random, rows, N), random.reals(1)[0], i)
    })

    it('xielu, forward and backward', async () => {
      const random = new Random(4)
      for (const [i, [rows, N]] of shapes.entries()) {
        const [alphaP, alphaN, beta] = random.reals(3)
        await checkXielu(backend, problem(random, rows, N), { alphaP, alphaN, beta, eps: EPS }, i)
      }
    })

    it('xielu of small, large and special values', async () => {
      const sweep = Array.from({ length: 4000 }, (_, i) => Math.fround((i - 2000) / 100 + 1e-5))
      const small = Array.from({ length: 60 }, (_, i) => [Math.fround(1.5 ** -i), Math.fround(-(1.5 ** -i))]).flat()
      const z = Float64Array.from([...sweep, ...small, EPS, 0, -0, -1, -89, -1e4, 89, 1e4])
      const dy = z.map(() => 1)
      await checkXielu(backend, { z, dy, rows: 1, N: z.length }, USUAL, 0)
      const nan = { z: Float64Array.of(Number.NaN, 1), dy: Float64Array.of(1, 1), ...operandsOf(USUAL) }
      const { dy: _, ...operands } = nan
      const run = { rows: { tokens: 1 }, attributes: { rows: Row.tokens, N: 2 } }
      expect((await runRecord(backend, { ...run, op: 'xielu', operands })).y[0]).toBeNaN()
      expect((await runRecord(backend, { ...run, op: 'xieluBackward', operands: nan })).dz[0]).toBeNaN()
    })

    it('alphas of any size', async () => {
      const random = new Random(5)
      for (const alpha of [-120, -30, 25, 90]) {
        const { z, dy, rows, N } = problem(random, 3, 50)
        const numbers = { ...USUAL, alphaP: alpha, alphaN: alpha }
        const { beta, ...rest } = operandsOf(numbers)
        const run = { rows: { tokens: rows } }
        const operands = { z, ...rest, beta }
        const { y } = await runRecord(backend, { ...run, op: 'xielu', operands, attributes: { rows: Row.tokens, N } })
        expectWithin(`alpha ${alpha}`, y, xielu({ z, ...numbers }), (i) => 8 * u * Math.max(1, alpha) * (2 + z[i] ** 2))
        const got = await runRecord(backend, {
          ...run,
          op: 'xieluBackwardWeight',
          operands: { dy, z, ...rest },
          attributes: { rows: Row.tokens, N, accumulate: false },
        })
        const want = xieluBackward({ dy, z, ...numbers })
        for (const name of ['dalphaP', 'dalphaN'] as const)
          expectWithin(`alpha ${alpha}: ${name}`, got[name], [want[name]], () => 1e-5 * Math.abs(want[name]) + 1e-44)
      }
    })

    it('sums with the same bits for any number of threads, and 0 over no rows', async () => {
      const [rows, N] = [67, 1031]
      const { z, dy } = problem(new Random(6), rows, N)
      const { beta: _, ...parameters } = operandsOf(USUAL)
      const attributes = { rows: Row.tokens, N, accumulate: false }
      const sums = async (backend: Backend, count: number) => {
        const part = { z: z.slice(0, count * N), dy: dy.slice(0, count * N) }
        const run = { rows: { tokens: count }, attributes }
        const { dweight } = await runRecord(backend, { ...run, op: 'preluBackwardWeight', operands: part })
        const operands = { ...part, ...parameters }
        const { dalphaP, dalphaN } = await runRecord(backend, { ...run, op: 'xieluBackwardWeight', operands })
        return Float32Array.of(dweight[0], dalphaP[0], dalphaN[0])
      }
      const want = await sums(open({ threads: 1 }), rows)
      for (const threads of [2, 4, 7]) expectSame(`${threads} threads`, await sums(open({ threads }), rows), want)
      expect([...(await sums(backend, 0))]).toEqual([0, 0, 0])
    })
  })
}
