// Gradients and moments of words that no batch has had are zeros that nobody writes: they take no memory.
import { afterAll, describe, expect, it } from 'vitest'
import { openNative } from '../../src/backend/native.ts'
import { Arena } from '../../src/graph/op-table.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { tinyClassifier } from './tiny.ts'

const MIB = 2 ** 20
/** In MiB. */
const resident = (): number => process.memoryUsage.rss() / MIB

const missing = process.platform === 'linux' ? '' : ' (other systems than Linux give a page its memory when it is read)'

describe.skipIf(missing)(`memory of a table of words${missing}`, () => {
  it('is taken for the words that were used', async () => {
    const [vocabSize, hiddenSize] = [200_000, 128]
    const table = (vocabSize * hiddenSize * 4) / MIB
    const fields = { vocabSize, hiddenSize, initializerRange: 0.02, hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 }
    using model = tinyClassifier(fields, { backend: 'cpu' })
    const optimizer = new AdamW(model.train(), { lr: 1e-3 })
    await model.forward({ inputIds: [[1]] })
    const before = resident()
    const losses: number[] = []
    // each a word in a page of its own
    const inputIds = [Array.from({ length: 16 }, (_, i) => 1000 + 999 * i)]
    for (let step = 0; step < 3; step++) losses.push((await optimizer.step({ inputIds, labels: [1] })).loss)
    expect(losses[2]).toBeLessThan(losses[0])
    // of the gradients and both moments it would be three tables
    expect(resident() - before).toBeLessThan(table / 2)
  })

  const backend = openNative({ threads: 1 })
  afterAll(() => backend.close())

  it('is not taken by zeros that are written over zeros, but zeros do replace what was there', async () => {
    const memory = backend.createMemory()
    const elements = 32 * MIB
    const piece = new Float32Array(MIB)
    const write = (arena: Arena) => {
      memory.reserve(arena, elements * 4)
      for (let start = 0; start < elements; start += piece.length) memory.write(arena, start * 4, piece)
    }
    const before = resident()
    for (const arena of [Arena.gradients, Arena.expAvg, Arena.expAvgSq]) write(arena)
    expect(resident() - before).toBeLessThan(64)

    const [some, got] = [
      Float32Array.from({ length: 5000 }, (_, i) => (i % 1024 < 700 ? 0 : i)),
      new Float32Array(5000),
    ]
    memory.write(Arena.expAvg, 64, some)
    await memory.read(Arena.expAvg, 64, got)
    expect(got).toEqual(some)
    memory.write(Arena.expAvg, 64, new Float32Array(5000))
    await memory.read(Arena.expAvg, 64, got)
    expect(got.every((value) => Object.is(value, 0))).toBe(true)
    memory.dispose()
  })
})
