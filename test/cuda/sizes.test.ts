// Rows as long as those of models and as many as a kernel cuts into pieces, which the conformance suite leaves out: each length that has a
// layout of its own on a GPU, in both types, with few rows in plans for many.
import { describe, expect, it } from 'vitest'
import type { FloatType } from '../../src/graph/graph.ts'
import { Row, Scalar } from '../../src/graph/op-table.ts'
import {
  expectClose,
  expectSame,
  expectWithin,
  norm,
  Random,
  runRecord,
  stored,
  u,
  uBfloat16,
} from '../conformance/harness.ts'
import { dropout } from '../reference/dropout.ts'
import { embedding, embeddingBackward } from '../reference/embedding.ts'
import { layerNorm, layerNormBackward, layerNormBackwardWeight } from '../reference/layer-norm.ts'
import { linear, linearBackward } from '../reference/linear.ts'
import { crossEntropy, crossEntropyBackward } from '../reference/loss.ts'
import { gradientNorm } from '../reference/optimizer.ts'
import { philoxKeep } from '../reference/philox.ts'
import { missing, openCuda } from './library.ts'

const P = Math.fround(0.1)
const scalars = { seed: 7, step: 3, microStep: 1 }
const SITE = -123456789
const keep = philoxKeep({ ...scalars, site: SITE }, P)
const TYPES: readonly FloatType[] = ['float32', 'bfloat16']
const roundoff = (type: FloatType) => (type === 'float32' ? 1e-6 : uBfloat16)

// around the borders between layouts of a row: 128 columns a warp's step, 512 a block's, in registers up to 4096
const WIDTHS = [1, 3, 4, 124, 128, 132, 384, 512, 640, 768, 1000, 1001, 1024, 1028, 2048, 2052, 4096, 4100, 5000, 5001]
const cases = TYPES.flatMap((type) => WIDTHS.map((H) => [type, H] as const))
/** As many rows as a batch may have, of which a run has few. */
const capacity = { tokens: 300 }

