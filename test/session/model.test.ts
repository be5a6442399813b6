import { describe, expect, it } from 'vitest'
import { AdamW } from '../../src/session/adamw.ts'
import { BertModel } from '../../src/session/models.ts'
import { adamw } from '../reference/optimizer.ts'
import { sameBits, sequences, tinyClassifier, tinyConfig } from './tiny.ts'

const relative = (a: Float32Array, b: Float32Array): number => {
  const norm = (f: (i: number) => number) => Math.sqrt(a.reduce((s, _, i) => s + f(i) ** 2, 0))
  return (
    norm((i) => a[i] - b[i]) /
    Math.max(
      norm((i) => b[i]),
      1e-30,
    )
  )
}

describe('padded and ragged input', () => {
  it('mean the same for the rows that are real', async () => {
    using model = new BertModel(tinyConfig()).eval()
    const ids = sequences([3, 7, 1])
    const length = 9
    const padded = new Int32Array(3 * length)
    const mask = new Int32Array(3 * length)
    ids.forEach((row, b) => {
      padded.set(row, b * length)
      mask.fill(1, b * length, b * length + row.length)
    })
    const ragged = await model.forward({ inputIds: ids }, { outputAttentions: true, outputHiddenStates: true })
    const full = await model.forward(
      { inputIds: { data: padded, shape: [3, length] }, attentionMask: { data: mask, shape: [3, length] } },
      { outputAttentions: true, outputHiddenStates: true },
    )
    expect(full.lastHiddenState.shape).toEqual([3, length, 20])
    expect(ragged.lastHiddenState.shape).toEqual([11, 20])
    let row = 0
    ids.forEach((sequence, b) => {
      const a = ragged.lastHiddenState.data.subarray(row * 20, (row + sequence.length) * 20)
      const p = full.lastHiddenState.data.subarray(b * length * 20, (b * length + sequence.length) * 20)
      expect(relative(a, p)).toBeLessThan(1e-6)
      row += sequence.length
    })
    expect(full.hiddenStates).toHaveLength(3)
    expect(full.attentions?.map((a) => (Array.isArray(a) ? 'ragged' : a.shape))).toEqual([
      [3, 4, 9, 9],
      [3, 4, 9, 9],
    ])
    const [first] = ragged.attentions ?? []
    expect(Array.isArray(first) && first.map(({ shape }) => shape)).toEqual([
      [4, 3, 3],
      [4, 7, 7],
      [4, 1, 1],
    ])
    for (const probs of first as { data: Float32Array; shape: readonly number[] }[])
      for (let i = 0; i < probs.data.length; i += probs.shape[2])
        expect(probs.data.subarray(i, i + probs.shape[2]).reduce((s, p) => s + p, 0)).toBeCloseTo(1, 5)
  })

  it('gives a sequence the same bits alone and in any batch', async () => {
    using model = new BertModel(tinyConfig()).eval()
    const ids = sequences([5, 16, 2, 9])
    const together = (await model.forward({ inputIds: ids })).lastHiddenState.data
    let row = 0
    for (const sequence of ids) {
      const alone = (await model.forward({ inputIds: [sequence] })).lastHiddenState.data
      expect(sameBits(alone, together.slice(row * 20, (row + sequence.length) * 20))).toBe(true)
      row += sequence.length
    }
  })
})

