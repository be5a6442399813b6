// Models whose hidden_act has parameters: their names, first values and gradients, saving and loading, freezing and training.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openSafetensors } from '../../src/formats/safetensors-file.ts'
import { AdamW } from '../../src/session/adamw.ts'
import { BertForMaskedLM } from '../../src/session/models.ts'
import { sameBits, sequences, tinyConfig } from './tiny.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'bertkit-parametric-'))
afterAll(() => rmSync(folder, { recursive: true }))

// state_dict() of a new BertForMaskedLM in transformers 5.18, its bfloat16 numbers exactly
const ACTIVATIONS = [
  ['prelu', { weight: 0.25 }, {}],
  ['xielu', { alpha_p: 0.2041015625, alpha_n: -1.046875 }, { beta: 0.5, eps: Math.fround(-9.98377799987793e-7) }],
] as const

const MODULES = [
  'bert.encoder.layer.0.intermediate.intermediate_act_fn',
  'bert.encoder.layer.1.intermediate.intermediate_act_fn',
  'cls.predictions.transform.transform_act_fn',
]
const isOwn = (name: string): boolean => name.includes('_act_fn.')

const ids = sequences([4, 9, 2, 6])
const batch = { inputIds: ids, labels: ids.map((row) => row.map((id, i) => (i % 2 ? -100 : (id * 3) % 53))) }
const noDropout = { hiddenDropoutProb: 0, attentionProbsDropoutProb: 0 }

