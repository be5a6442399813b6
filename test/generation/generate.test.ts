import { describe, expect, test } from 'vitest'
import { AbortedError, ArgumentError, NonFiniteError } from '../../src/errors.ts'
import { generate } from '../../src/generation/generate.ts'
import type { GenerateOptions } from '../../src/generation/options.ts'
import type { GeneratedToken } from '../../src/generation/sample.ts'
import { hashed, TableDecoder } from './table-decoder.ts'

const VOCAB = 11
const decoderOf = (maxLength = 40) => new TableDecoder(VOCAB, maxLength, hashed(VOCAB))
const sequencesOf = async (prompts: number[][] | undefined, options: GenerateOptions, decoder = decoderOf()) =>
  (await generate(() => decoder, prompts, options)).sequences

const PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2]]
const SAMPLING: GenerateOptions = { doSample: true, seed: 3, maxNewTokens: 8, eosTokenId: [0, 10] }
const STRATEGIES: [string, GenerateOptions][] = [
  ['greedy search', { maxNewTokens: 8, eosTokenId: [0, 10] }],
  ['sampling', { ...SAMPLING, numReturnSequences: 3 }],
  ['beam search', { maxNewTokens: 8, eosTokenId: 0, numBeams: 3, numReturnSequences: 2 }],
  ['beam sampling', { ...SAMPLING, numBeams: 3, numReturnSequences: 2 }],
]

describe.each(STRATEGIES)('%s', (_, options) => {
  test('gives a prompt in a batch what it gives the prompt alone', async () => {
    const together = await sequencesOf(PROMPTS, options)
    const alone = await Promise.all(PROMPTS.map((prompt) => sequencesOf([prompt], options)))
    expect(together).toEqual(alone.flat())
    expect(new Set(together.map(({ length }) => length)).size).toBeGreaterThan(2)
  })

  test('ends each sequence with its end token or at its limit, and asks for no row after that', async () => {
    const decoder = decoderOf()
    const sequences = await sequencesOf(PROMPTS, options, decoder)
    const ends = [options.eosTokenId ?? []].flat()
    const each = options.numReturnSequences ?? 1
    for (const [i, ids] of sequences.entries()) {
      const prompt = PROMPTS[Math.floor(i / each)]
      const fresh = ids.slice(prompt.length)
      expect(ids.slice(0, prompt.length)).toEqual(prompt)
      expect(fresh.slice(0, -1).some((id) => ends.includes(id))).toBe(false)
      expect(ends.includes(fresh[fresh.length - 1]) || fresh.length === 8).toBe(true)
    }
    expect(decoder.calls[0]).toEqual(PROMPTS)
    expect(decoder.calls.flat().some((ids) => ends.includes(ids[ids.length - 1]))).toBe(false)
    expect(decoder.calls.length).toBeLessThanOrEqual(8)
    expect(decoder.ended).toBe(1)
  })

  test('fills to the longest with padTokenId', async () => {
    const plain = await sequencesOf(PROMPTS, options)
    const filled = await sequencesOf(PROMPTS, { ...options, padTokenId: 7 })
    const longest = Math.max(...plain.map(({ length }) => length))
    expect(filled).toEqual(plain.map((ids) => [...ids, ...Array(longest - ids.length).fill(7)]))
  })

  test('stops before the next step when its signal fires, and ends the decoder', async () => {
    const controller = new AbortController()
    const logits = hashed(VOCAB)
    const decoder = new TableDecoder(VOCAB, 40, (ids) => {
      if (ids.length === 5) controller.abort()
      return logits(ids)
    })
    const run = generate(() => decoder, [[1, 2, 3]], { ...options, minNewTokens: 6, signal: controller.signal })
    await expect(run).rejects.toThrow(AbortedError)
    expect(decoder.calls).toHaveLength(3)
    expect(decoder.ended).toBe(1)
  })

  test('says that the logits are not finite, and ends the decoder', async () => {
    const decoder = new TableDecoder(VOCAB, 40, (ids) => hashed(VOCAB)(ids).map((x) => (ids.length > 3 ? x / 0 : x)))
    const run = generate(() => decoder, [[1, 2]], { ...options, minNewTokens: 6 })
    await expect(run).rejects.toThrow(NonFiniteError)
    await expect(run).rejects.toThrow(/logits of new token 3 hold -?Infinity/)
    expect(decoder.ended).toBe(1)
  })
})

