// A decoder whose cross-attention some micro-batches leave out: its gradient is what the others give, and none when all leave it out.
import { describe, expect, it } from 'vitest'
import { Arena } from '../../src/graph/op-table.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertLMHeadModel } from '../../src/session/lm-head-model.ts'
import { tinyConfig } from './tiny.ts'

const H = 20
const state = (length: number) => ({
  data: Float32Array.from({ length: length * H }, (_, i) => Math.sin(i * 1.3)),
  shape: [length, H],
})
const crossed = { inputIds: [[1, 2, 3, 4]], labels: [[1, 2, 3, 4]], encoderHiddenStates: [state(3)] }
const plain = { inputIds: [[5, 6, 7]], labels: [[5, 6, 7]] }
const model = () =>
  new BertLMHeadModel(tinyConfig({ isDecoder: true, addCrossAttention: true, hiddenDropoutProb: 0 }), {
    seed: 2,
  }).eval()
const NAME = 'bert.encoder.layer.0.crossattention.self.query.weight'

describe('a part of the model that an input leaves out', () => {
  it('has no gradient, and AdamW leaves it alone', async () => {
    using decoder = model()
    expect((await decoder.gradients(plain)).gradients.has(NAME)).toBe(false)
    const before = (await decoder.stateDict()).get(NAME)!.data
    const optimizer = new AdamW(decoder, { lr: 1e-2 })
    await optimizer.step(plain)
    expect((await decoder.stateDict()).get(NAME)!.data).toEqual(before)
    expect((await optimizer.stateDict()).get(`${NAME}.step`)!.data[0]).toBe(0)
  })

  it.each([
    ['first', [plain, crossed]],
    ['last', [crossed, plain]],
  ])('in the %s micro-batch has the gradient of the other, whatever ran before', async (_name, batches) => {
    using decoder = model()
    const gradient = async () =>
      (
        await decoder.accumulate(
          batches,
          {},
          {
            finish: async () =>
              decoder.runtime.readLike(Arena.gradients, decoder.runtime.layout.tensors.get(NAME) as never),
          },
        )
      ).result
    const wanted = await gradient()
    expect(wanted.some((value) => value !== 0)).toBe(true)
    await decoder.gradients(plain)
    expect(await gradient()).toEqual(wanted)
    await decoder.gradients(crossed)
    expect(await gradient()).toEqual(wanted)
  })
})
