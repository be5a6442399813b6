// The gradient norm with its clip coefficient, and AdamW.
import { describe, expect, it } from 'vitest'
import { Scalar } from '../../src/graph/op-table.ts'
import { adamw, gradientNorm } from '../reference/optimizer.ts'
import { beta1, beta2, expectSame, expectWithin, type Open, Random, runRecord, u } from './harness.ts'

/** Vector widths, and the pieces in which sums and tasks are cut (512, 32768, 65536), with their neighbours. */
const LENGTHS = [
  1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 511, 512, 513, 1031, 32767, 32768, 32769, 65535, 65536, 65537, 131101,
]

const NOT_PACKED = { N: 1, K: 1, product: false }

export function optimizer(open: Open): void {
  describe('optimizer', () => {
    const backend = open()

    it('gradient_norm: the L2 norm, and the coefficient that clips it', async () => {
      const random = new Random(31)
      for (const n of LENGTHS)
        for (const maxGradNorm of [0, 1, 1e-3, 1e6]) {
          const g = random.reals(n, random.pick([1e-6, 1, 1e6]))
          const got = await runRecord(backend, {
            op: 'gradientNorm',
            operands: { g },
            attributes: { n },
            scalars: { maxGradNorm },
          })
          const want = gradientNorm({ g, maxGradNorm })
          // sums of 512 / W squares are float32, the rest float64: 64 u whatever n is, 128 on four lanes; half of it after the root
          expectWithin(
            `n = ${n}`,
            got.norm,
            [want.norm, want.coefficient],
            (i) => 64 * u * (i ? want.coefficient : want.norm),
          )
        }
    })

    it('gradient_norm: as without a loss, or NaN where the loss is not finite', async () => {
      const n = 1031
      const g = new Random(32).reals(n)
      const run = (loss?: number) =>
        runRecord(backend, {
          op: 'gradientNorm',
          operands: { g, loss: loss === undefined ? undefined : Float64Array.of(loss) },
          attributes: { n },
          scalars: { maxGradNorm: 1 },
        })
      const { norm: plain } = await run()
      for (const loss of [0, -0, 0.7, -3, 3.4e38]) expectSame(`loss ${loss}`, (await run(loss)).norm, plain)
      for (const loss of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const { norm } = await run(loss)
        expect([norm[0], gradientNorm({ g, loss, maxGradNorm: 1 }).norm]).toEqual([Number.NaN, Number.NaN])
      }
    })

    it.each([
      [1, 0],
      [2, 0],
      [1000, 0],
      [1, 1],
      [2, 1],
      [1000, 1],
    ])('adamw at step %i, in the order of PyTorch, with coupled_decay %i', async (step, coupledDecay) => {
      const random = new Random(step)
      for (const n of LENGTHS) {
        const g = random.reals(n)
        const [w, expAvg] = [random.reals(n, 2), random.reals(n, 0.1)]
        const expAvgSq = random.reals(n, 0.1).map(Math.abs)
        const group = { lr: random.pick([0, 1e-5, 1e-2]), weightDecay: random.pick([0, 0.01, 0.5]) }
        const coefficient = Math.fround(random.pick([1, 0.37]))
        // a large one shows where it is added
        const eps = random.pick([1e-8, 0.25])
        // a tensor of a stack may begin between two borders of 64 bytes; what lies before it stays
        const [wFirst, gFirst] = random.pick([
          [0, 0],
          [3, 0],
          [15, 8],
        ])
        const behind = (first: number, values: Float64Array) => {
          const longer = new Float64Array(first + values.length).fill(7)
          longer.set(values, first)
          return longer
        }
        const whole = await runRecord(backend, {
          op: 'adamw',
          operands: {
            g: behind(gFirst, g),
            norm: Float64Array.of(3, coefficient),
            w: behind(wFirst, w),
            expAvg: behind(gFirst, expAvg),
            expAvgSq: behind(gFirst, expAvgSq),
          },
          attributes: { n, W: n + wFirst, G: n + gFirst, wFirst, gFirst, group: Scalar.group0 + 4, ...NOT_PACKED },
          absent: ['packed'],
          scalars: {
            beta1,
            beta2,
            eps,
            coupledDecay,
          },
          groups: [
            { lr: 99, weightDecay: 99, steps: 3 },
            { ...group, steps: step },
          ],
        })
        const got = {
          w: whole.w.subarray(wFirst),
          expAvg: whole.expAvg.subarray(gFirst),
          expAvgSq: whole.expAvgSq.subarray(gFirst),
        }
        expect([...whole.w.subarray(0, wFirst), ...whole.expAvg.subarray(0, gFirst)].every((x) => x === 7)).toBe(true)
        const coupled = coupledDecay === 1
        const want = adamw({ w, g, expAvg, expAvgSq, norm: 3, coefficient, ...group, beta1, beta2, eps, coupled, step })
        // what cancels in the gradient is small beside its two terms
        const size = (i: number) => Math.abs(g[i]) + coupledDecay * group.weightDecay * Math.abs(w[i])
        const what = `n = ${n}`
        expectWithin(`${what}: exp_avg`, got.expAvg, want.expAvg, (i) => 6 * u * (Math.abs(expAvg[i]) + size(i)))
        expectWithin(
          `${what}: exp_avg_sq`,
          got.expAvgSq,
          want.expAvgSq,
          (i) => 6 * u * (Math.abs(want.expAvgSq[i]) + (1 - beta2) * size(i) ** 2 * coupledDecay),
        )
        // the decay and the final difference round relative to w, the step to itself (and to what cancels in exp_avg)
        const rate = group.lr / (1 - beta1 ** step)
        const spread = (i: number) => Math.sqrt(want.expAvgSq[i] / (1 - beta2 ** step)) + eps
        expectWithin(
          `${what}: w`,
          got.w,
          want.w,
          (i) => u * (4 * Math.abs(w[i]) + (16 * rate * (Math.abs(expAvg[i]) + size(i))) / spread(i)),
        )
      }
    })

    it.each([
      ['AdamW', 0, 1e-8],
      ['Adam with L2', 1, 1e-8],
      ['AdamW without eps', 0, 0],
      ['AdamW with an eps that float32 has not', 0, 1e-46],
    ])('%s where gradients and moments are zeros, as of words that no batch has had', async (_, coupledDecay, eps) => {
      const n = 5 * 1024 + 77
      const random = new Random(4)
      // used: stretches of all lengths between zeros, and one element alone
      const used = (i: number) => i < 100 || (i >= 1500 && i < 1501) || (i >= 3000 && i < 4200) || i === n - 1
      const some = (values: Float64Array) => values.map((value, i) => (used(i) ? value : 0))
      const [g, expAvg] = [some(random.reals(n)), some(random.reals(n, 0.1))]
      const state = { w: random.reals(n), expAvg, expAvgSq: some(random.reals(n, 0.1).map(Math.abs)) }
      const group = { lr: 1e-2, weightDecay: 0.5 }
      const got = await runRecord(backend, {
        op: 'adamw',
        operands: { g, norm: Float64Array.of(3, 1), ...state },
        attributes: { n, W: n, G: n, wFirst: 0, gFirst: 0, group: Scalar.group0, ...NOT_PACKED },
        absent: ['packed'],
        scalars: { beta1, beta2, eps, coupledDecay },
        groups: [{ ...group, steps: 2 }],
      })
      const coupled = coupledDecay === 1
      const want = adamw({ ...state, g, norm: 3, coefficient: 1, ...group, beta1, beta2, eps, coupled, step: 2 })
      const keep = Math.fround(1 - group.lr * group.weightDecay)
      for (let i = 0; i < n; i++) {
        if (used(i) || coupled) {
          if (!(Math.abs(got.w[i] - want.w[i]) <= 1e-5)) expect([i, got.w[i]]).toEqual([i, want.w[i]])
          continue
        }
        // without eps the step is 0 / 0
        const after = Math.fround(eps) > 0 ? Math.fround(Math.fround(state.w[i]) * keep) : Number.NaN
        const all = [i, got.w[i], got.expAvg[i], got.expAvgSq[i]]
        if (!Object.is(got.w[i], after) || got.expAvg[i] || got.expAvgSq[i]) expect(all).toEqual([i, after, 0, 0])
      }
    })

    it('adamw: a first moment below the least normal number is 0, so that no update computes with it', async () => {
      const least = 2 ** -126
      const n = 37
      // tenths of the least normal number; one of 0.9 is left of 1, so 0, and 1.8 of 2
      const expAvg = Float64Array.from({ length: n }, (_, i) => (i % 2 ? -1 : 1) * (i / 10) * least)
      const got = await runRecord(backend, {
        op: 'adamw',
        operands: {
          g: new Float64Array(n),
          norm: Float64Array.of(1, 1),
          w: new Float64Array(n),
          expAvg,
          expAvgSq: new Float64Array(n).fill(1e-12),
        },
        attributes: { n, W: n, G: n, wFirst: 0, gFirst: 0, group: Scalar.group0, ...NOT_PACKED },
        absent: ['packed'],
        scalars: { beta1, beta2, eps: 1e-8, coupledDecay: 0 },
        groups: [{ lr: 1e-2, weightDecay: 0, steps: 2 }],
      })
      for (let i = 0; i < n; i++) {
        const want = expAvg[i] * beta1
        if (Math.abs(want) < 0.99 * least) expect([i, got.expAvg[i]]).toEqual([i, 0])
        else if (Math.abs(want) > 1.01 * least) expect(Math.abs(got.expAvg[i] / want - 1)).toBeLessThan(1e-5)
      }
    })

    it.each([Number.NaN, Number.POSITIVE_INFINITY])(
      'a gradient of %d is a norm that is not finite, and the update changes nothing',
      async (bad) => {
        const n = 100
        const random = new Random(3)
        const g = random.reals(n)
        g[71] = bad
        const { norm } = await runRecord(backend, {
          op: 'gradientNorm',
          operands: { g },
          attributes: { n },
          scalars: { maxGradNorm: 1 },
        })
        expect(Number.isFinite(norm[0])).toBe(false)
        const state = { w: random.reals(n), expAvg: random.reals(n), expAvgSq: random.reals(n).map(Math.abs) }
        const got = await runRecord(backend, {
          op: 'adamw',
          operands: { g, norm: Float64Array.from(norm), ...state },
          attributes: { n, W: n, G: n, wFirst: 0, gFirst: 0, group: Scalar.group0, ...NOT_PACKED },
          absent: ['packed'],
          scalars: { beta1, beta2, eps: 1e-8 },
          groups: [{ lr: 1, weightDecay: 0.1, steps: 1 }],
        })
        for (const name of ['w', 'expAvg', 'expAvgSq'] as const)
          expectSame(name, got[name], Float32Array.from(state[name]))
      },
    )
  })
}
