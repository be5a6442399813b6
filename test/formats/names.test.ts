import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FolderFiles } from '../../src/formats/folder-files.ts'
import { matchWeights } from '../../src/formats/names.ts'
import { openWeights } from '../../src/formats/weights.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'
const shapes = (names: Record<string, number[]>) => new Map(Object.entries(names))
const files = (names: Record<string, number[]>) =>
  new Map(Object.entries(names).map(([name, shape]) => [name, { shape }]))
const EMBEDDING = 'bert.embeddings.word_embeddings.weight'

describe('matchWeights', () => {
  it('pairs equal names', () => {
    const match = matchWeights(
      shapes({ 'bert.a': [1], 'classifier.bias': [2] }),
      files({ 'classifier.bias': [2], 'bert.a': [1] }),
    )
    expect(Object.fromEntries(match.sources)).toEqual({ 'bert.a': 'bert.a', 'classifier.bias': 'classifier.bias' })
    expect([match.missing, match.unexpected, match.mismatched]).toEqual([[], [], []])
  })

  it('puts the prefix before names and takes it off', () => {
    const toHead = matchWeights(shapes({ 'bert.pooler.w': [1], 'classifier.w': [2] }), files({ 'pooler.w': [1] }))
    expect([...toHead.sources]).toEqual([['bert.pooler.w', 'pooler.w']])
    expect(toHead.missing).toEqual(['classifier.w'])
    const toBase = matchWeights(shapes({ 'pooler.w': [1] }), files({ 'bert.pooler.w': [1], 'classifier.w': [2] }))
    expect([...toBase.sources]).toEqual([['pooler.w', 'bert.pooler.w']])
    expect(toBase.unexpected).toEqual(['classifier.w'])
  })

  it('prefers the exact name whatever the order', () => {
    for (const names of [
      ['x', 'bert.x'],
      ['bert.x', 'x'],
    ]) {
      const match = matchWeights(shapes({ 'bert.x': [1] }), files(Object.fromEntries(names.map((name) => [name, [1]]))))
      expect([...match.sources.values(), ...match.unexpected]).toEqual(['bert.x', 'x'])
    }
  })

  it('reads gamma and beta of LayerNorm, and of nothing else', () => {
    const match = matchWeights(
      shapes({ 'bert.LayerNorm.weight': [1], 'bert.LayerNorm.bias': [1], 'bert.x.weight': [1] }),
      files({ 'LayerNorm.gamma': [1], 'bert.LayerNorm.beta': [1], 'bert.x.gamma': [1] }),
    )
    expect(Object.fromEntries(match.sources)).toEqual({
      'bert.LayerNorm.weight': 'LayerNorm.gamma',
      'bert.LayerNorm.bias': 'bert.LayerNorm.beta',
    })
    expect([match.missing, match.unexpected]).toEqual([['bert.x.weight'], ['bert.x.gamma']])
  })

  it('passes over position_ids', () => {
    const buffers = { 'embeddings.position_ids': [1, 512], 'bert.embeddings.position_ids': [1, 512] }
    expect(matchWeights(shapes({}), files(buffers)).unexpected).toEqual([])
    expect(matchWeights(shapes({}), files({ position_ids: [1] })).unexpected).toEqual(['position_ids'])
  })

  it('reports wrong shapes apart', () => {
    const match = matchWeights(shapes({ a: [2, 3], b: [6], c: [6] }), files({ a: [3, 2], b: [2, 3], c: [6] }))
    expect(match.mismatched).toEqual([
      { name: 'a', expected: [2, 3], found: [3, 2] },
      { name: 'b', expected: [6], found: [2, 3] },
    ])
    expect([[...match.sources.keys()], match.missing, match.unexpected]).toEqual([['c'], [], []])
  })

  it('takes a tied weight under either name', () => {
    const aliases = {
      [EMBEDDING]: ['cls.predictions.decoder.weight'],
      'cls.predictions.bias': ['cls.predictions.decoder.bias'],
      'not.in.this.model': ['x'],
    }
    const expected = shapes({ [EMBEDDING]: [5, 2], 'cls.predictions.bias': [5] })
    const alone = files({ 'cls.predictions.decoder.weight': [5, 2], 'cls.predictions.decoder.bias': [5], x: [1] })
    const byAlias = matchWeights(expected, alone, { aliases })
    expect([...byAlias.sources.values()]).toEqual(['cls.predictions.decoder.weight', 'cls.predictions.decoder.bias'])
    expect(byAlias.unexpected).toEqual(['x'])
    const both = files({ 'cls.predictions.decoder.weight': [5, 2], [EMBEDDING]: [5, 2], 'cls.predictions.bias': [5] })
    const byName = matchWeights(expected, both, { aliases })
    expect([...byName.sources.values()]).toEqual([EMBEDDING, 'cls.predictions.bias'])
    expect(byName.unexpected).toEqual([])
    expect(matchWeights(expected, both).unexpected).toEqual(['cls.predictions.decoder.weight'])
  })

  it('does not take an alias for a parameter of that name', () => {
    const expected = shapes({ [EMBEDDING]: [5, 2], 'cls.predictions.decoder.weight': [5, 2] })
    const untied = matchWeights(expected, files({ 'cls.predictions.decoder.weight': [5, 2] }), {
      aliases: { [EMBEDDING]: ['cls.predictions.decoder.weight'] },
    })
    expect([[...untied.sources.keys()], untied.missing]).toEqual([['cls.predictions.decoder.weight'], [EMBEDDING]])
  })

  it.skipIf(!reference)(`matches MiniLM with a classifier${needsReference}`, async () => {
    const weights = await openWeights(new FolderFiles(join(reference ?? '', 'data/weights/all-MiniLM-L6-v2')))
    await weights.close()
    const expected = shapes({ 'classifier.weight': [2, 384], 'classifier.bias': [2] })
    for (const [name, { shape }] of weights.tensors) {
      if (!name.endsWith('position_ids')) expected.set(`bert.${name}`, [...shape])
    }
    const match = matchWeights(expected, weights.tensors)
    expect(match.sources.size).toBe(103)
    expect([match.missing, match.unexpected]).toEqual([['classifier.weight', 'classifier.bias'], []])
  })
})
