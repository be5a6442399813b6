import { expect, test } from 'vitest'
import { AbortedError } from '../../src/errors.ts'
import { mapInSlices } from '../../src/train/slices.ts'

/** Keeps the processor for about a millisecond. */
function work(value: number): number {
  const end = performance.now() + 1
  while (performance.now() < end);
  return value * 2
}

const numbers = Array.from({ length: 60 }, (_, i) => i)

test('maps in order, and other work has its turns in between', async () => {
  let turns = 0
  const timer = setInterval(() => turns++, 0)
  expect(await mapInSlices(numbers, work)).toEqual(numbers.map((i) => i * 2))
  clearInterval(timer)
  expect(turns).toBeGreaterThanOrEqual(3)
})

test('stops at its signal', async () => {
  const controller = new AbortController()
  let done = 0
  const mapped = mapInSlices(
    numbers,
    (value) => {
      if (++done === 10) controller.abort()
      return work(value)
    },
    controller.signal,
  )
  await expect(mapped).rejects.toThrow(AbortedError)
  expect(done).toBeLessThan(numbers.length)
})
