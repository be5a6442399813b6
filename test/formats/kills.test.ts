import { expect, it } from 'vitest'
import { Random } from './helpers.ts'
import { killRepeatedly } from './kills.mjs'

it('a process that is killed while it saves leaves the old weights or the new ones (200 kills)', async () => {
  // two at a time: most of it is waiting for a process to start
  const halves = await Promise.all(
    [1, 2].map((seed) => {
      const random = new Random(seed)
      return killRepeatedly(100, () => random.next())
    }),
  )
  expect(halves.flatMap(({ failures }) => failures)).toEqual([])
  // else the kills came between saves and show nothing
  expect(halves.reduce((sum, { interrupted }) => sum + interrupted, 0)).toBeGreaterThan(10)
}, 600_000)
