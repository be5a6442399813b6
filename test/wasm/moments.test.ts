// Moments of AdamW where memory ends: a step that is refused takes nothing from those of parameters that were trained before.
import { describe, expect, it } from 'vitest'
import { BackendError } from '../../src/errors.ts'
import { BertConfig } from '../../src/model/config.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertForSequenceClassification } from '../../src/session/models.ts'
import { sameBits } from '../session/tiny.ts'
import { missing } from './binaries.ts'

const MIB = 2 ** 20
const batch = { inputIds: [[1, 2, 3]], labels: [0] }
const config = new BertConfig({
  vocabSize: 3000,
  hiddenSize: 256,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  intermediateSize: 512,
  maxPositionEmbeddings: 32,
  numLabels: 2,
})

const reason = missing('bertkit') ?? missing('bertkit-threads')

describe.skipIf(reason)(`moments${reason ? ` (${reason})` : ''}`, () => {
  it.each([
    ['inline', false],
    ['in a worker', true],
  ])('%s', async (_, worker) => {
    let refused = 0
    // from where training with frozen embeddings fits to where training them does
    for (let limit = 24 * MIB; limit < 64 * MIB; limit += 2 * MIB) {
      using model = new BertForSequenceClassification(config, { backend: 'wasm', wasm: { worker, memoryLimit: limit } })
      const optimizer = new AdamW(model.eval().freeze('embeddings'))
      try {
        await optimizer.step(batch)
        await optimizer.step(batch)
      } catch (error) {
        expect(error).toBeInstanceOf(BackendError)
        continue
      }
      const before = await optimizer.stateDict()
      model.unfreeze('embeddings')
      const error = await optimizer.step(batch).catch((error: unknown) => error)
      if (!(error instanceof BackendError)) break
      refused++
      model.freeze('embeddings')
      for (const [name, { data }] of await optimizer.stateDict())
        expect(sameBits(data, before.get(name)!.data), `${limit / MIB} MiB: ${name}`).toBe(true)
    }
    expect(refused).toBeGreaterThan(0)
  })
})
