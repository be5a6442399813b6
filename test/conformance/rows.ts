// Ops that treat each row alone: embedding, dropout, layer_norm, gather_rows.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { Row } from '../../src/graph/op-table.ts'
import { dropout } from '../reference/dropout.ts'
import { embedding, embeddingBackward } from '../reference/embedding.ts'
import { layerNorm, layerNormBackward, layerNormBackwardWeight } from '../reference/layer-norm.ts'
import { philoxKeep } from '../reference/philox.ts'
import { gatherRows, gatherRowsBackward } from '../reference/pooling.ts'
import { expectClose, expectSame, expectWithin, norm, type Open, Random, runRecord, u } from './harness.ts'

const WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67, 127, 128, 129, 257, 768]
const COUNTS = [1, 2, 3, 5, 17, 63, 64, 65, 67, 128, 131]
const SHAPES = 120

/** (rows, width): every width, then random pairs. */
function shapes(random: Random): [number, number][] {
  const systematic = WIDTHS.map((H): [number, number] => [random.pick(COUNTS), H])
  const rest = Array.from({ length: SHAPES }, (): [number, number] => [random.pick(COUNTS), random.pick(WIDTHS)])
  return [...systematic, ...rest].filter(([rows, H]) => rows * H <= 40_000)
}

// rounded as a record's attribute is, so that kernel and reference scale by the same number
const P = Math.fround(0.1)
const KEY = { seed: 7, step: 3, microStep: 1 }
const SITE = -123456789
const scalars = { ...KEY }
const keep = philoxKeep({ ...KEY, site: SITE }, P)

const f32 = (values: Float64Array): Float32Array => Float32Array.from(values)
const rounded = (values: Float64Array): Float64Array => values.map(Math.fround)

async function checkEmbedding(backend: Backend, random: Random, rows: number, H: number, index: number) {
  const [V, Y, P] = [random.pick([1, 2, 11, 300]), 2, 70]
  const ids = random.integers(rows, V)
  const [typeIds, positionIds] = [random.integers(rows, Y), random.integers(rows, P)]
  const [word, type, position] = [random.reals(V * H), random.reals(Y * H), random.reals(P * H)]
  const run = { rows: { tokens: rows } }
  const { y } = await runRecord(backend, {
    ...run,
    op: 'embedding',
    operands: { ids, typeIds, positionIds, word, type, position },
    attributes: { rows: Row.tokens, H, V, Y, P },
  })
  const want = embedding({ ids, typeIds, positionIds, word, type, position, rows, H })
  // three terms below 1, two sums
  expectWithin(`embedding ${rows} x ${H}`, y, want.y, () => 5 * u)

  const [always, later] = [(index & 1) === 1, (index & 2) === 2]
  const paddingIdx = index & 4 ? ids[0] : -1
  // whole numbers: their sums are exact
  const [dy, before] = [random.whole(rows * H, -8, 8), random.whole(V * H, -8, 8)]
  const { dtable } = await runRecord(backend, {
    ...run,
    op: 'embeddingBackward',
    operands: { ids, dy, ...(always || later ? { dtable: before } : {}) },
    attributes: { rows: Row.tokens, H, V, paddingIdx, accumulate: always },
    scalars: { accumulate: later ? 1 : 0 },
  })
  const gradient = embeddingBackward({ ids, dy, rows, H, V, paddingIdx }).dtable
  const total = always || later ? gradient.map((value, i) => value + before[i]) : gradient
  expectWithin(`embedding_backward ${rows} x ${H}, padding ${paddingIdx}`, dtable, total, () => 0)
}

async function checkDropout(backend: Backend, random: Random, rows: number, H: number, index: number) {
  const x = random.reals(rows * H).map((value) => value || 1)
  const run = {
    op: 'dropout',
    operands: { x },
    attributes: { rows: Row.tokens, H, p: P, site: SITE },
    rows: { tokens: rows },
    scalars,
  } as const
  const { y } = await runRecord(backend, index % 2 ? run : { ...run, inPlace: { y: 'x' } })
  const want = dropout({ x, rows, H, p: P, keep }).y
  // 1 - p, its quotient, and a product
  expectWithin(`dropout ${rows} x ${H}`, y, want, (i) => 4 * u * Math.abs(want[i]))
  const none = await runRecord(backend, { ...run, attributes: { ...run.attributes, p: 0 } })
  expectSame(`dropout ${rows} x ${H}, p = 0`, none.y, f32(x))
}

