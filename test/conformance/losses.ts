// The three losses and their gradients.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { Row, Scalar } from '../../src/graph/op-table.ts'
import * as reference from '../reference/loss.ts'
import { expectClose, expectWithin, norm, type Open, Random, runRecord, u } from './harness.ts'

const CLASSES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 1000, 30522]
const ROWS = [1, 2, 3, 5, 17, 37, 64]
const DENOMINATORS = [1, 3, 7.5, 1000]

const shared = (C: number) => ({ rows: Row.labelled, C, denominator: Scalar.denominator1 })
const SMOOTHING = 0.3

async function checkCrossEntropy(backend: Backend, random: Random, rows: number, C: number, index: number) {
  const logits = random.reals(rows * C, index % 5 === 4 ? 80 : 3)
  const labels = random.integers(rows, C).map((label) => (random.below(4) === 0 ? reference.IGNORE_INDEX : label))
  if (index % 7 === 0) labels.fill(reference.IGNORE_INDEX)
  const denominator = random.pick(DENOMINATORS)
  const add = index % 2 === 1
  const smooth = index % 3 === 1
  const smoothing = smooth ? SMOOTHING : 0
  const run = { rows: { labelled: rows }, scalars: { denominator1: denominator, labelSmoothing: SMOOTHING } }
  const what = `cross_entropy ${rows} x ${C}`
  const got = await runRecord(backend, {
    ...run,
    op: 'crossEntropy',
    operands: { logits, labels, ...(add ? { loss: Float64Array.of(2.5) } : {}) },
    attributes: { ...shared(C), add, smooth },
  })
  const want = reference.crossEntropy({ logits, labels, rows, C, denominator, smoothing })
  // the greatest logit as it is; then a sum of C exponentials (in W lanes, each 2 ulp), and a logarithm
  expectWithin(`${what}: lse`, got.lse, want.lse, (i) => (i % 2 === 0 ? 0 : 1e-6 * Math.max(1, want.lse[i])))
  const labelled = labels.filter((label) => label >= 0).length
  const loss = want.loss + (add ? 2.5 : 0)
  expectWithin(`${what}: loss`, got.loss, [loss], () => 1e-6 * (loss + labelled / denominator))

  const lse = want.lse.map(Math.fround)
  const { dlogits } = await runRecord(backend, {
    ...run,
    op: 'crossEntropyBackward',
    operands: { logits, labels, lse },
    attributes: { ...shared(C), smooth },
  })
  const gradient = reference.crossEntropyBackward({ logits, labels, rows, C, denominator, smoothing }).dlogits
  // softmax - 1 of the label is no difference of numbers up to 1: it has as many digits as the others
  expectClose(`${what}: dlogits`, dlogits, gradient, 4 * u * (spread(logits, rows, C) + 4), norm(gradient) + 1e-30)
}

/** The most that an exponent of the softmax is away from 0, and so the rounding of an exponential. */
const spread = (logits: Float64Array, rows: number, C: number): number =>
  Array.from({ length: rows }, (_, r) => logits.subarray(r * C, (r + 1) * C)).reduce(
    (most, row) => Math.max(most, row.reduce((a, b) => Math.max(a, b)) - row.reduce((a, b) => Math.min(a, b))),
    0,
  )

const SEGMENTS = [[1], [3], [1, 2, 7], [64, 1, 65], Array.from({ length: 40 }, (_, i) => i + 1), [384, 512, 5]]

