// The time of every record: what a profiler is told, that it adds up, and that timing changes nothing.
import { describe, expect, it } from 'vitest'
import { AbortedError } from '../../src/errors.ts'
import type { Plan } from '../../src/graph/plan.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { sameBits, sequences, tinyClassifier } from './tiny.ts'

interface Timed {
  readonly plan: Plan
  readonly scalars: Float64Array
  readonly seconds: Float64Array
}

async function trained(profiler?: (run: Timed) => void) {
  const model = tinyClassifier({}, { seed: 3 }).train()
  if (profiler) model.runtime.profiler = (plan, scalars, seconds) => profiler({ plan, scalars, seconds })
  const optimizer = new AdamW(model, { lr: 1e-2 })
  const start = performance.now()
  await optimizer.step({ inputIds: sequences([3, 7]), labels: [0, 2] })
  const wall = (performance.now() - start) / 1000
  const weights = await model.stateDict()
  model.dispose()
  return { weights, wall }
}

describe('profiler', () => {
  it('is told the seconds of each record of the step, update and all, which fit into the wall time', async () => {
    const runs: Timed[] = []
    const { wall } = await trained((run) => runs.push(run))
    expect(runs.map(({ plan }) => plan.records.at(-1)?.op.name)).toEqual(['adamw'])
    for (const { plan, seconds } of runs) {
      expect(seconds.length).toBe(plan.records.length)
      // each record here does some work, and a clock of nanoseconds sees it
      expect(seconds.every((value) => value > 0)).toBe(true)
    }
    const inside = runs.flatMap(({ seconds }) => [...seconds]).reduce((a, b) => a + b, 0)
    expect(inside).toBeLessThan(wall)
    expect(runs[0].scalars[0]).toBe(10)
  })

  it('is told of one run for each micro-batch, of which the last one updates', async () => {
    using model = tinyClassifier({}, { seed: 3 }).train()
    const runs: boolean[] = []
    model.runtime.profiler = ({ writesWeights }) => runs.push(writesWeights)
    const batches = [[3, 7], [5], [9, 2]].map((lengths) => ({
      inputIds: sequences(lengths),
      labels: lengths.map(() => 1),
    }))
    await new AdamW(model).step(batches)
    expect(runs).toEqual([false, false, true])
  })

  it('changes no result', async () => {
    const [plain, timed] = [await trained(), await trained(() => {})]
    for (const [name, { data }] of plain.weights)
      expect(sameBits(data as Float32Array, timed.weights.get(name)!.data as Float32Array), name).toBe(true)
  })

  it('is not told of a run that was aborted, nor of any after it was taken away', async () => {
    const model = tinyClassifier({}, { seed: 3 })
    let told = 0
    // a second forward with the same weights packs them, in a run of its own
    model.runtime.profiler = ({ records }) => {
      if (records[0].op.name !== 'pack_weight') told++
    }
    const inputs = { inputIds: sequences([3, 7]) }
    await expect(model.forward(inputs, { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError)
    expect(told).toBe(0)
    await model.forward(inputs)
    expect(told).toBe(1)
    model.runtime.profiler = undefined
    await model.forward(inputs)
    expect(told).toBe(1)
    model.dispose()
  })
})
