import { expect, it } from 'vitest'
import { Random } from '../formats/helpers.ts'
import { killTraining } from './kills.mjs'

it('a training process that is killed loses no checkpoint that it reported, and ends as if it had not been (8 kills)', async () => {
  const random = new Random(1)
  const { failures } = await killTraining(8, () => random.next())
  expect(failures).toEqual([])
}, 300_000)