describe.skipIf(missing)(`sizes${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()

  it.each(cases)('layer_norm in %s over %i columns', async (type, H) => {
    const random = new Random(H)
    const reals = (count: number) => stored(random.reals(count), type)
    for (const [rows, p, residual] of [
      [1, 0, undefined],
      [9, P, true],
    ] as const) {
      const given = { x: reals(rows * H), residual: residual && reals(rows * H) }
      const [gamma, beta, eps] = [random.reals(H), random.reals(H), Math.fround(1e-5)]
      const record = {
        op: 'layerNorm',
        type,
        operands: { ...given, gamma, beta },
        attributes: { rows: Row.tokens, H, eps, p, site: SITE },
        rows: { tokens: rows },
        capacity,
        scalars,
      } as const
      const got = await runRecord(backend, record)
      const want = layerNorm({ ...given, gamma, beta, rows, H, eps, p, keep })
      expectClose('sum', got.sum, want.sum, roundoff(type))
      const sum = Float64Array.from(got.sum)
      const saved = layerNorm({ x: sum, gamma, beta, rows, H, eps })
      expectClose('mean', got.mean, saved.mean, 1e-6, Math.sqrt(rows))
      expectClose('rstd', got.rstd, saved.rstd, H < 4 ? 1e-3 : 2e-6)
      if (H >= 4) expectClose('y', got.y, saved.y, 2 * roundoff(type))
      const inPlace = await runRecord(backend, { ...record, inPlace: { sum: 'x' } })
      for (const name of ['sum', 'y', 'mean', 'rstd']) expectSame(`${name} in place`, inPlace[name], got[name])

      const [dy, before] = [reals(rows * H), reals(rows * H)]
      const statistics = {
        sum: stored(sum, type),
        mean: random.reals(rows, 0.1),
        rstd: random.reals(rows).map(Math.abs),
      }
      for (const add of [false, true]) {
        const back = await runRecord(backend, {
          op: 'layerNormBackward',
          type,
          operands: { dy, ...statistics, gamma, ...(add ? { dresidual: before } : {}) },
          attributes: { rows: Row.tokens, H, p, site: SITE, add },
          rows: { tokens: rows },
          capacity,
          scalars,
        })
        const gradient = layerNormBackward({ dy, ...statistics, gamma, rows, H, p, keep })
        const scale = norm(gradient.dresidual) + norm(dy) * Math.max(...statistics.rstd)
        expectClose('dx', back.dx, gradient.dx, roundoff(type), scale)
        const total = add ? gradient.dresidual.map((value, i) => value + before[i]) : gradient.dresidual
        expectClose('dresidual', back.dresidual, total, roundoff(type), scale + (add ? norm(before) : 0))
      }
    }
  })

  it.each([1, 63, 64, 65, 1000])('layer_norm sums the gradients of its weights over %i rows', async (rows) => {
    for (const [type, H] of [
      ['float32', 768],
      ['bfloat16', 768],
      ['bfloat16', 30],
      ['float32', 33],
    ] as const) {
      const random = new Random(rows)
      const operands = {
        dy: stored(random.reals(rows * H), type),
        sum: stored(random.reals(rows * H), type),
        mean: random.reals(rows, 0.1),
        rstd: random.reals(rows).map((value) => Math.fround(Math.abs(value) + 0.5)),
      }
      const want = layerNormBackwardWeight({ ...operands, rows, H })
      const record = {
        op: 'layerNormBackwardWeight',
        type,
        operands,
        attributes: { rows: Row.tokens, H, accumulate: false },
        rows: { tokens: rows },
      } as const
      const got = await runRecord(backend, record)
      for (const name of ['dgamma', 'dbeta'] as const) expectClose(name, got[name], want[name], 4 * u)
      // a plan for more rows gives the same bits
      const wider = await runRecord(backend, { ...record, capacity: { tokens: 3 * rows } })
      for (const name of ['dgamma', 'dbeta']) expectSame(name, wider[name], got[name])
    }
  })

  it.each(cases)('dropout in %s over %i columns', async (type, H) => {
    const rows = 5
    const x = stored(
      new Random(H).reals(rows * H).map((value) => value || 1),
      type,
    )
    const record = {
      op: 'dropout',
      type,
      operands: { x },
      attributes: { rows: Row.tokens, H, p: P, site: SITE },
      rows: { tokens: rows },
      capacity,
      scalars,
    } as const
    const { y } = await runRecord(backend, record)
    const want = dropout({ x, rows, H, p: P, keep }).y
    expectWithin('y', y, want, (i) => Math.abs(want[i]) * (type === 'float32' ? 4 * u : uBfloat16))
    expectSame('in place', (await runRecord(backend, { ...record, inPlace: { y: 'x' } })).y, y)
  })

  it.each(TYPES)('embedding in %s', async (type) => {
    const random = new Random(1)
    for (const H of [1, 5, 8, 384, 768, 1001]) {
      const [rows, V, Y, P] = [70, 40, 2, 60]
      const ids = {
        ids: random.integers(rows, V),
        typeIds: random.integers(rows, Y),
        positionIds: random.integers(rows, P),
      }
      const tables = { word: random.reals(V * H), type: random.reals(Y * H), position: random.reals(P * H) }
      const attributes = { rows: Row.tokens, H, V, Y, P }
      const run = { op: 'embedding', type, operands: { ...ids, ...tables }, attributes, capacity } as const
      const { y } = await runRecord(backend, { ...run, rows: { tokens: rows } })
      const want = embedding({ ...ids, ...tables, rows, H }).y
      expectWithin('y', y, want, (i) => 5 * u + (type === 'float32' ? 0 : uBfloat16 * Math.abs(want[i])))
    }
  })

  // chunks of 256 rows are put in order, windows of 32 are summed
  const tables = [1, 2, 31, 512, 5000]
  it.each(TYPES.flatMap((type) => tables.map((V) => [type, V] as const)))(
    'embedding_backward in %s, rows by the thousand in a table of %i',
    async (type, V) => {
      const random = new Random(V)
      for (const [rows, H] of [
        [0, 8],
        [31, 8],
        [32, 7],
        [33, 768],
        [255, 5],
        [256, 16],
        [257, 16],
        [1000, 9],
        [5000, 8],
      ]) {
        const dy = random.whole(rows * H, -3, 3)
        const before = random.whole(V * H, -8, 8)
        const uniform = random.integers(rows, V)
        const ascending = uniform.toSorted()
        const crowded = uniform.map((id) => (random.below(3) ? V - 1 : id))
        for (const [ids, paddingIdx, accumulate] of [
          [uniform, -1, false],
          [ascending, uniform[0] ?? -1, true],
          [crowded, 0, false],
          [crowded, V - 1, true],
        ] as const) {
          const record = {
            op: 'embeddingBackward',
            type,
            operands: { ids, dy, ...(accumulate ? { dtable: before } : {}) },
            attributes: { rows: Row.tokens, H, V, paddingIdx, accumulate },
            rows: { tokens: rows },
            capacity: { tokens: rows + 300 },
          } as const
          const { dtable } = await runRecord(backend, record)
          const want = embeddingBackward({ ids, dy, rows, H, V, paddingIdx }).dtable
          expectWithin(`${rows} x ${H}`, dtable, accumulate ? want.map((value, i) => value + before[i]) : want, () => 0)
        }
      }
    },
  )

  it('embedding_backward gives the same bits whatever the plan has room for', async () => {
    const [rows, H, V] = [1500, 12, 40]
    const random = new Random(8)
    const operands = { ids: random.integers(rows, V), dy: random.reals(rows * H) }
    const attributes = { rows: Row.tokens, H, V, paddingIdx: -1, accumulate: false }
    const run = { op: 'embeddingBackward', operands, attributes, rows: { tokens: rows } } as const
    const { dtable } = await runRecord(backend, run)
    expectClose('dtable', dtable, embeddingBackward({ ...operands, rows, H, V, paddingIdx: -1 }).dtable, 1e-6)
    expectSame('dtable', (await runRecord(backend, { ...run, capacity: { tokens: 4000 } })).dtable, dtable)
  })

  it.each(TYPES)('gather_rows_backward in %s adds in the order of the index, rounding each time', async (type) => {
    const random = new Random(4)
    for (const [from, to, H] of [
      [300, 40, 16],
      [5, 500, 7],
      [1, 200, 8],
      [70, 1000, 33],
    ]) {
      const index = random.integers(to, from)
      const dy = stored(random.reals(to * H), type)
      const before = stored(random.reals(from * H), type)
      for (const add of [false, true]) {
        const { dx } = await runRecord(backend, {
          op: 'gatherRowsBackward',
          type,
          operands: { dy, index, ...(add ? { dx: before } : {}) },
          attributes: { from: Row.tokens, to: Row.selected, H, add },
          rows: { tokens: from, selected: to },
        })
        const want = add ? Float64Array.from(before) : new Float64Array(from * H)
        const round = (values: Float64Array) => stored(values.map(Math.fround), type)
        for (const [r, row] of index.entries())
          want.set(round(want.subarray(row * H, row * H + H).map((value, j) => value + dy[r * H + j])), row * H)
        expectSame(`${from} from ${to}`, dx, Float32Array.from(want))
      }
    }
  })

  it.each([2, 3, 7, 33, 2047, 2048, 2049, 30_522])('cross_entropy over %i classes', async (C) => {
    const random = new Random(C)
    for (const [rows, smoothing] of [
      [1, 0],
      [11, 0.1],
    ]) {
      const logits = random.reals(rows * C, 12)
      const labels = random.integers(rows, C).map((label, r) => (r % 4 === 3 ? -100 : label))
      const run = {
        rows: { labelled: rows },
        capacity: { labelled: 50 },
        scalars: { denominator1: 3, labelSmoothing: smoothing },
      } as const
      const attributes = { rows: Row.labelled, C, denominator: Scalar.denominator1, smooth: smoothing > 0 }
      const operands = { logits, labels }
      const got = await runRecord(backend, {
        ...run,
        op: 'crossEntropy',
        operands,
        attributes: { ...attributes, add: false },
      })
      const options = { logits, labels, rows, C, denominator: 3, smoothing }
      const want = crossEntropy(options)
      expectClose('lse', got.lse, want.lse, 1e-6)
      expectWithin('loss', got.loss, [want.loss], () => 1e-6 * (Math.abs(want.loss) + 12 * rows))
      const lse = want.lse.map(Math.fround)
      const { dlogits } = await runRecord(backend, {
        ...run,
        op: 'crossEntropyBackward',
        operands: { ...operands, lse },
        attributes,
      })
      expectClose('dlogits', dlogits, crossEntropyBackward(options).dlogits, 100 * u, Math.sqrt(2 * rows) / 3)
    }
  })

  it('gradient_norm of a million elements', async () => {
    const n = 1_000_003
    const g = new Random(6).reals(n)
    const got = await runRecord(backend, {
      op: 'gradientNorm',
      operands: { g },
      attributes: { n },
      scalars: { maxGradNorm: 1 },
    })
    const want = gradientNorm({ g, maxGradNorm: 1 })
    expectWithin('norm', got.norm, [want.norm, want.coefficient], (i) => 4 * u * (i ? want.coefficient : want.norm))
  })

  // parts of C that are more than blocks, each of more stages than are in shared memory at once
  it('products of bfloat16 that go round the ring of stages', async () => {
    const random = new Random(6)
    const [rows, K, N] = [450, 712, 520]
    const whole = (count: number) => random.whole(count, -8, 8)
    const operands = { x: whole(rows * K), w: whole(N * K), dy: whole(rows * N) }
    const types = { type: 'bfloat16', to: 'bfloat16' } as const
    const run = { rows: { tokens: rows }, ...types } as const
    const { x, w, dy } = operands
    const { z } = await runRecord(backend, {
      ...run,
      op: 'linear',
      operands: { x, w },
      attributes: { rows: Row.tokens, K, N, act: 'linear' },
    })
    expectSame('z', z, Float32Array.from(stored(linear({ x, w, rows, K, N }).z, 'bfloat16')))
    const want = linearBackward({ ...operands, rows, K, N })
    const { dx } = await runRecord(backend, {
      ...run,
      op: 'linearBackwardData',
      operands: { dy, w },
      attributes: { rows: Row.tokens, K, N, add: false },
    })
    expectSame('dx', dx, Float32Array.from(stored(want.dx, 'bfloat16')))
    const { dw, dbias } = await runRecord(backend, {
      ...run,
      op: 'linearBackwardWeight',
      operands: { dy, x },
      attributes: { rows: Row.tokens, K, N, T: N, first: 0, accumulate: false },
    })
    expectSame('dw', dw, Float32Array.from(want.dw))
    expectSame('dbias', dbias, Float32Array.from(want.dbias))
  })

  it('no rows in a plan for many', async () => {
    const attributes = { rows: Row.tokens, H: 768 }
    const empty = new Float64Array(0)
    const [gamma, beta] = [new Float64Array(768), new Float64Array(768)]
    const norms = { mean: empty, rstd: empty }
    const run = { rows: {}, capacity } as const
    await runRecord(backend, {
      ...run,
      op: 'dropout',
      operands: { x: empty },
      attributes: { ...attributes, p: P, site: 1 },
    })
    await runRecord(backend, {
      ...run,
      op: 'layerNorm',
      operands: { x: empty, gamma, beta },
      attributes: { ...attributes, eps: 0.5, p: P, site: 1 },
    })
    const { dgamma, dbeta } = await runRecord(backend, {
      ...run,
      op: 'layerNormBackwardWeight',
      operands: { dy: empty, sum: empty, ...norms },
      attributes: { ...attributes, accumulate: false },
    })
    expect([...dgamma, ...dbeta].every((value) => value === 0)).toBe(true)
    await runRecord(backend, {
      ...run,
      op: 'activationBackward',
      operands: { dy: empty, z: empty },
      attributes: { rows: Row.tokens, N: 768, act: 'gelu' },
    })
  })
})
