import { describe, expect, test } from 'vitest'
import { resolveTrainingArguments, type TrainingArgumentsInput } from '../../src/train/arguments.ts'
import { epochBatches, groupByLength, startsByTokens } from '../../src/train/sampler.ts'
import { planTraining } from '../../src/train/training-plan.ts'
import { Random } from '../conformance/harness.ts'

const sum = (values: Iterable<number>): number => [...values].reduce((a, b) => a + b, 0)
const identity = (size: number) => Uint32Array.from({ length: size }, (_, i) => i)
const randomLengths = (size: number, most: number, seed: number) => {
  const random = new Random(seed)
  return Uint32Array.from({ length: size }, () => 1 + random.below(most))
}

async function batchesOf(given: TrainingArgumentsInput, lengths: Uint32Array, epoch: number) {
  const args = resolveTrainingArguments(given)
  const plan = planTraining(args, { examples: lengths.length, lengths })
  const { order, starts } = await epochBatches(args, plan, lengths, 42, epoch)
  return Array.from({ length: plan.batchesPerEpoch }, (_, b) => [...order.subarray(starts[b], starts[b + 1])])
}

describe('group_by_length', () => {
  // Transformers 5.18: get_length_grouped_indices(lengths, 2, mega_batch_mult=None) on the order 0 .. 15
  test('sorts each window and puts the longest first, as Transformers does', async () => {
    const lengths = Uint32Array.of(5, 9, 1, 7, 3, 8, 2, 6, 30, 4, 11, 10, 13, 12, 15, 14)
    // windows of two batches: min(16 / (2 x 4), 50)
    expect([...(await groupByLength(identity(16), lengths, 2))]).toEqual([
      8, 3, 0, 2, 5, 7, 4, 6, 1, 10, 11, 9, 14, 15, 12, 13,
    ])
  })

  test('is a permutation whose batches differ less in length than random ones', async () => {
    const lengths = randomLengths(1001, 128, 3)
    const spread = async (trainSamplingStrategy: 'random' | 'group_by_length') => {
      const batches = await batchesOf({ trainSamplingStrategy, perDeviceTrainBatchSize: 16 }, lengths, 1)
      expect(batches.flat().sort((a, b) => a - b)).toEqual([...identity(1001)])
      return sum(
        batches.map((batch) => Math.max(...batch.map((i) => lengths[i])) - Math.min(...batch.map((i) => lengths[i]))),
      )
    }
    expect(await spread('group_by_length')).toBeLessThan(0.25 * (await spread('random')))
  })

  test('of fewer examples than a window is one window', async () => {
    expect([...(await groupByLength(identity(5), Uint32Array.of(1, 5, 3, 5, 2), 8))]).toEqual([1, 3, 2, 4, 0])
  })
})

describe('tokensPerBatch', () => {
  test.each([1, 2, 3])('fills as many batches in epoch %i as in any other, each example once', async (epoch) => {
    const lengths = randomLengths(777, 100, 5)
    const batches = await batchesOf({ tokensPerBatch: 500 }, lengths, epoch)
    const total = sum(lengths)
    expect(batches).toHaveLength(Math.round(total / 500))
    expect(batches.flat().sort((a, b) => a - b)).toEqual([...identity(777)])
    const share = total / batches.length
    for (const batch of batches) {
      const tokens = sum(batch.map((i) => lengths[i]))
      expect(tokens).toBeGreaterThan(share - 100)
      expect(tokens).toBeLessThan(share + 100)
    }
  })

  test('leaves no batch empty where examples are as long as a share', () => {
    for (let seed = 0; seed < 200; seed++) {
      const lengths = randomLengths(1 + (seed % 40), 64, seed)
      const longest = Math.max(...lengths)
      const count = Math.max(1, Math.floor(sum(lengths) / longest))
      const starts = startsByTokens(identity(lengths.length), lengths, count)
      expect([starts[0], starts[count]]).toEqual([0, lengths.length])
      for (let b = 0; b < count; b++) expect(starts[b + 1]).toBeGreaterThan(starts[b])
    }
  })

  test('with group_by_length makes batches of like lengths, also of more sequences than perDeviceTrainBatchSize', async () => {
    const lengths = randomLengths(4000, 32, 9)
    const spread = async (trainSamplingStrategy: 'random' | 'group_by_length') => {
      const batches = await batchesOf({ tokensPerBatch: 8192, trainSamplingStrategy }, lengths, 0)
      expect(batches.flat().sort((a, b) => a - b)).toEqual([...identity(4000)])
      return sum(
        batches.map((batch) => Math.max(...batch.map((i) => lengths[i])) - Math.min(...batch.map((i) => lengths[i]))),
      )
    }
    expect(await spread('group_by_length')).toBeLessThan(0.75 * (await spread('random')))
  })

  test('groups within the batches of an update, as Transformers does', async () => {
    const lengths = randomLengths(64, 50, 2)
    const grouping = { trainSamplingStrategy: 'group_by_length', perDeviceTrainBatchSize: 2 } as const
    const accumulated = await batchesOf({ ...grouping, gradientAccumulationSteps: 4 }, lengths, 0)
    const whole = await batchesOf({ ...grouping, perDeviceTrainBatchSize: 8 }, lengths, 0)
    expect(accumulated.flat()).toEqual(whole.flat())
  })

  test('refuses fewer tokens than the longest example has', () => {
    const args = resolveTrainingArguments({ tokensPerBatch: 63 })
    expect(() => planTraining(args, { examples: 2, lengths: Uint32Array.of(3, 64) })).toThrow(
      /at least 64, the tokens of the longest example/,
    )
    const both = { tokensPerBatch: 64, dataloaderDropLast: true }
    expect(() => resolveTrainingArguments(both)).toThrow(/tokensPerBatch or dataloaderDropLast/)
  })
})