describe.each(ACTIVATIONS)('%s', (hiddenAct, parameters, buffers) => {
  const create = (fields = {}) => new BertForMaskedLM(tinyConfig({ hiddenAct, ...noDropout, ...fields }), { seed: 5 })
  const own = MODULES.flatMap((module) => Object.keys(parameters).map((name) => `${module}.${name}`))
  const stored = MODULES.flatMap((module) =>
    Object.entries({ ...parameters, ...buffers }).map(([name, value]) => [`${module}.${name}`, value] as const),
  )

  it("has Transformers' names in its order, and first values", async () => {
    using model = create()
    const names = model.parameters().map(({ name }) => name)
    expect(names.filter(isOwn)).toEqual(own)
    expect(names.indexOf(own[0])).toBe(names.indexOf('bert.encoder.layer.0.intermediate.dense.bias') + 1)
    expect(names.indexOf(own.at(-1)!)).toBe(names.indexOf('cls.predictions.transform.LayerNorm.weight') - 1)
    const state = [...(await model.stateDict())].filter(([name]) => isOwn(name))
    expect(state.map(([name, { data }]) => [name, data[0]])).toEqual(stored)
    const shapeOf = (name: string) => (Object.hasOwn(buffers, name.split('.').at(-1)!) ? [] : [1])
    for (const [name, { shape }] of state) expect(shape, name).toEqual(shapeOf(name))
  })

  it('has the gradients of finite differences', async () => {
    using model = create().eval()
    const { loss, gradients } = await model.gradients(batch)
    expect((await model.forward(batch)).loss).toBe(loss)
    expect([...gradients.keys()].filter(isOwn)).toEqual(own)
    const state = await model.stateDict()
    for (const name of own) {
      const at = async (value: number) => {
        await model.loadStateDict(new Map([...state, [name, { data: Float32Array.of(value), shape: [1] }]]))
        return (await model.forward(batch)).loss!
      }
      // small, as the loss has a kink wherever an input of prelu passes 0; its rounding to float32 then costs some 1e-4
      const h = 2 ** -8
      const value = state.get(name)!.data[0]
      const slope = ((await at(value + h)) - (await at(value - h))) / (2 * h)
      const got = gradients.get(name)!.data[0]
      expect(Math.abs(got), name).toBeGreaterThan(0.005)
      expect(Math.abs(got - slope), `${name}: ${got}, expected ${slope}`).toBeLessThan(0.01 * Math.abs(slope) + 3e-4)
    }
  })

  it('has the same bits with gradient checkpointing', async () => {
    using model = create({ hiddenDropoutProb: 0.1 }).train()
    const plain = await model.gradients(batch)
    const checkpointed = await model.gradientCheckpointingEnable().gradients(batch)
    expect(checkpointed.loss).toBe(plain.loss)
    for (const [name, { data }] of plain.gradients)
      expect(sameBits(checkpointed.gradients.get(name)!.data, data), name).toBe(true)
  })

  it('is saved with what it stores, and loads again', async () => {
    using model = create().eval()
    const changed = new Map(await model.stateDict())
    for (const [name, value] of stored)
      changed.set(name, { data: Float32Array.of(value * 1.5), shape: changed.get(name)!.shape })
    await model.loadStateDict(changed)
    const out = path.join(folder, hiddenAct)
    await model.savePretrained(out)
    const file = await openSafetensors(path.join(out, 'model.safetensors'))
    expect([...file.tensors.keys()].filter(isOwn).sort()).toEqual(stored.map(([name]) => name).sort())
    await file.close()
    using copy = await BertForMaskedLM.fromPretrained(out)
    expect(copy.loadReport).toEqual({ missing: [], unexpected: [], mismatched: [] })
    for (const [name, { data }] of await copy.stateDict())
      expect(sameBits(data, changed.get(name)!.data), name).toBe(true)
    const [a, b] = [await model.forward(batch), await copy.forward(batch)]
    expect(sameBits(a.logits.data, b.logits.data)).toBe(true)
    using fresh = create().eval()
    expect(sameBits((await fresh.forward(batch)).logits.data, a.logits.data)).toBe(false)
  })

  it('is moved by AdamW, with weight decay, and its buffers are not', async () => {
    using model = create()
    const optimizer = new AdamW(model, { lr: 1e-2, weightDecay: 0.1 })
    const [decayed, undecayed] = optimizer.paramGroups
    expect(decayed.params.filter(isOwn)).toEqual(own)
    expect(undecayed.params.filter(isOwn)).toEqual([])
    const { loss } = await optimizer.step(batch, { maxGradNorm: 1 })
    const after = await model.stateDict()
    for (const [name, value] of stored) {
      // AdamW's first step is the rate itself, after the decay
      const moved = own.includes(name) ? Math.abs(after.get(name)!.data[0] - value * (1 - 1e-3)) : undefined
      if (moved === undefined) expect(after.get(name)!.data[0], name).toBe(value)
      else expect(moved, name).toBeCloseTo(1e-2, 4)
    }
    for (let i = 0; i < 5; i++) await optimizer.step(batch)
    expect((await optimizer.step(batch)).loss).toBeLessThan(loss)
  })

  it('can be frozen, and trained alone', async () => {
    using model = create().eval()
    const all = await model.gradients(batch)
    const weights = (await model.freeze(/_act_fn/).gradients(batch)).gradients
    expect([...weights.keys()].filter(isOwn)).toEqual([])
    const alone = (
      await model
        .freeze('')
        .unfreeze(/_act_fn/)
        .gradients(batch)
    ).gradients
    expect([...alone.keys()]).toEqual(own)
    for (const [name, { data }] of [...weights, ...alone])
      expect(sameBits(data, all.gradients.get(name)!.data), name).toBe(true)
    const one = (await model.freeze(own[0]).gradients(batch)).gradients
    expect([...one.keys()]).toEqual(own.slice(1))
  })
})

describe('buffers', () => {
  it('are no parameters: neither frozen by name nor taken by a parameter group', async () => {
    using model = new BertForMaskedLM(tinyConfig({ hiddenAct: 'xielu' }))
    expect(() => model.freeze(/_act_fn\.eps$/)).toThrow(/No parameter has a name/)
    const optimizer = new AdamW(model)
    optimizer.paramGroups[0].params.push(`${MODULES[0]}.beta`)
    await expect(optimizer.step(batch)).rejects.toThrow(/no parameter of the model/)
  })
})
