// What holds for every head alike: micro-batches add up to the whole, padding changes nothing, and the rows that a loss leaves out
// were not needed.
import { describe, expect, it } from 'vitest'
import { AdamW } from '../../src/session/adamw.ts'
import type { Tensor } from '../../src/tensor.ts'
import {
  accumulated,
  CUTS,
  cut,
  expectSameGradients,
  type HeadCase,
  headCases,
  inputsOf,
  make,
  NO_DROPOUT,
  norm,
  padded,
  relative,
  SIZES,
} from './heads.ts'

const each = (cases: readonly HeadCase[]) => cases.map((head) => [head.name, head] as const)

type Outputs = { readonly loss: number } & Readonly<Record<string, unknown>>

describe.each(SIZES)('with %s', (_size, size) => {
  const cases = headCases(size.hiddenSize)

  it.each(each(cases))('%s: micro-batches add up to the full batch', async (_name, head) => {
    using model = make(head, { ...size, ...NO_DROPOUT })
    for (const labelSmoothing of [0, 0.2]) {
      const whole = await accumulated(model, [head.batch], { labelSmoothing })
      expect(whole.loss).toBeGreaterThan(0.01)
      for (const at of CUTS) {
        const parts = await accumulated(model, cut(head.batch, at), { labelSmoothing })
        expect(Math.abs(parts.loss / whole.loss - 1)).toBeLessThan(1e-6)
        expectSameGradients(parts.gradients, whole.gradients, 1e-5)
      }
    }
  })

  // padding is part of the softmax of question answering: see labels.test.ts
  const maskable = cases.filter(({ name }) => !/question|unlike/.test(name))
  it.each(each(maskable))('%s: a mask makes padded input mean the same as ragged input', async (_name, head) => {
    using model = make(head, { ...size, ...NO_DROPOUT }).eval()
    const length = 11
    const ragged = (await model.forward(inputsOf(head.batch))) as Outputs
    const full = (await model.forward(inputsOf(padded(head.batch, length)))) as Outputs
    expect(Math.abs(full.loss / ragged.loss - 1)).toBeLessThan(1e-6)
    const lengths = (head.batch.inputIds as number[][]).map((row) => row.length)
    for (const [name, tensor] of Object.entries(ragged)) {
      if (name === 'loss' || tensor === undefined) continue
      const { data, shape } = tensor as Tensor
      const { data: rows, shape: paddedShape } = full[name] as Tensor
      const width = shape.at(-1)!
      if (paddedShape.length === 2) {
        expect(paddedShape).toEqual(shape)
        expect(relative(rows, data), name).toBeLessThan(1e-6)
        continue
      }
      expect(paddedShape).toEqual([lengths.length, length, width])
      const real = lengths.flatMap((n, b) => [...rows.subarray(b * length * width, (b * length + n) * width)])
      expect(relative(real, data), name).toBeLessThan(1e-6)
    }
    const wanted = await model.gradients(inputsOf(head.batch))
    const got = await model.gradients(inputsOf(padded(head.batch, length)))
    expect(Math.abs(got.loss / wanted.loss - 1)).toBeLessThan(1e-6)
    expectSameGradients(got.gradients, wanted.gradients, 1e-5)
    // micro-batches padded to lengths of their own
    const parts = cut(head.batch, CUTS[0]).map((part, i) => padded(part, 9 + i))
    const sum = await accumulated(model, parts)
    expectSameGradients(sum.gradients, wanted.gradients, 1e-5)
  })

  it.each(each(cases))('%s: gradients are those of the loss that forward gives', async (_name, head) => {
    using model = make(head, { ...size, ...NO_DROPOUT })
    const inputs = inputsOf(head.batch)
    const lossOf = async () => ((await model.forward(inputs)) as Outputs).loss
    const { loss, gradients } = await model.gradients(inputs)
    expect(Math.abs((await lossOf()) / loss - 1)).toBeLessThan(1e-6)
    const weights = await model.stateDict()
    expect([...gradients.keys()]).toEqual(
      [...weights.keys()].filter((name) => head.fields.tieWordEmbeddings !== false || name !== 'cls.predictions.bias'),
    )
    const whole = norm([...gradients.values()].map(({ data }) => norm(data)))
    for (const [name, gradient] of gradients) {
      const { data, shape } = weights.get(name)!
      // along the gradient itself, and along a direction that has nothing to do with it
      const along = gradient.data.map((g) => g / Math.max(norm(gradient.data), 1e-9))
      const across = data.map((_, i) => (Math.sin(12.9898 * (i + 1)) * Math.SQRT2) / Math.sqrt(data.length))
      for (const direction of [along, across]) {
        const at = async (step: number) => {
          const moved = data.map((w, i) => w + step * direction[i])
          await model.loadStateDict(new Map([[name, { data: moved, shape }]]), { strict: false })
          return lossOf()
        }
        const expected = gradient.data.reduce((sum, g, i) => sum + g * direction[i], 0)
        const scale = norm(gradient.data) + 3e-2 * whole
        // to the fourth order in the step; curvature spoils large steps, and rounding of the loss small ones
        let error = Number.POSITIVE_INFINITY
        for (const h of [0.012, 0.006, 0.003]) {
          const [a, b, c, d] = [await at(-2 * h), await at(-h), await at(h), await at(2 * h)]
          error = Math.min(error, Math.abs((a - 8 * b + 8 * c - d) / (12 * h) - expected) / scale)
          if (error < 5e-3) break
        }
        expect(error, name).toBeLessThan(5e-3)
      }
      await model.loadStateDict(new Map([[name, { data, shape }]]), { strict: false })
    }
  })
})

describe('an update', () => {
  it.each(each(headCases()))('%s: is the same from micro-batches', async (_name, head) => {
    const run = async (batches: readonly object[]) => {
      using model = make(head, NO_DROPOUT)
      // a large eps keeps gradients that are zero but for rounding from becoming steps of full size
      const optimizer = new AdamW(model, { lr: 1e-2, eps: 1e-2 })
      const steps = []
      for (let i = 0; i < 3; i++) steps.push(await optimizer.step(batches.map(inputsOf), { maxGradNorm: 1 }))
      return { steps, weights: await model.stateDict() }
    }
    const whole = await run([head.batch])
    const parts = await run(cut(head.batch, CUTS[2]))
    for (const [i, { loss, gradNorm }] of parts.steps.entries()) {
      expect(Math.abs(loss / whole.steps[i].loss - 1)).toBeLessThan(1e-5)
      expect(Math.abs(gradNorm / whole.steps[i].gradNorm - 1)).toBeLessThan(1e-5)
    }
    expect(whole.steps[2].loss).toBeLessThan(whole.steps[0].loss)
    for (const [name, { data }] of whole.weights)
      expect(relative(parts.weights.get(name)!.data, data, 1e-2), name).toBeLessThan(1e-5)
  })

  it('does not depend on the order of the sequences', async () => {
    const head = headCases().find(({ name }) => name === 'sequence classification')!
    using model = make(head, NO_DROPOUT)
    const { batch } = head
    const reversed = Object.fromEntries(Object.entries(batch).map(([name, rows]) => [name, [...rows].reverse()]))
    const a = await model.gradients(inputsOf(batch))
    const b = await model.gradients(inputsOf(reversed))
    expectSameGradients(b.gradients, a.gradients, 1e-5)
  })
})