describe.each([
  ['sampling', { ...SAMPLING, numReturnSequences: 2 }],
  ['beam sampling', { ...SAMPLING, numBeams: 3, numReturnSequences: 2 }],
])('%s of a prompt that is in the batch twice', (_, options) => {
  test('draws anew for the second, wherever it stands, and as ever for the first', async () => {
    const alone = await sequencesOf([[1, 2, 3]], options)
    const together = await sequencesOf([[1, 2, 3], [4], [1, 2, 3]], options)
    expect(together.slice(0, 2)).toEqual(alone)
    expect(together.slice(4)).not.toEqual(alone)
    expect(
      await sequencesOf(
        [
          [1, 2, 3],
          [1, 2, 3],
        ],
        options,
      ),
    ).toEqual([...alone, ...together.slice(4)])
  })
})

describe('length', () => {
  test('is 20 new tokens by default, or fewer where positions end', async () => {
    expect((await sequencesOf([[1, 2]], {})).map(({ length }) => length)).toEqual([22])
    expect((await sequencesOf([[1, 2], [3]], {}, decoderOf(21))).map(({ length }) => length)).toEqual([21, 21])
  })

  test('counts maxLength with the prompt and maxNewTokens without; the second wins', async () => {
    const lengths = async (options: GenerateOptions) =>
      (await sequencesOf(PROMPTS, options)).map(({ length }) => length)
    expect(await lengths({ maxLength: 7 })).toEqual([7, 7, 7, 7])
    expect(await lengths({ maxNewTokens: 3 })).toEqual([6, 4, 8, 5])
    expect(await lengths({ maxNewTokens: 3, maxLength: 2 })).toEqual([6, 4, 8, 5])
  })

  test('reaches the model’s last position', async () => {
    expect((await sequencesOf([[1]], { maxLength: 9 }, decoderOf(9)))[0]).toHaveLength(9)
  })
})

describe('prompts', () => {
  test('begin with bosTokenId where none is given', async () => {
    expect(await sequencesOf(undefined, { bosTokenId: 4, maxNewTokens: 5 })).toEqual(
      await sequencesOf([[4]], { maxNewTokens: 5 }),
    )
  })

  test('are not changed', async () => {
    const prompts = [[1, 2], [3]]
    await sequencesOf(prompts, { maxNewTokens: 5 })
    expect(prompts).toEqual([[1, 2], [3]])
  })
})