async function checkLayerNorm(backend: Backend, random: Random, rows: number, H: number, index: number) {
  const p = index & 1 ? P : 0
  const what = `layer_norm ${rows} x ${H}, variant ${index & 7}`
  const x = random.reals(rows * H)
  const residual = index & 2 ? random.reals(rows * H) : undefined
  const [gamma, beta] = [random.reals(H), random.reals(H)]
  const eps = Math.fround(1e-5)
  const run = { rows: { tokens: rows }, scalars }
  const got = await runRecord(backend, {
    ...run,
    op: 'layerNorm',
    operands: { x, residual, gamma, beta },
    attributes: { rows: Row.tokens, H, eps, p, site: SITE },
    ...(index & 4 ? { inPlace: { sum: 'x' } } : {}),
  })
  const want = layerNorm({ x, residual, gamma, beta, rows, H, eps, p, keep })
  // |x| / (1 - p) + |residual| < 2.2, five roundings at most
  expectWithin(`${what}: sum`, got.sum, want.sum, () => 8 * u)
  // from here on what the kernel itself saved is the input, rounding for rounding
  const sum = Float64Array.from(got.sum)
  const saved = layerNorm({ x: sum, gamma, beta, rows, H, eps })
  const size = norm(sum) / Math.sqrt(rows * H)
  expectWithin(`${what}: mean`, got.mean, saved.mean, () => 2 * (H + 1) * u * 2.2)
  expectClose(`${what}: rstd`, got.rstd, saved.rstd, 1e-6 * Math.max(1, size * Math.max(...saved.rstd)))
  // y subtracts the mean from sums of any size: relative to |gamma| rstd |sum| + |beta|
  const terms = saved.y.map(
    (_, i) => Math.abs(gamma[i % H]) * saved.rstd[Math.floor(i / H)] * 2 * size + Math.abs(beta[i % H]),
  )
  expectClose(`${what}: y`, got.y, saved.y, 1e-6, norm(terms))
}

async function checkLayerNormBackward(backend: Backend, random: Random, rows: number, H: number, index: number) {
  const p = index & 1 ? P : 0
  const add = (index & 2) === 2
  const what = `layer_norm_backward ${rows} x ${H}, variant ${index & 15}`
  const [dy, x, gamma, beta] = [random.reals(rows * H), random.reals(rows * H), random.reals(H), random.reals(H)]
  const forward = layerNorm({ x, gamma, beta, rows, H, eps: 1e-2 })
  const [sum, mean, rstd] = [x, rounded(forward.mean), rounded(forward.rstd)]
  const before = random.reals(rows * H)
  const absent = index & 4 ? ['dx'] : index & 8 ? ['dresidual'] : []
  const run = { rows: { tokens: rows }, scalars }
  const got = await runRecord(backend, {
    ...run,
    op: 'layerNormBackward',
    operands: { dy, sum, mean, rstd, gamma, ...(add ? { dresidual: before } : {}) },
    attributes: { rows: Row.tokens, H, p, site: SITE, add },
    absent,
  })
  const want = layerNormBackward({ dy, sum, mean, rstd, gamma, rows, H, p, keep })
  // three terms that cancel when H is small: relative to rstd |g| and what is subtracted from it
  const terms = dy.map((value, i) => rstd[Math.floor(i / H)] * (Math.abs(value * gamma[i % H]) + 1 / 3))
  if (!absent.includes('dx')) expectClose(`${what}: dx`, got.dx, want.dx, 1e-6, norm(terms))
  if (!absent.includes('dresidual')) {
    const total = add ? want.dresidual.map((value, i) => value + before[i]) : want.dresidual
    expectClose(`${what}: dresidual`, got.dresidual, total, 1e-6, norm(terms) + (add ? norm(before) : 0))
  }

  const [always, later] = [(index & 2) === 2, (index & 4) === 4]
  const old = { dgamma: random.reals(H), dbeta: random.reals(H) }
  const weight = await runRecord(backend, {
    ...run,
    op: 'layerNormBackwardWeight',
    operands: { dy, sum, mean, rstd, ...(always || later ? old : {}) },
    attributes: { rows: Row.tokens, H, accumulate: always },
    scalars: { ...scalars, accumulate: later ? 1 : 0 },
  })
  const wantWeight = layerNormBackwardWeight({ dy, sum, mean, rstd, rows, H })
  for (const name of ['dgamma', 'dbeta'] as const) {
    const total = wantWeight[name].map((value, i) => value + (always || later ? old[name][i] : 0))
    // |dy| < 1 and |n| < 4: sums of `rows` terms
    expectWithin(`${what}: ${name}`, weight[name], total, () => 2 * (rows + 3) * u * 4 * Math.sqrt(rows))
  }
}

