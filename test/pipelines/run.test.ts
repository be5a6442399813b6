// Batches and streams, with a task that needs no model: the output of a word is its letters, one after another.
import { describe, expect, test } from 'vitest'
import { AbortedError, ArgumentError } from '../../src/errors.ts'
import { runAll, type Work } from '../../src/pipelines/run.ts'

/** Notes the lengths of the sequences of each batch. */
function work(batches: number[][], options: Partial<Work<string, string, string>> = {}): Work<string, string, string> {
  return {
    // a letter of the input for each sequence; a capital one is three tokens long
    start: (word) => ({
      sequences: [...word].map((letter) => ({
        inputIds: Array(letter < 'a' ? 3 : 1).fill(letter.charCodeAt(0)),
        tokenTypeIds: [],
      })),
      finish: (letters) => letters.join(''),
    }),
    compute: async (sequences) => {
      batches.push(sequences.map(({ inputIds }) => inputIds.length))
      return sequences.map(({ inputIds: [code] }) => String.fromCharCode(code))
    },
    batchSize: 3,
    maxTokens: Number.POSITIVE_INFINITY,
    signal: undefined,
    nameOf: (index) => `inputs[${index}]`,
    ...options,
  }
}

async function outputsOf<Output>(outputs: AsyncIterable<Output>): Promise<Output[]> {
  const list: Output[] = []
  for await (const output of outputs) list.push(output)
  return list
}

describe('runAll', () => {
  test('fills batches over the borders of inputs and keeps their order', async () => {
    const batches: number[][] = []
    const words = ['ab', '', 'cdefg', 'h', '', 'ij']
    expect(await outputsOf(runAll(words, work(batches)))).toEqual(words)
    expect(batches.map(({ length }) => length)).toEqual([3, 3, 3, 1])
  })

  test('makes no batch of more tokens than may be, but of one sequence', async () => {
    const batches: number[][] = []
    expect(await outputsOf(runAll(['aBcdE'], work(batches, { batchSize: 9, maxTokens: 4 })))).toEqual(['aBcdE'])
    expect(batches).toEqual([[1, 3], [1, 1], [3]])
    batches.length = 0
    await outputsOf(runAll(['AB'], work(batches, { maxTokens: 2 })))
    expect(batches).toEqual([[3], [3]])
  })

  test('counts the tokens that are wanted', async () => {
    const batches: number[][] = []
    const start: Work<string, string, string>['start'] = (word) => ({
      sequences: [...word].map((letter) => ({
        inputIds: Array(5).fill(letter.charCodeAt(0)),
        tokenTypeIds: [],
        wanted: [1],
      })),
      finish: (letters) => letters.join(''),
    })
    expect(await outputsOf(runAll(['abc'], work(batches, { start, maxTokens: 2 })))).toEqual(['abc'])
    expect(batches).toEqual([[5, 5], [5]])
  })

  test('has sequences made one by one, between batches', async () => {
    const order: string[] = []
    const start = (word: string) => ({
      *sequences() {
        for (const letter of word) {
          order.push(letter)
          yield { inputIds: [letter.charCodeAt(0)], tokenTypeIds: [] }
        }
      },
    })
    const { compute } = work([])
    const options: Partial<Work<string, string, string>> = {
      start: (word) => ({ sequences: start(word).sequences(), finish: (letters) => letters.join('') }),
      compute: (sequences, pause) => {
        order.push(`${sequences.length}`)
        return compute(sequences, pause)
      },
      batchSize: 2,
    }
    expect(await outputsOf(runAll(['abc', 'd'], work([], options)))).toEqual(['abc', 'd'])
    expect(order.join(' ')).toBe('a b c 2 d 2')
  })

  test('names the input whose sequences cannot all be made, after the outputs before it', async () => {
    const { start } = work([])
    function* broken() {
      yield { inputIds: [120], tokenTypeIds: [] }
      throw new ArgumentError('Expected more')
    }
    const batches: number[][] = []
    const outputs = runAll(
      ['a', 'x'],
      work(batches, { start: (word) => (word === 'x' ? { ...start(word), sequences: broken() } : start(word)) }),
    )
    expect((await outputs.next()).value).toBe('a')
    await expect(outputs.next()).rejects.toThrow(new ArgumentError('inputs[1]: Expected more'))
    expect(batches).toEqual([[1]])
  })

  test('gives the event loop its turns where an output takes long', async () => {
    let turned = false
    const start: Work<string, string, string>['start'] = () => ({
      sequences: [],
      async finish(_, pause) {
        setImmediate(() => {
          turned = true
        })
        for (let pauses = 0; !turned && pauses < 1e6; pauses++) await pause()
        return turned ? 'done' : 'no turn came'
      },
    })
    expect(await outputsOf(runAll(['a'], work([], { start })))).toEqual(['done'])
  })

  test('stops what takes long when its signal says so', async () => {
    const controller = new AbortController()
    const start: Work<string, string, string>['start'] = () => ({
      sequences: [],
      async finish(_, pause) {
        setImmediate(() => controller.abort())
        for (;;) await pause()
      },
    })
    const outputs = runAll(['a'], work([], { start, signal: controller.signal }))
    await expect(outputs.next()).rejects.toThrow(AbortedError)
  })

  test('says which input an ArgumentError is about', async () => {
    const start = () => {
      throw new ArgumentError('Expected more')
    }
    const outputs = outputsOf(runAll(['a'], work([], { start })))
    await expect(outputs).rejects.toThrow(new ArgumentError('inputs[0]: Expected more'))
  })

  test('gives up between batches when its signal says so', async () => {
    const controller = new AbortController()
    const batches: number[][] = []
    const outputs = runAll(['abc', 'def'], work(batches, { signal: controller.signal }))
    expect((await outputs.next()).value).toBe('abc')
    controller.abort()
    await expect(outputs.next()).rejects.toThrow(AbortedError)
    expect(batches).toHaveLength(1)
    await expect(runAll(['a'], work(batches, { signal: AbortSignal.abort() })).next()).rejects.toThrow(AbortedError)
  })
})