describe('sampling', () => {
  test('repeats with its seed, and differs without one', async () => {
    const options = { doSample: true, maxNewTokens: 30 }
    const seeded = await sequencesOf([[1]], { ...options, seed: 5 })
    expect(await sequencesOf([[1]], { ...options, seed: 5 })).toEqual(seeded)
    expect(await sequencesOf([[1]], { ...options, seed: 6 })).not.toEqual(seeded)
    // one in 11^30, about
    expect(await sequencesOf([[1]], options)).not.toEqual(await sequencesOf([[1]], options))
  })

  test('draws with the probabilities of the logits', async () => {
    const probabilities = [0.5, 0.2, 0.15, 0.1, 0.05]
    const decoder = new TableDecoder(5, 4, () => probabilities.map(Math.log))
    const draws = 8000
    const options = { doSample: true, seed: 1, numReturnSequences: draws, maxNewTokens: 2 }
    const sequences = await sequencesOf([[0]], options, decoder)
    for (const place of [1, 2])
      for (const [token, p] of probabilities.entries()) {
        const share = sequences.filter((ids) => ids[place] === token).length / draws
        // four standard errors
        expect(Math.abs(share - p), `token ${token}`).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / draws))
      }
    // and the second token does not depend on the first
    const both = sequences.filter((ids) => ids[1] === 0 && ids[2] === 0).length / draws
    expect(Math.abs(both - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / draws))
  })

  test('is greedy with topK 1', async () => {
    const greedy = await sequencesOf(PROMPTS, { maxNewTokens: 9 })
    expect(await sequencesOf(PROMPTS, { maxNewTokens: 9, doSample: true, topK: 1, seed: 8 })).toEqual(greedy)
  })

  test('of beams draws different ones, with the probabilities of the logits', async () => {
    const probabilities = [0.4, 0.3, 0.2, 0.1]
    const shares = new Map<number, number>()
    const draws = 2000
    for (let seed = 0; seed < draws; seed++) {
      const decoder = new TableDecoder(4, 3, () => probabilities.map(Math.log))
      const options = { doSample: true, numBeams: 2, maxNewTokens: 1, numReturnSequences: 2, seed }
      const [[, first], [, second]] = await sequencesOf([[0]], options, decoder)
      expect(first).not.toBe(second)
      const pair = (1 << first) | (1 << second)
      shares.set(pair, (shares.get(pair) ?? 0) + 1 / draws)
    }
    // two draws without replacement, in either order
    for (let a = 0; a < 4; a++)
      for (let b = a + 1; b < 4; b++) {
        const [p, q] = [probabilities[a], probabilities[b]]
        const pair = (p * q) / (1 - p) + (p * q) / (1 - q)
        expect(Math.abs((shares.get((1 << a) | (1 << b)) ?? 0) - pair)).toBeLessThan(
          4 * Math.sqrt((pair * (1 - pair)) / draws),
        )
      }
  })
})

describe('beam search', () => {
  test('with room for all sequences finds the best of all', async () => {
    const logits = hashed(3)
    const decoder = new TableDecoder(3, 9, logits)
    const options: GenerateOptions = { numBeams: 9, numReturnSequences: 9, maxNewTokens: 3, earlyStopping: 'never' }
    const { sequences, sequencesScores } = await generate(() => decoder, [[1, 0]], { ...options, lengthPenalty: 0 })
    const all: { ids: number[]; score: number }[] = []
    const visit = (ids: number[], score: number) => {
      if (ids.length === 5) {
        all.push({ ids, score })
        return
      }
      const row = logits(ids)
      const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0))
      for (const [token, x] of row.entries()) visit([...ids, token], score + x - total)
    }
    visit([1, 0], 0)
    const best = all.sort((a, b) => b.score - a.score).slice(0, 9)
    expect(sequences).toEqual(best.map(({ ids }) => ids))
    for (const [i, { score }] of best.entries()) expect(sequencesScores?.[i]).toBeCloseTo(score, 5)
  })

  test('with a negative penalty goes on while a running sequence beats a finished one as it is', async () => {
    const rows: Record<string, number[]> = {
      '1': [0.6, 0.005, 0.38, 0.01, 0.005],
      '1,2': [0.05, 0.01, 0.01, 0.9, 0.03],
      '1,2,3': [0.95, 0.01, 0.01, 0.01, 0.02],
    }
    const search = (earlyStopping: boolean | 'never') => {
      const decoder = new TableDecoder(5, 20, (ids) => (rows[String(ids)] ?? [0.2, 0.2, 0.2, 0.2, 0.2]).map(Math.log))
      const options = { numBeams: 2, numReturnSequences: 2, eosTokenId: 0, maxNewTokens: 10, lengthPenalty: -1 }
      return sequencesOf([[1]], { ...options, earlyStopping }, decoder)
    }
    const [first, early, late] = [
      [1, 0],
      [1, 2, 0],
      [1, 2, 3, 0],
    ]
    expect(await search(true)).toEqual([first, early])
    expect(await search(false)).toEqual([first, late])
    expect(await search('never')).toEqual([first, late])
  })

  test('runs one row for each beam of each prompt that goes on', async () => {
    const decoder = decoderOf()
    await sequencesOf(PROMPTS, { numBeams: 3, maxLength: 8 }, decoder)
    expect(decoder.calls.map(({ length }) => length)).toEqual([4, 12, 12, 9, 9, 6, 3])
  })

  test('gives no tokens before its end', async () => {
    const run = generate(() => decoderOf(), [[1]], { numBeams: 2 })
    expect(() => run[Symbol.asyncIterator]()).toThrow(ArgumentError)
    expect((await run).sequences).toHaveLength(1)
  })
})