async function checkSegments(backend: Backend, random: Random, lengths: readonly number[], C: number, index: number) {
  const cuSegments = Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))])
  const rows = cuSegments[lengths.length]
  const column = index % C
  const logits = random.reals(rows * C, index % 5 === 4 ? 80 : 3)
  const positions = Int32Array.from(lengths, (length) =>
    random.below(4) === 0 ? reference.IGNORE_INDEX : random.below(length),
  )
  const denominator = random.pick(DENOMINATORS)
  const smooth = index % 3 === 1
  const smoothing = smooth ? SMOOTHING : 0
  const add = index % 2 === 1
  const options = { logits, column, C, cuSegments, positions, denominator, smoothing }
  const run = {
    rows: { tokens: rows, sequences: lengths.length },
    scalars: { denominator1: denominator, labelSmoothing: SMOOTHING },
  }
  const attributes = { rows: Row.tokens, segments: Row.sequences, C, column, denominator: Scalar.denominator1, smooth }
  const what = `segment_cross_entropy ${lengths.length} segments, column ${column} of ${C}`
  const inputs = { logits, cuSegments, positions }
  const got = await runRecord(backend, {
    ...run,
    op: 'segmentCrossEntropy',
    operands: { ...inputs, ...(add ? { loss: Float64Array.of(2.5) } : {}) },
    attributes: { ...attributes, add },
  })
  const want = reference.segmentCrossEntropy(options)
  // computed in float64, rounded once
  expectWithin(`${what}: lse`, got.lse, want.lse, (i) => (i % 2 === 0 ? 0 : 2 * u * want.lse[i]))
  const loss = want.loss + (add ? 2.5 : 0)
  expectWithin(`${what}: loss`, got.loss, [loss], () => 4 * u * (Math.abs(want.loss) + (add ? 2.5 : 0)) + 1e-9)
  const lse = want.lse.map(Math.fround)
  const { dlogits } = await runRecord(backend, {
    ...run,
    op: 'segmentCrossEntropyBackward',
    // the other columns stay as they are
    operands: { ...inputs, lse, dlogits: new Float64Array(rows * C) },
    attributes,
  })
  const gradient = reference.segmentCrossEntropyBackward(options).dlogits
  expectClose(`${what}: dlogits`, dlogits, gradient, 4 * u * 8, norm(gradient) + 1e-30)
}

const ELEMENTWISE = {
  meanSquaredError: ['meanSquaredErrorBackward', reference.meanSquaredError, reference.meanSquaredErrorBackward],
  binaryCrossEntropy: [
    'binaryCrossEntropyBackward',
    reference.binaryCrossEntropy,
    reference.binaryCrossEntropyBackward,
  ],
} as const

async function checkElementwise(
  backend: Backend,
  name: keyof typeof ELEMENTWISE,
  random: Random,
  rows: number,
  C: number,
  index: number,
) {
  const [backward, forward, gradient] = ELEMENTWISE[name]
  const logits = random.reals(rows * C, index % 3 === 2 ? 120 : 3)
  const targets = name === 'binaryCrossEntropy' ? random.whole(rows * C, 0, 1) : random.reals(rows * C, 3)
  const denominator = random.pick(DENOMINATORS)
  const add = index % 2 === 1
  const run = { rows: { labelled: rows }, scalars: { denominator1: denominator } }
  const { loss } = await runRecord(backend, {
    ...run,
    op: name,
    operands: { logits, targets, ...(add ? { loss: Float64Array.of(-1.25) } : {}) },
    attributes: { ...shared(C), add },
  })
  const want = forward({ logits, targets, rows, C, denominator }).loss
  // computed in float64, rounded once, added once
  expectWithin(
    `${name} ${rows} x ${C}`,
    loss,
    [want - (add ? 1.25 : 0)],
    () => 2 * u * (Math.abs(want) + (add ? 1.25 : 0)) + 1e-12,
  )
  const got = await runRecord(backend, { ...run, op: backward, operands: { logits, targets }, attributes: shared(C) })
  const { dlogits } = gradient({ logits, targets, rows, C, denominator })
  expectWithin(`${name} backward ${rows} x ${C}`, got.dlogits, dlogits, (i) => 2 * u * Math.abs(dlogits[i]) + 1e-30)
}

