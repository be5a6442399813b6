// Weights packed before the products that read them: the same bits as when products pack them, and as when AdamW packs what it updates.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { ArgumentError } from '../../src/errors.ts'
import type { FloatType } from '../../src/graph/graph.ts'
import { Row, Scalar } from '../../src/graph/op-table.ts'
import { beta1, beta2, expectSame, type Open, Random, runRecord } from './harness.ts'

/** [N, K] at the borders of panels (8, 16, 32), of units (2, 32) and of blocks of the depth (256, 512). */
const SHAPES = [
  [1, 1],
  [7, 33],
  [32, 64],
  [33, 31],
  [65, 257],
  [300, 70],
  [520, 513],
] as const
/** One block of rows, and several, for which products share what they pack. */
const ROWS = [1, 2, 3, 5, 6, 7, 9, 33, 98, 200]
const TYPES: readonly FloatType[] = ['float32', 'bfloat16']
const packs = (backend: Backend, type: FloatType) => backend.description.products[type].bytes > 0

/** Words of a packed weight: see ProductDescription. */
function words(backend: Backend, type: FloatType, N: number, K: number): number {
  const { unit, columns, bytes } = backend.description.products[type]
  return (Math.ceil(K / unit) * unit * Math.ceil(N / columns) * columns * bytes) / 4
}

const shapeOf = (backend: Backend, type: FloatType, N: number, K: number) => ({
  N,
  K,
  product: type === 'bfloat16',
  words: words(backend, type, N, K),
})

async function pack(backend: Backend, type: FloatType, w: Float64Array, N: number, K: number) {
  const { packed } = await runRecord(backend, {
    op: 'packWeight',
    operands: { w },
    attributes: shapeOf(backend, type, N, K),
  })
  return Float64Array.from(packed)
}

export function packedWeight(open: Open): void {
  describe('pack_weight', () => {
    const backend = open()
    const types = TYPES.filter((type) => packs(backend, type))
    for (const type of TYPES.filter((one) => !packs(backend, one)))
      it.skip(`is not done for products of ${type}, which read weights as they are`)

    it.each(types)('gives products the bits that they have without it, in %s', async (type) => {
      const random = new Random(41)
      for (const [N, K] of SHAPES) {
        const [w, bias] = [random.reals(N * K), random.reals(N)]
        const packed = await pack(backend, type, w, N, K)
        for (const tokens of ROWS) {
          const run = { rows: { tokens }, type }
          const [x, dy] = [random.reals(tokens * K), random.reals(tokens * N)]
          const linear = { ...run, op: 'linear', absent: ['z'] } as const
          const attributes = { rows: Row.tokens, K, N, act: 'gelu' } as const
          const y = await runRecord(backend, { ...linear, operands: { x, w, bias }, attributes })
          const packedY = await runRecord(backend, {
            ...linear,
            operands: { x, w, bias, packed },
            attributes: { ...attributes, words: packed.length },
          })
          expectSame(`y of ${tokens} x ${N} x ${K}`, packedY.y, y.y)
          const data = { ...run, op: 'linearBackwardData' } as const
          const shape = { rows: Row.tokens, K, N, add: false }
          const dx = await runRecord(backend, { ...data, operands: { dy, w }, attributes: shape })
          const packedDx = await runRecord(backend, {
            ...data,
            operands: { dy, w, packed },
            attributes: { ...shape, words: packed.length },
          })
          expectSame(`dx of ${tokens} x ${N} x ${K}`, packedDx.dx, dx.dx)
        }
      }
    })

    it.each(types.flatMap((type) => [0, 1].map((coupledDecay) => [type, coupledDecay] as const)))(
      'is what AdamW leaves of the weight that it has updated, in %s, with coupled_decay %i',
      async (type, coupledDecay) => {
        const random = new Random(42)
        for (const [N, K] of SHAPES) {
          const n = N * K
          const [g, w] = [random.reals(n), random.reals(n)]
          const state = { expAvg: random.reals(n), expAvgSq: random.reals(n).map(Math.abs) }
          const run = {
            op: 'adamw',
            operands: { g, norm: Float64Array.of(3, 0.5), w, ...state },
            scalars: { beta1, beta2, eps: 1e-8, coupledDecay },
            groups: [{ lr: 0.1, weightDecay: 0.1, steps: 2 }],
          } as const
          const place = { n, W: n, G: n, wFirst: 0, gFirst: 0, group: Scalar.group0 }
          const plain = await runRecord(backend, {
            ...run,
            attributes: { ...place, N: 1, K: 1, product: false },
            absent: ['packed'],
          })
          const got = await runRecord(backend, { ...run, attributes: { ...place, ...shapeOf(backend, type, N, K) } })
          for (const name of ['w', 'expAvg', 'expAvgSq'] as const)
            expectSame(`${name} of ${N} x ${K}`, got[name], plain[name])
          const want = await pack(backend, type, Float64Array.from(plain.w), N, K)
          expectSame(`packed of ${N} x ${K}`, got.packed, Float32Array.from(want))
        }
      },
    )

    it('is left as it was where the norm is not finite', async () => {
      const random = new Random(44)
      const [N, K] = [33, 40]
      const shape = shapeOf(backend, 'bfloat16', N, K)
      const before = { packed: random.reals(shape.words) }
      const state = { w: random.reals(N * K), expAvg: random.reals(N * K), expAvgSq: random.reals(N * K).map(Math.abs) }
      const got = await runRecord(backend, {
        op: 'adamw',
        operands: { g: random.reals(N * K), norm: Float64Array.of(Number.NaN, 1), ...state, ...before },
        attributes: { n: N * K, W: N * K, G: N * K, wFirst: 0, gFirst: 0, group: Scalar.group0, ...shape },
        scalars: { beta1, beta2, eps: 1e-8 },
        groups: [{ lr: 0.1, weightDecay: 0.1, steps: 2 }],
      })
      for (const [name, values] of Object.entries({ ...state, ...before }))
        expectSame(name, got[name], Float32Array.from(values))
    })

    it('refuses a place that is too small', async () => {
      const w = new Random(43).reals(64 * 64)
      const shape = shapeOf(backend, 'bfloat16', 64, 64)
      const short = runRecord(backend, { op: 'packWeight', operands: { w }, attributes: { ...shape, words: 7 } })
      await expect(short).rejects.toThrow(ArgumentError)
      await expect(short).rejects.toThrow(/packed/)
    })
  })
}