describe('streaming', () => {
  test.each(STRATEGIES.slice(0, 2))('%s yields each token once, in the order of each sequence', async (_, options) => {
    const run = generate(() => decoderOf(), PROMPTS, options)
    const each = options.numReturnSequences ?? 1
    const streamed: number[][] = PROMPTS.flatMap((prompt) => Array.from({ length: each }, () => [...prompt]))
    const finished: number[] = []
    for await (const token of run) {
      expect(finished).not.toContain(token.sequence)
      expect(token.prompt).toBe(Math.floor(token.sequence / each))
      streamed[token.sequence].push(token.token)
      if (token.finished) finished.push(token.sequence)
    }
    expect(finished.sort((a, b) => a - b)).toEqual([...streamed.keys()])
    // and the result is there afterwards
    expect((await run).sequences).toEqual(streamed)
    expect(streamed).toEqual(await sequencesOf(PROMPTS, options))
  })

  test('yields a token before it asks for the next', async () => {
    const decoder = decoderOf()
    const calls: number[] = []
    for await (const _ of generate(() => decoder, [[1]], { maxNewTokens: 4 })) calls.push(decoder.calls.length)
    expect(calls).toEqual([1, 2, 3, 4])
  })

  test('left early ends the decoder and leaves no result', async () => {
    const decoder = decoderOf()
    const run = generate(() => decoder, [[1], [2]], { maxNewTokens: 9 })
    const seen: GeneratedToken[] = []
    for await (const token of run) {
      seen.push(token)
      if (seen.length === 3) break
    }
    expect(decoder.calls).toHaveLength(2)
    expect(decoder.ended).toBe(1)
    await expect(run).rejects.toThrow(/no result/)
  })

  test('does nothing before it is asked', async () => {
    const decoder = decoderOf()
    generate(() => decoder, [[1]], {})
    await new Promise((resolve) => setImmediate(resolve))
    expect(decoder.calls).toHaveLength(0)
  })
})

