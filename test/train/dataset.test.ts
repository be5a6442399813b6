import { afterEach, expect, test, vi } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { checkExamples } from '../../src/train/dataset.ts'
import { evaluateAll, predictAll } from '../../src/train/evaluation.ts'
import type { TrainableModel } from '../../src/train/types.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

test('examples are checked in turns with the event loop', async () => {
  const examples = Array.from({ length: 10_000 }, () => ({ inputIds: [2, 3], labels: 0 }))
  let now = 0
  // each look at the clock finds it 3 ms later
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 3))
  const turns = vi.spyOn(globalThis, 'setImmediate')
  await checkExamples('data', examples)
  expect(turns.mock.calls.length).toBeGreaterThan(5)
})

test('examples are checked before the first forward pass', async () => {
  const forward = vi.fn()
  const model = { forward, eval() {} } as unknown as TrainableModel
  const examples = Array.from({ length: 1000 }, (_, i) => ({ inputIds: [2, 3], ...(i < 999 && { labels: 0 }) }))
  const settings = { batchSize: 4 }
  for (const [run, name] of [
    [evaluateAll, 'evalDataset'],
    [predictAll, 'the dataset'],
  ] as const) {
    const running = run(model, examples, settings)
    await expect(running).rejects.toThrow(ArgumentError)
    await expect(running).rejects.toThrow(
      `Expected every or no example of ${name} to have labels but example 0 has them and example 999 does not`,
    )
    await expect(run(model, [], settings)).rejects.toThrow(`Expected ${name} to hold at least one example`)
  }
  expect(forward).not.toHaveBeenCalled()
})
