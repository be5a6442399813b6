import { describe, expect, test } from 'vitest'
import { AbortedError, ArgumentError } from '../src/errors.ts'
import { Run } from '../src/run.ts'

/** Three events and a result, and what became of the generator. */
function work({ failAt = Number.POSITIVE_INFINITY } = {}) {
  const seen = { started: 0, ended: 0 }
  async function* events(): AsyncGenerator<number, { readonly sum: number }> {
    seen.started++
    try {
      let sum = 0
      for (let i = 1; i <= 3; i++) {
        await new Promise((resolve) => setImmediate(resolve))
        if (i === failAt) throw new RangeError(`event ${i} failed`)
        sum += i
        yield i
      }
      return { sum }
    } finally {
      seen.ended++
    }
  }
  return { run: new Run(events(), 'No result: its loop was left'), seen }
}

const loop = async (run: Run<number, unknown>): Promise<number[]> => {
  const got: number[] = []
  for await (const event of run) got.push(event)
  return got
}

describe('a run', () => {
  test('does nothing before it is asked, and an iterator that is never asked is no use of it', async () => {
    const { run, seen } = work()
    run[Symbol.asyncIterator]()
    await new Promise((resolve) => setImmediate(resolve))
    expect(seen.started).toBe(0)
    expect(await run).toEqual({ sum: 6 })
  })

  test.each([
    ['a loop and an await', (run: Run<number, unknown>) => [loop(run), run]],
    [
      'an await and a loop, begun in one turn',
      (run: Run<number, unknown>) => [Promise.resolve(run), loop(run)].reverse(),
    ],
  ])('%s: the loop gets all events and the await its result', async (_, start) => {
    const { run, seen } = work()
    expect(await Promise.all(start(run))).toEqual([[1, 2, 3], { sum: 6 }])
    expect(await run).toEqual({ sum: 6 })
    expect(seen).toEqual({ started: 1, ended: 1 })
  })

  test('awaited several times runs once', async () => {
    const { run, seen } = work()
    expect(await Promise.all([run, run])).toEqual([{ sum: 6 }, { sum: 6 }])
    expect(await run).toBe(await run)
    expect(seen.started).toBe(1)
  })

  test('a second loop beside the first is an ArgumentError and takes nothing from it', async () => {
    const { run } = work()
    const [first, second] = await Promise.allSettled([loop(run), loop(run)])
    expect(first).toEqual({ status: 'fulfilled', value: [1, 2, 3] })
    expect(second).toMatchObject({ status: 'rejected', reason: expect.any(ArgumentError) })
    expect(await run).toEqual({ sum: 6 })
  })

  test.each<[string, (run: Run<number, unknown>) => unknown]>([
    ['after the run was awaited', (run) => run.then(() => {})],
    ['while the run is awaited', (run) => void run.then(() => {})],
    ['after a loop', loop],
  ])('a loop %s is an ArgumentError, and the result stays', async (_, use) => {
    const { run } = work()
    await use(run)
    await expect(loop(run)).rejects.toThrow(ArgumentError)
    expect(await run).toEqual({ sum: 6 })
  })

  test('left early is ended, and has no result: neither for who awaited during the loop nor for who does later', async () => {
    const { run, seen } = work()
    let during: Promise<unknown> | undefined
    for await (const event of run) {
      during ??= Promise.resolve(run)
      if (event === 2) break
    }
    expect(seen.ended).toBe(1)
    await expect(during).rejects.toThrow(new AbortedError('No result: its loop was left'))
    await expect(run).rejects.toThrow(AbortedError)
    await expect(loop(run)).rejects.toThrow(ArgumentError)
  })

  test('that fails gives its error to the loop, to who awaits, and later again', async () => {
    const { run } = work({ failAt: 2 })
    const results = await Promise.allSettled([loop(run), run])
    for (const result of results) expect(result).toMatchObject({ reason: new RangeError('event 2 failed') })
    await expect(run).rejects.toThrow('event 2 failed')
    const awaited = work({ failAt: 2 })
    await expect(awaited.run).rejects.toThrow('event 2 failed')
    await expect(awaited.run).rejects.toThrow('event 2 failed')
  })

  test('that fails in a loop, never awaited, leaves no rejection unhandled', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => unhandled.push(reason)
    process.on('unhandledRejection', note)
    try {
      await expect(loop(work({ failAt: 1 }).run)).rejects.toThrow(RangeError)
      for await (const _ of work().run) break
      await new Promise((resolve) => setTimeout(resolve, 10))
    } finally {
      process.off('unhandledRejection', note)
    }
    expect(unhandled).toEqual([])
  })
})