describe('what a caller gets wrong', () => {
  const wrong: [string, unknown, unknown, RegExp][] = [
    ['an unknown option', [[1]], { maxTokens: 3 }, /no option 'maxTokens'; there are maxNewTokens/],
    ['an option in snake case', [[1]], { max_new_tokens: 3 }, /no option 'max_new_tokens'/],
    ['options that are none', [[1]], 3, /options to be an object/],
    ['no new token', [[1]], { maxNewTokens: 0 }, /maxNewTokens to be an integer of at least 1 but received 0/],
    ['half a token', [[1]], { maxNewTokens: 1.5 }, /maxNewTokens .* received 1.5/],
    ['a text for a number', [[1]], { topK: '5' }, /topK .* received "5"/],
    ['a negative topK', [[1]], { topK: -1 }, /topK/],
    ['NaN', [[1]], { temperature: Number.NaN }, /temperature .* received NaN/],
    ['a temperature of 0 for draws', [[1]], { temperature: 0, doSample: true }, /temperature to be above 0.*doSample/],
    ['topP above 1', [[1]], { topP: 1.1 }, /topP to be a number from 0 to 1 but received 1.1/],
    ['a penalty of 0', [[1]], { repetitionPenalty: 0 }, /repetitionPenalty to be a number above 0/],
    ['an infinite penalty', [[1]], { lengthPenalty: Infinity }, /lengthPenalty/],
    ['no beam', [[1]], { numBeams: 0 }, /numBeams/],
    ['another way to stop', [[1]], { earlyStopping: 'always' }, /earlyStopping to be true, false or 'never'/],
    ['several greedy sequences', [[1]], { numReturnSequences: 2 }, /numReturnSequences 2 needs doSample or numBeams/],
    ['more sequences than beams', [[1]], { numBeams: 2, numReturnSequences: 3 }, /at most numBeams, 2, but received 3/],
    ['an end beyond the vocabulary', [[1]], { eosTokenId: [1, 11] }, /eosTokenId is 11.*0 to 10/],
    ['no end in a list', [[1]], { eosTokenId: [] }, /eosTokenId to be a token id or a list of at least one/],
    ['an end that is no id', [[1]], { eosTokenId: [-1] }, /eosTokenId/],
    [
      'more ends than beams can pass',
      [[1]],
      { numBeams: 2, eosTokenId: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] },
      /too many/,
    ],
    ['more beams than memory', [[1]], { numBeams: 2 ** 40 }, /1 prompts with 1099511627776 beams.* too many at once/],
    ['more draws than memory', [[1], [2]], { numReturnSequences: 2 ** 30, doSample: true }, /too many at once/],
    ['a seed of 33 bits', [[1]], { seed: 2 ** 32 }, /seed/],
    ['a signal that is none', [[1]], { signal: { aborted: true } }, /signal to be an AbortSignal/],
    ['no prompt and no start', undefined, {}, /inputIds, or bosTokenId/],
    ['an empty batch', [], {}, /at least one prompt/],
    ['an empty prompt', [[1], []], {}, /inputIds\[1\] is empty/],
    ['a flat prompt', [1, 2], {}, /inputIds\[0\] to be a list of token ids but received 1/],
    ['an id beyond the vocabulary', [[1], [2, 11]], {}, /inputIds\[1\]\[1\] is 11, expected an integer from 0 to 10/],
    ['a fraction of an id', [[0.5]], {}, /inputIds\[0\]\[0\] is 0.5/],
    ['a prompt as long as maxLength', [[1], [2, 3, 4]], { maxLength: 3 }, /inputIds\[1\] has 3 tokens.* at most 3/],
    ['a prompt as long as the model takes', [Array(40).fill(1)], {}, /has 40 tokens.* at most 40/],
    ['maxLength beyond the positions', [[1]], { maxLength: 41 }, /maxLength is 41.* at most 40 tokens/],
    ['maxNewTokens beyond the positions', [[1, 2]], { maxNewTokens: 39 }, /inputIds\[0\] has 2 tokens.*39.* 40/],
  ]

  test.each(wrong)('%s is an ArgumentError', async (_, prompts, options, text) => {
    const decoder = decoderOf()
    const run = generate(() => decoder, prompts as number[][], options as GenerateOptions)
    await expect(run).rejects.toThrow(ArgumentError)
    await expect(run).rejects.toThrow(text)
    expect(decoder.calls).toHaveLength(0)
    expect(decoder.ended).toBe(1)
  })

  test('null is an option that was not given', async () => {
    const nothing = { maxNewTokens: null, eosTokenId: null, topK: null, seed: null, signal: null, numBeams: null }
    expect(await sequencesOf([[1]], nothing)).toEqual(await sequencesOf([[1]], {}))
  })

  test('options of another strategy are ignored', async () => {
    const ignored = { temperature: 0, topK: 3, topP: 0.2, lengthPenalty: 3, earlyStopping: true } as const
    expect(await sequencesOf([[1]], ignored)).toEqual(await sequencesOf([[1]], {}))
  })
})
