// The listing of a whole recorded step: what a change of the recorder, of a module or of the planner does to it shows in the diff.
import { describe, expect, it } from 'vitest'
import { SequenceClassificationHead } from '../../src/heads/sequence-classification.ts'
import { ParameterScope } from '../../src/model/parameters.ts'
import { layOut } from '../../src/session/layout.ts'
import { recordStep, type StepSettings } from '../../src/session/plans.ts'
import { tinyConfig } from './tiny.ts'

describe('the plan of a tiny BERT', () => {
  const record = (differentiate: boolean, recomputing = false) => {
    const scope = new ParameterScope()
    const head = new SequenceClassificationHead(scope, tinyConfig({ numHiddenLayers: 1 }))
    layOut(scope.parameters)
    const settings: StepSettings = {
      differentiate,
      training: differentiate,
      givenMasks: false,
      checkpointing: false,
      hiddenStates: false,
      attentions: false,
      keyMask: false,
      selection: 'first',
      compact: false,
      encoder: 'none',
      choices: false,
      labels: {
        kind: 'single_label_classification',
        terms: [{ name: 'labels', rows: 'sequences', width: 1, type: 'int32' }],
      },
    }
    const capacity = { tokens: 64, sequences: 16 }
    return recordStep({ head, capacity, settings, hiddenSize: 8, dtype: 'float32', packing: undefined, recomputing })
      .plan
  }

  it('of a training step', () => {
    return expect(`${record(true)}\n`).toMatchFileSnapshot('./plans/training.txt')
  })

  it('of a step that computes activations again', () => {
    const lines = `${record(true, true)}`
      .split('\n')
      .filter((line) => /(output|intermediate).dense: .*backward/.test(line))
    const named = lines.map((line) =>
      line.replace(/^ *\d+ .*layer\.0\.(attention\.output|output|intermediate)\.dense: /, '$1 '),
    )
    expect(named.map((line) => line.split('(')[0])).toEqual([
      'output linear_backward_data',
      'intermediate activation_backward',
      'output linear_backward_weight',
      'intermediate linear_backward_weight',
      'intermediate linear_backward_data',
      'attention.output linear_backward_weight',
      'attention.output linear_backward_data',
    ])
    const again = / y=(\S+)/.exec(named[1])![1]
    expect(named[2]).toContain(` x=${again})`)
  })

  it('of a forward without gradients takes far less memory', async () => {
    await expect(`${record(false)}\n`).toMatchFileSnapshot('./plans/forward.txt')
    expect(record(false).arenaBytes.activations).toBeLessThan(record(true).arenaBytes.activations / 2)
  })
})