describe('training', () => {
  const batch = { inputIds: sequences([4, 9, 2, 6, 1, 8]), labels: [0, 2, 1, 1, 0, 2] }
  const part = (from: number, to: number) => ({
    inputIds: batch.inputIds.slice(from, to),
    labels: batch.labels.slice(from, to),
  })

  it('accumulates to the gradient of the full batch, whatever the sizes of the parts', async () => {
    const run = async (batches: (typeof batch)[]) => {
      using model = tinyClassifier({ hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 }, { seed: 3 })
      const optimizer = new AdamW(model, { lr: 1e-2 })
      const step = await optimizer.step(batches, { maxGradNorm: 1 })
      return { ...step, weights: await model.stateDict() }
    }
    const whole = await run([batch])
    const parts = await run([part(0, 1), part(1, 5), part(5, 6)])
    expect(parts.loss).toBeCloseTo(whole.loss, 6)
    expect(Math.abs(parts.gradNorm / whole.gradNorm - 1)).toBeLessThan(1e-6)
    for (const [name, { data }] of whole.weights) {
      if (name.endsWith('key.bias')) continue // its gradient is zero but for rounding, whose sign AdamW magnifies
      expect(relative(parts.weights.get(name)!.data, data), name).toBeLessThan(1e-5)
    }
  })

  it('leaves out rows labelled -100', async () => {
    using model = tinyClassifier({}, { seed: 3 }).eval()
    const some = await model.gradients({ inputIds: batch.inputIds, labels: [0, -100, 1, -100, -100, 2] })
    const only = await model.gradients({ inputIds: [0, 2, 5].map((i) => batch.inputIds[i]), labels: [0, 1, 2] })
    expect(some.loss).toBeCloseTo(only.loss, 6)
    const none = await model.gradients({ inputIds: batch.inputIds, labels: Array(6).fill(-100) })
    expect(none.loss).toBe(0)
    expect([...none.gradients.values()].every(({ data }) => data.every((g) => g === 0))).toBe(true)
  })

  it('has the bits of the seed, with dropout on, for any number of threads', async () => {
    const run = async (threads: number, seed: number) => {
      using model = tinyClassifier({}, { seed, threads }).train()
      const optimizer = new AdamW(model, { lr: 1e-2 })
      const losses: number[] = []
      for (let i = 0; i < 4; i++) losses.push((await optimizer.step([part(0, 3), part(3, 6)], { maxGradNorm: 1 })).loss)
      return { losses, weights: await model.stateDict() }
    }
    const reference = await run(1, 7)
    for (const threads of [1, 2, 4, 7]) {
      const again = await run(threads, 7)
      expect(again.losses).toEqual(reference.losses)
      for (const [name, { data }] of reference.weights)
        expect(sameBits(again.weights.get(name)!.data, data), name).toBe(true)
    }
    expect((await run(2, 8)).losses).not.toEqual(reference.losses)
  })

  it('continues from a saved state to the same bits', async () => {
    using model = tinyClassifier({}, { seed: 1 })
    const optimizer = new AdamW(model, { lr: 1e-2 })
    for (let i = 0; i < 2; i++) await optimizer.step(batch)
    const [weights, state] = [await model.stateDict(), await optimizer.stateDict()]
    const expected = await optimizer.step(batch)
    using copy = tinyClassifier({}, { seed: 1 })
    await copy.loadStateDict(weights)
    const resumed = new AdamW(copy, { lr: 1e-2 })
    await resumed.loadStateDict(state)
    expect(await resumed.step(batch)).toEqual(expected)
    const after = await model.stateDict()
    for (const [name, { data }] of await copy.stateDict())
      expect(sameBits(data, after.get(name)!.data), name).toBe(true)
  })

  it('moves only what a parameter group names, at the rate of its group', async () => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model, { lr: 1e-2, weightDecay: 0 })
    optimizer.paramGroups.splice(
      0,
      2,
      { params: ['classifier.weight'], lr: 1e-2, weightDecay: 0 },
      { params: ['classifier.bias'], lr: 1e-4, weightDecay: 0 },
    )
    const before = await model.stateDict()
    await optimizer.step(batch)
    const after = await model.stateDict()
    const moved = [...before].filter(([name, { data }]) => !sameBits(data, after.get(name)!.data)).map(([name]) => name)
    expect(moved.sort()).toEqual(['classifier.bias', 'classifier.weight'])
    const step = (name: string) =>
      Math.max(...before.get(name)!.data.map((v, i) => Math.abs(v - after.get(name)!.data[i])))
    expect(step('classifier.weight')).toBeGreaterThan(5e-3) // AdamW's first step is the rate itself
    expect(step('classifier.bias')).toBeLessThan(2e-4)
  })

  it.each([true, false])('decays as PyTorch does, with decoupledWeightDecay %s', async (decoupledWeightDecay) => {
    using model = tinyClassifier({ hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 }, { seed: 4 })
    const weightDecay = 0.5
    const optimizer = new AdamW(model, { lr: 1e-2, weightDecay, eps: 1e-3, decoupledWeightDecay })
    const decays = new Set(optimizer.paramGroups[0].params)
    const zeros = [...(await model.stateDict())].map(
      ([name, { data }]) => [name, new Float64Array(data.length)] as const,
    )
    type Moments = { expAvg: Float64Array; expAvgSq: Float64Array }
    const moments = new Map<string, Moments>(zeros.map(([name, zero]) => [name, { expAvg: zero, expAvgSq: zero }]))
    for (let step = 1; step <= 3; step++) {
      const { gradients } = await model.gradients(batch)
      const before = await model.stateDict()
      const { gradNorm } = await optimizer.step(batch, { maxGradNorm: 0.1 })
      expect(gradNorm).toBeGreaterThan(0.2)
      const after = await model.stateDict()
      for (const [name, { data }] of gradients) {
        const { w, ...state } = adamw({
          w: Float64Array.from(before.get(name)!.data),
          g: Float64Array.from(data),
          ...moments.get(name)!,
          norm: gradNorm,
          coefficient: 0.1 / (gradNorm + 1e-6),
          lr: 1e-2,
          weightDecay: decays.has(name) ? weightDecay : 0,
          beta1: 0.9,
          beta2: 0.999,
          eps: 1e-3,
          coupled: !decoupledWeightDecay,
          step,
        })
        moments.set(name, state)
        for (const [i, want] of w.entries())
          expect(Math.abs(after.get(name)!.data[i] - want), `${name}[${i}], step ${step}`).toBeLessThan(2e-6)
      }
    }
  })

  it('measures the norm, and clips nothing, where maxGradNorm is as large as a number can be', async () => {
    const norms = []
    for (const maxGradNorm of [0, 1e16, Number.MAX_VALUE]) {
      using model = tinyClassifier({}, { seed: 4 })
      norms.push((await new AdamW(model).step(batch, { maxGradNorm })).gradNorm)
    }
    expect(norms[0]).toBeGreaterThan(0.01)
    expect(norms).toEqual([norms[0], norms[0], norms[0]])
  })

  it('starts a second optimiser from nothing, and stops the first', async () => {
    using model = tinyClassifier({}, { seed: 2 })
    const first = new AdamW(model, { lr: 1e-2 })
    for (let i = 0; i < 3; i++) await first.step(batch)
    const second = new AdamW(model, { lr: 1e-2 })
    const fresh = await second.stateDict()
    expect(fresh.get('step')!.data[0]).toBe(0)
    expect([...fresh.values()].every(({ data }) => data.every((value) => value === 0))).toBe(true)
    second.paramGroups.push({ params: [], lr: 0, weightDecay: 0 })
    using copy = tinyClassifier({}, { seed: 2 })
    await copy.loadStateDict(await model.stateDict())
    expect(await second.step(batch)).toEqual(await new AdamW(copy, { lr: 1e-2 }).step(batch))
    await expect(first.step(batch)).rejects.toThrow(/Another AdamW/)
  })

  it('computes a decoder with a causal mask', async () => {
    using model = new BertModel(tinyConfig({ isDecoder: true })).eval()
    const [whole, start] = [
      [7, 8, 9, 10],
      [7, 8],
    ]
    const long = (await model.forward({ inputIds: [whole] })).lastHiddenState.data
    const short = (await model.forward({ inputIds: [start] })).lastHiddenState.data
    expect(sameBits(long.slice(0, 40), short)).toBe(true)
  })

  it('decides an open problem type at the first loss', async () => {
    using several = tinyClassifier({ numLabels: 3 })
    await several.forward({ inputIds: batch.inputIds, labels: batch.labels })
    expect(several.config.problemType).toBe('single_label_classification')
    using one = tinyClassifier({ numLabels: 1 })
    await one.forward({ inputIds: batch.inputIds, labels: [0, 1, 2, 3, 4, 5] })
    expect(one.config.problemType).toBe('regression')
    using vectors = tinyClassifier({ numLabels: 3 })
    await vectors.forward({ inputIds: batch.inputIds, labels: batch.labels.map(() => [0, 1, 0.5]) })
    expect(vectors.config.problemType).toBe('multi_label_classification')
  })

  it('records few plans for many ragged batches', async () => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model)
    for (let i = 0; i < 40; i++) {
      const lengths = Array.from({ length: 1 + (i % 16) }, (_, b) => 1 + ((i * 5 + b * 3) % 16))
      await optimizer.step({ inputIds: sequences(lengths), labels: lengths.map((_, b) => b % 3) })
    }
    // of 64, 80, 96, 112, 128 and 160 tokens at most
    expect(model.runtime.plansRecorded).toBeLessThan(7)
  })

  it('records plans of quarters of a power of two for steps, whatever came before, and of powers of two for forwards', async () => {
    using model = tinyClassifier({ maxPositionEmbeddings: 512 })
    const optimizer = new AdamW(model)
    const batchOf = (tokens: number) => ({
      inputIds: sequences(Array.from({ length: 2 }, (_, i) => (tokens + i) >> 1)),
      labels: [0, 1],
    })
    const recorded: number[] = []
    for (const tokens of [300, 310, 330, 500, 512, 300, 400, 256, 250, 2, 513]) {
      await optimizer.step(batchOf(tokens))
      recorded.push(model.runtime.plansRecorded)
    }
    // of 320 tokens, 384, 512, 448, 256, 64 and 640
    expect(recorded).toEqual([1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 7])
    for (const tokens of [300, 310, 330, 500, 512]) await model.forward(batchOf(tokens))
    expect(model.runtime.plansRecorded).toBeLessThanOrEqual(9) // with and without packed weights
  })

  it('records as many more where steps are of several batches, of which only the last updates', async () => {
    using model = tinyClassifier()
    const optimizer = new AdamW(model)
    const batch = { inputIds: sequences([3, 5]), labels: [0, 1] }
    for (const batches of [[batch], [batch, batch], [batch, batch, batch]]) await optimizer.step(batches)
    expect(model.runtime.plansRecorded).toBe(2)
  })
})
