import { describe, expect, it } from 'vitest'
import { defaultParamGroups, layerwiseParamGroups, noDecay } from '../../src/optim/param-groups.ts'

describe('noDecay', () => {
  it.each([
    'bert.embeddings.word_embeddings.weight',
    'bert.embeddings.position_embeddings.weight',
    'bert.embeddings.token_type_embeddings.weight',
    'bert.encoder.layer.0.attention.self.query.weight',
    'bert.encoder.layer.0.output.dense.weight',
    'bert.pooler.dense.weight',
    'cls.predictions.transform.dense.weight',
    'cls.seq_relationship.weight',
    'classifier.weight',
    'normaliser.weight',
    'layer.norms.weight',
  ])('is false for %s', (name) => {
    expect(noDecay(name)).toBe(false)
  })

  it.each([
    'bert.encoder.layer.0.attention.self.query.bias',
    'cls.predictions.bias',
    'bert.embeddings.LayerNorm.weight',
    'bert.embeddings.LayerNorm.bias',
    'cls.predictions.transform.LayerNorm.weight',
    'model.input_layernorm.weight',
    'model.RMSNorm.weight',
    'norm.weight',
    'encoder.norm',
    'encoder.final_norm.weight',
  ])('is true for %s', (name) => {
    expect(noDecay(name)).toBe(true)
  })
})

describe('defaultParamGroups', () => {
  it('splits the names in order and keeps an empty group', () => {
    const names = ['b.weight', 'b.bias', 'a.weight', 'LayerNorm.weight']
    expect(defaultParamGroups(names, { lr: 1e-3, weightDecay: 0.1 })).toEqual([
      { params: ['b.weight', 'a.weight'], lr: 1e-3, weightDecay: 0.1 },
      { params: ['b.bias', 'LayerNorm.weight'], lr: 1e-3, weightDecay: 0 },
    ])
    expect(defaultParamGroups(['a.bias'], { lr: 1, weightDecay: 0.1 })[0].params).toEqual([])
  })
})

describe('layerwiseParamGroups', () => {
  const names = [
    'bert.embeddings.word_embeddings.weight',
    'bert.embeddings.LayerNorm.weight',
    'bert.encoder.layer.0.attention.self.query.weight',
    'bert.encoder.layer.0.attention.self.query.bias',
    'bert.encoder.layer.1.output.dense.weight',
    'bert.pooler.dense.weight',
    'classifier.bias',
  ]
  const groups = layerwiseParamGroups(names, { lr: 1, weightDecay: 0.1, decay: 0.5 })

  it('the rate halves with each layer below the head, which comes first', () => {
    expect(groups).toEqual([
      { params: ['bert.pooler.dense.weight'], lr: 1, weightDecay: 0.1 },
      { params: ['classifier.bias'], lr: 1, weightDecay: 0 },
      { params: ['bert.encoder.layer.1.output.dense.weight'], lr: 0.5, weightDecay: 0.1 },
      { params: ['bert.encoder.layer.0.attention.self.query.weight'], lr: 0.25, weightDecay: 0.1 },
      { params: ['bert.encoder.layer.0.attention.self.query.bias'], lr: 0.25, weightDecay: 0 },
      { params: ['bert.embeddings.word_embeddings.weight'], lr: 0.125, weightDecay: 0.1 },
      { params: ['bert.embeddings.LayerNorm.weight'], lr: 0.125, weightDecay: 0 },
    ])
  })

  it('every parameter is in one group', () => {
    expect(groups.flatMap(({ params }) => params).sort()).toEqual([...names].sort())
  })
})