describe('a stream', () => {
  test('that comes at once is computed in full batches', async () => {
    const batches: number[][] = []
    async function* source() {
      yield* ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    }
    expect(await outputsOf(runAll(source(), work(batches)))).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g'])
    expect(batches.map(({ length }) => length)).toEqual([3, 3, 1])
  })

  test('may wait for an output before it goes on', async () => {
    let answered = () => {}
    async function* source() {
      for (const word of ['a', 'b', 'c']) {
        const answer = new Promise<void>((resolve) => {
          answered = resolve
        })
        yield word
        await answer
      }
    }
    const seen: string[] = []
    for await (const output of runAll(source(), work([]))) {
      seen.push(output)
      answered()
    }
    expect(seen).toEqual(['a', 'b', 'c'])
  })

  test('is read no further ahead than a batch', async () => {
    let given = 0
    async function* source() {
      for (;;) {
        given++
        yield 'a'
      }
    }
    const outputs = runAll(source(), work([]))
    for (let i = 0; i < 10; i++) await outputs.next()
    // those of the outputs, of the rest of their batch, of the next one, and one that waits to be asked for
    expect(given).toBeLessThanOrEqual(10 + 2 + 3 + 1)
    await outputs.return(undefined)
  })

  test.each<[string, (onEnd: () => void) => Iterable<string> | AsyncIterable<string>]>([
    [
      'asynchronous',
      async function* (onEnd) {
        try {
          for (;;) yield 'abc'
        } finally {
          onEnd()
        }
      },
    ],
    [
      'synchronous',
      function* (onEnd) {
        try {
          for (;;) yield 'abc'
        } finally {
          onEnd()
        }
      },
    ],
  ])('%s, is told when nobody wants more of it', async (_, endless) => {
    let told = false
    const source = endless(() => {
      told = true
    })
    for await (const output of runAll(source, work([]))) {
      expect(output).toBe('abc')
      break
    }
    await new Promise(setImmediate)
    expect(told).toBe(true)
  })

  test('that fails does so after the outputs of what came before', async () => {
    async function* source() {
      yield 'a'
      throw new RangeError('the source broke')
    }
    const outputs = runAll(source(), work([]))
    expect((await outputs.next()).value).toBe('a')
    await expect(outputs.next()).rejects.toThrow(new RangeError('the source broke'))
  })

  test('that fails does so after them also where it is not asynchronous', async () => {
    function* source() {
      yield 'a'
      yield 'bcde'
      throw new RangeError('the source broke')
    }
    const outputs = runAll(source(), work([], { batchSize: 9 }))
    expect((await outputs.next()).value).toBe('a')
    expect((await outputs.next()).value).toBe('bcde')
    await expect(outputs.next()).rejects.toThrow(new RangeError('the source broke'))
  })

  test('that never comes is left when the signal says so', async () => {
    const controller = new AbortController()
    const source: AsyncIterable<string> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }
    const output = runAll(source, work([], { signal: controller.signal })).next()
    await new Promise(setImmediate)
    controller.abort()
    await expect(output).rejects.toThrow(AbortedError)
  })

  test('may be a generator that is not asynchronous', async () => {
    function* source() {
      yield 'ab'
      yield 'c'
    }
    expect(await outputsOf(runAll(source(), work([])))).toEqual(['ab', 'c'])
  })
})