export function losses(open: Open): void {
  describe('losses', () => {
    const backend = open()
    const shapes = (random: Random): [number, number][] =>
      [...CLASSES, ...CLASSES, ...CLASSES].map((C) => [C > 10_000 ? 2 : random.pick(ROWS), C])

    it('cross_entropy with labels left out, all of them too', async () => {
      const random = new Random(21)
      let index = 0
      for (const [rows, C] of shapes(random)) await checkCrossEntropy(backend, random, rows, C, index++)
    })

    it('segment_cross_entropy: every column, segments left out', async () => {
      const random = new Random(23)
      let index = 0
      for (const lengths of [...SEGMENTS, ...SEGMENTS, ...SEGMENTS])
        for (const C of [1, 2, 3]) await checkSegments(backend, random, lengths, C, index++)
    })

    it.each(['meanSquaredError', 'binaryCrossEntropy'] as const)('%s', async (name) => {
      const random = new Random(22)
      let index = 0
      for (const [rows, C] of shapes(random)) await checkElementwise(backend, name, random, rows, C, index++)
    })

    it('are 0, with gradients of 0, when nothing is labelled: no row, or a denominator of 0', async () => {
      const none = new Float64Array(0)
      const labels = new Int32Array(0)
      const attributes = { ...shared(3), add: false, smooth: false }
      for (const denominator1 of [0, 5]) {
        const run = { attributes, scalars: { denominator1 } }
        const losses = await Promise.all([
          runRecord(backend, { ...run, op: 'crossEntropy', operands: { logits: none, labels } }),
          runRecord(backend, { ...run, op: 'meanSquaredError', operands: { logits: none, targets: none } }),
          runRecord(backend, { ...run, op: 'binaryCrossEntropy', operands: { logits: none, targets: none } }),
        ])
        expect(losses.map(({ loss }) => loss[0])).toEqual([0, 0, 0])
      }
      const logits = new Random(1).reals(6)
      const run = { rows: { labelled: 2 }, attributes: { ...shared(3), smooth: false }, scalars: { denominator1: 0 } }
      const ignored = Int32Array.of(-100, -100)
      const gradients = await Promise.all([
        runRecord(backend, {
          ...run,
          op: 'crossEntropyBackward',
          operands: { logits, labels: ignored, lse: new Float64Array(4) },
        }),
        runRecord(backend, { ...run, op: 'meanSquaredErrorBackward', operands: { logits, targets: logits } }),
        runRecord(backend, { ...run, op: 'binaryCrossEntropyBackward', operands: { logits, targets: logits } }),
      ])
      for (const { dlogits } of gradients) expect([...dlogits].every((value) => value === 0)).toBe(true)
    })

    it('rows that are learnt already, or that are far from it, have loss and gradient to the last digits', async () => {
      const rows = [
        [10, 1, -2],
        [11, 20, 13.3],
        [0, 0.25, 30],
        [-3, 81, 79.5],
        [0, -744, -3],
      ]
      const labels = Int32Array.of(0, 1, 2, 1, 1)
      const logits = Float64Array.from(rows.flat(), Math.fround)
      for (const [r, label] of labels.entries()) {
        const one = { logits: logits.subarray(r * 3, r * 3 + 3), labels: Int32Array.of(label) }
        const run = { rows: { labelled: 1 }, scalars: { denominator1: 1 } }
        const top = Math.max(...one.logits)
        const want = reference.crossEntropy({ ...one, rows: 1, C: 3, denominator: 1 })
        const got = await runRecord(backend, {
          ...run,
          op: 'crossEntropy',
          operands: one,
          attributes: { ...shared(3), add: false, smooth: false },
        })
        expectWithin(`loss of row ${r}`, got.loss, [want.loss], () => 1e-6 * want.loss)
        const { dlogits } = await runRecord(backend, {
          ...run,
          op: 'crossEntropyBackward',
          operands: { ...one, lse: Float64Array.from(got.lse) },
          attributes: { ...shared(3), smooth: false },
        })
        const gradient = reference.crossEntropyBackward({ ...one, rows: 1, C: 3, denominator: 1 }).dlogits
        expectWithin(
          `dlogits of row ${r}`,
          dlogits,
          gradient,
          (c) => 4 * u * (top - one.logits[c] + 4) * Math.abs(gradient[c]),
        )
      }
    })

    it('a NaN logit makes the loss NaN', async () => {
      const logits = Float64Array.of(1, Number.NaN, 2)
      const run = {
        rows: { labelled: 1 },
        attributes: { ...shared(3), add: false, smooth: false },
        scalars: { denominator1: 1 },
      }
      const got = await runRecord(backend, {
        ...run,
        op: 'crossEntropy',
        operands: { logits, labels: Int32Array.of(0) },
      })
      expect(got.loss[0]).toBeNaN()
    })
  })
}
