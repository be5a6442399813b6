// A model on the WebAssembly backend that runs out of its memoryLimit: when it is loaded, and in the middle of training.
import { describe, expect, test } from 'vitest'
import { BackendError } from '../../src/errors.ts'
import { AdamW } from '../../src/session/adamw.ts'
import type { ModelOptions } from '../../src/session/options.ts'
import { sameBits, sequences, tinyClassifier } from '../session/tiny.ts'
import { missing } from './binaries.ts'

const MIB = 2 ** 20
const lacking = missing('bertkit') ?? missing('bertkit-threads')

const PLACES: readonly { readonly place: string; readonly options: ModelOptions }[] = [
  { place: 'inline', options: { wasm: { worker: false } } },
  { place: 'in a worker', options: { threads: 1 } },
  { place: 'in a worker with two threads', options: { threads: 2 } },
]

describe.each(PLACES)(
  `out of memory, $place${lacking ? ` (${lacking})` : ''}`,
  { skip: lacking !== undefined },
  ({ options }) => {
    const limited = (memoryLimit: number): ModelOptions => ({
      ...options,
      backend: 'wasm',
      wasm: { ...options.wasm, memoryLimit },
    })
    /** 3.3 MiB of weights; positions for long sequences. */
    const large = {
      hiddenSize: 64,
      numHiddenLayers: 4,
      intermediateSize: 512,
      vocabSize: 8000,
      maxPositionEmbeddings: 512,
    }
    const inputIds = sequences([3, 7, 5])
    const labels = [0, 1, 2]

    test("an optimizer's state that has no room is refused when it is loaded", async () => {
      using roomy = tinyClassifier(large, limited(64 * MIB))
      const first = new AdamW(roomy)
      await first.step({ inputIds, labels })
      const state = await first.stateDict()
      using model = tinyClassifier(large, limited(7 * MIB))
      const before = (await model.forward({ inputIds })).logits
      const optimizer = new AdamW(model)
      await expect(optimizer.loadStateDict(state)).rejects.toThrow(/memoryLimit/)
      expect((await optimizer.stateDict()).get('step')?.data[0]).toBe(0)
      expect(sameBits((await model.forward({ inputIds })).logits.data, before.data)).toBe(true)
    })

    test('weights that have no room', async () => {
      const model = tinyClassifier(large, limited(2 * MIB))
      for (let attempt = 0; attempt < 2; attempt++) {
        const refused = model.forward({ inputIds })
        await expect(refused).rejects.toThrow(BackendError)
        await expect(refused).rejects.toThrow(/arena of \d+ bytes.*memoryLimit/)
      }
      model.dispose()
      const roomy = tinyClassifier(large, limited(16 * MIB))
      expect((await roomy.forward({ inputIds })).logits.shape).toEqual([3, 3])
      roomy.dispose()
    })

    test('moments that have no room: no weight is changed, and inference goes on', async () => {
      const model = tinyClassifier(large, limited(13 * MIB))
      const before = await model.stateDict()
      const optimizer = new AdamW(model.train(), { lr: 0.01 })
      const refused = optimizer.step({ inputIds, labels })
      await expect(refused).rejects.toThrow(BackendError)
      await expect(refused).rejects.toThrow(/memoryLimit/)
      for (const [name, { data }] of await model.stateDict())
        expect(sameBits(data, before.get(name)!.data), name).toBe(true)
      expect((await model.eval().forward({ inputIds })).logits.shape).toEqual([3, 3])
      model.dispose()
    })

    test('a batch that is too long in the middle of training: the curve goes on as if it had not been', async () => {
      const losses = async (withLong: boolean) => {
        const model = tinyClassifier(large, limited(20 * MIB))
        const optimizer = new AdamW(model.train(), { lr: 0.01 })
        const found: number[] = []
        for (let step = 0; step < 4; step++) {
          if (withLong && step === 2) {
            const long = { inputIds: sequences(Array.from({ length: 12 }, () => 500)), labels: Array(12).fill(1) }
            await expect(optimizer.step(long)).rejects.toThrow(/memoryLimit/)
            await expect(optimizer.step(long)).rejects.toThrow(BackendError)
          }
          found.push((await optimizer.step({ inputIds, labels })).loss)
        }
        model.dispose()
        return found
      }
      const [disturbed, undisturbed] = [await losses(true), await losses(false)]
      expect(disturbed).toEqual(undisturbed)
      expect(disturbed[3]).not.toBe(disturbed[0])
    })

    test('packed weights that have no room are done without: the same bits', async () => {
      // 8 MiB of weights, as much again packed
      const wide = { hiddenSize: 64, numHiddenLayers: 4, intermediateSize: 4096, maxPositionEmbeddings: 512 }
      const scores = async (memoryLimit: number, batches: number[][][]) => {
        const model = tinyClassifier(wide, limited(memoryLimit))
        const found: Float32Array[] = []
        for (const batch of batches) found.push((await model.forward({ inputIds: batch })).logits.data)
        model.dispose()
        return found
      }
      const never = { memoryLimit: 14 * MIB, batches: [inputIds, inputIds, inputIds] }
      const untilLong = { memoryLimit: 33 * MIB, batches: [inputIds, inputIds, sequences([300, 200]), inputIds] }
      for (const { memoryLimit, batches } of [never, untilLong]) {
        const unlimited = await scores(64 * MIB, batches)
        const found = await scores(memoryLimit, batches)
        expect(found.map((data, i) => sameBits(data, unlimited[i]))).toEqual(batches.map(() => true))
      }
    })
  },
)