async function checkGather(backend: Backend, random: Random, from: number, H: number, index: number) {
  const to = random.pick([1, 2, from, 2 * from])
  const picks = random.integers(to, from)
  const x = random.reals(from * H)
  const rows = { tokens: from, sequences: to }
  const attributes = { from: Row.tokens, to: Row.sequences, H }
  const { y } = await runRecord(backend, { op: 'gatherRows', operands: { x, index: picks }, attributes, rows })
  expectSame(`gather_rows ${from} x ${H}`, y, f32(gatherRows({ x, index: picks, H }).y))
  const add = index % 2 === 1
  const [dy, before] = [random.whole(to * H, -8, 8), random.whole(from * H, -8, 8)]
  const { dx } = await runRecord(backend, {
    op: 'gatherRowsBackward',
    operands: { dy, index: picks, ...(add ? { dx: before } : {}) },
    attributes: { ...attributes, add },
    rows,
  })
  const want = gatherRowsBackward({ dy, index: picks, from, H }).dx
  const total = add ? want.map((value, i) => value + before[i]) : want
  expectWithin(`gather_rows_backward ${from} x ${H}, add ${add}`, dx, total, () => 0)
}

export function rows(open: Open): void {
  describe('rows', () => {
    const backend = open()
    const checks = {
      embedding: checkEmbedding,
      dropout: checkDropout,
      layerNorm: checkLayerNorm,
      layerNormBackward: checkLayerNormBackward,
      gatherRows: checkGather,
    }
    it.each(Object.keys(checks) as (keyof typeof checks)[])('%s, forward and backward', async (name) => {
      const random = new Random(11)
      let index = 0
      for (const [count, H] of shapes(random)) await checks[name](backend, random, count, H, index++)
    })

    it('layer_norm keeps its digits where the mean is ten times the deviation', async () => {
      const [count, H] = [5, 768]
      const random = new Random(5)
      const x = random.reals(count * H, 0.5).map((value) => Math.fround(value + 3))
      const [gamma, beta] = [new Float64Array(H).fill(1), new Float64Array(H)]
      const { y } = await runRecord(backend, {
        op: 'layerNorm',
        operands: { x, gamma, beta },
        attributes: { rows: Row.tokens, H, eps: 1e-12, p: 0, site: 0 },
        rows: { tokens: count },
      })
      // the mean is known to some u of its size, ten deviations here; one pass over squares would leave 1e-4
      expectClose('y', y, layerNorm({ x, gamma, beta, rows: count, H, eps: 1e-12 }).y, 2e-6)
    })

    // every bit of the threshold, none of them, and what is behind the point
    it.each([0.004, 1 / 128, 0.1, 0.3, 0.37, 0.5, 0.66, 0.9, 0.999])(
      'dropout keeps what its draws say at p = %f',
      async (probability) => {
        const p = Math.fround(probability)
        const [count, H] = [150, 261]
        const x = new Float64Array(count * H).fill(1)
        const { y } = await runRecord(backend, {
          op: 'dropout',
          operands: { x },
          attributes: { rows: Row.tokens, H, p, site: 9 },
          rows: { tokens: count },
          scalars: KEY,
        })
        const keep = philoxKeep({ ...KEY, site: 9 }, p)
        const differs = y.findIndex((value, i) => (value !== 0) !== keep(Math.floor(i / H), i % H))
        expect(differs).toBe(-1)
      },
    )

    it('dropout draws other masks for another seed, step, micro-step and site', async () => {
      const [count, H] = [3, 200]
      const x = new Float64Array(count * H).fill(1)
      const masks = new Set<string>()
      for (const [changed, site] of [
        [{}, 1],
        [{ seed: 8 }, 1],
        [{ step: 4 }, 1],
        [{ microStep: 0 }, 1],
        [{}, 2],
      ] as const) {
        const key = { ...KEY, ...changed }
        const { y } = await runRecord(backend, {
          op: 'dropout',
          operands: { x },
          attributes: { rows: Row.tokens, H, p: 0.5, site },
          rows: { tokens: count },
          scalars: key,
        })
        expectSame('y', y, f32(dropout({ x, rows: count, H, p: 0.5, keep: philoxKeep({ ...key, site }, 0.5) }).y))
        masks.add(y.join())
      }
      expect(masks.size).toBe(5)
    })
  })
}
