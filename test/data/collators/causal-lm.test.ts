import { expect, test } from 'vitest'
import { labelNextTokens } from '../../../src/data/collators/causal-lm.ts'

test('the labels are the inputs, which the model shifts', () => {
  const example = { inputIds: [2, 7, 8, 3] }
  const { inputIds, labels } = labelNextTokens(example)
  expect(labels).toEqual([2, 7, 8, 3])
  expect(inputIds).toBe(example.inputIds)
  expect(labels).not.toBe(inputIds)
})
