// Gradient checkpointing: layers are computed again in the backward, which changes memory and time and no bit.
import { describe, expect, it } from 'vitest'
import { Graph } from '../../src/graph/graph.ts'
import { MaskedLMHead } from '../../src/heads/masked-lm.ts'
import { ParameterScope } from '../../src/model/parameters.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { layOut } from '../../src/session/layout.ts'
import { recordStep, type StepSettings } from '../../src/session/plans.ts'
import { accumulated, CUTS, cut, headCases, inputsOf, make, padded } from './heads.ts'
import { sameBits, tinyConfig } from './tiny.ts'

const each = headCases().map((head) => [head.name, head] as const)

describe('gradient checkpointing, with dropout', () => {
  it.each(each)('%s: the same bits', async (_name, head) => {
    using plain = make(head, { numHiddenLayers: 4 }).train()
    using saving = make(head, { numHiddenLayers: 4 }).train().gradientCheckpointingEnable()
    for (const batches of [[head.batch], cut(head.batch, CUTS[0])]) {
      const wanted = await accumulated(plain, batches)
      const got = await accumulated(saving, batches)
      expect(got.loss).toBe(wanted.loss)
      expect([...got.gradients.keys()]).toEqual([...wanted.gradients.keys()])
      for (const [name, { data }] of wanted.gradients)
        expect(sameBits(got.gradients.get(name)!.data, data), name).toBe(true)
    }
  })

  it('is not undone by dropout being the same in both: another seed gives another loss', async () => {
    const [head] = headCases()
    using model = make(head).train().gradientCheckpointingEnable()
    using other = make(head, {}, { seed: 12 }).train().gradientCheckpointingEnable()
    await other.loadStateDict(await model.stateDict())
    const inputs = inputsOf(head.batch)
    expect((await other.gradients(inputs)).loss).not.toBe((await model.gradients(inputs)).loss)
  })

  it('can be turned on and off between updates, with masks and a decoder', async () => {
    const head = headCases().find(({ name }) => name.endsWith('cross-attention'))!
    const run = async (switches: readonly boolean[]) => {
      using model = make(head, { numHiddenLayers: 3 }).train()
      const optimizer = new AdamW(model, { lr: 1e-2 })
      const losses = []
      for (const on of switches) {
        on ? model.gradientCheckpointingEnable() : model.gradientCheckpointingDisable()
        losses.push((await optimizer.step(inputsOf(padded(head.batch, 12)))).loss)
      }
      return { losses, weights: await model.stateDict() }
    }
    const never = await run([false, false, false])
    const mixed = await run([true, false, true])
    expect(mixed.losses).toEqual(never.losses)
    for (const [name, { data }] of never.weights) expect(sameBits(mixed.weights.get(name)!.data, data), name).toBe(true)
  })

  it('works for what is frozen in part', async () => {
    const head = headCases().find(({ name }) => name === 'token classification')!
    using plain = make(head, { numHiddenLayers: 3 }).train().freeze('embeddings|layer.1|query')
    using saving = make(head, { numHiddenLayers: 3 }).train().freeze('embeddings|layer.1|query')
    const wanted = await plain.gradients(inputsOf(head.batch))
    const got = await saving.gradientCheckpointingEnable().gradients(inputsOf(head.batch))
    expect([...got.gradients.keys()]).toEqual([...wanted.gradients.keys()])
    for (const [name, { data }] of wanted.gradients)
      expect(sameBits(got.gradients.get(name)!.data, data), name).toBe(true)
  })
})

describe('the memory of a checkpointed step', () => {
  const settings: StepSettings = {
    differentiate: true,
    training: true,
    givenMasks: false,
    checkpointing: false,
    hiddenStates: false,
    attentions: false,
    keyMask: false,
    selection: 'labelled',
    compact: true,
    encoder: 'none',
    choices: false,
    labels: { kind: 'masked_lm', terms: [{ name: 'labels', rows: 'labelled', width: 1, type: 'int32' }] },
  }
  const bytes = (numHiddenLayers: number, checkpointing: boolean, recomputing = false): number => {
    const scope = new ParameterScope()
    const config = tinyConfig({ hiddenSize: 64, intermediateSize: 256, numHiddenLayers })
    const head = new MaskedLMHead(scope, config)
    layOut(scope.parameters)
    const capacity = { tokens: 512, sequences: 16, labelled: 64 }
    const { plan } = recordStep({
      head,
      capacity,
      settings: { ...settings, checkpointing },
      hiddenSize: 64,
      dtype: 'float32',
      packing: undefined,
      recomputing,
    })
    return plan.arenaBytes.activations
  }

  it('is that of one layer and the input of each', () => {
    expect(bytes(8, true)).toBeLessThan(bytes(8, false) / 3)
    // one more layer costs its input [tokens, H], and nothing else
    const layerInput = 512 * 64 * 4
    expect(bytes(9, true) - bytes(8, true)).toBe(layerInput)
    expect(bytes(9, false) - bytes(8, false)).toBeGreaterThan(8 * layerInput)
  })

  it('is without the output of each activation where those are computed again', () => {
    const output = 512 * 256 * 4
    expect(bytes(8, false) - bytes(8, false, true)).toBeGreaterThanOrEqual(6 * output)
    expect(bytes(9, false) - bytes(9, false, true) - (bytes(8, false) - bytes(8, false, true))).toBe(output)
    // of one layer at a time it is one buffer more
    expect(bytes(8, true, true) - bytes(8, true)).toBeLessThanOrEqual(output)
  })

  it('is that of a plain one when nothing is differentiated', () => {
    const graph = new Graph({ tokens: 64 }, { differentiate: false, training: false, checkpointing: true })
    let calls = 0
    graph.checkpoint(() => {
      calls++
      return graph.value('x', undefined, 1)
    })
    graph.backward()
    expect(calls).toBe(1)
  })
})
