import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { createMasking, type Masking, type MaskingOptions } from '../../../src/data/collators/masked-lm.ts'
import { BertTokenizer } from '../../../src/data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../../../src/errors.ts'
import { RandomStream } from '../../../src/random.ts'
import { reference, tokenizer } from '../features/reference.ts'

const { vocabSize, maskTokenId, clsTokenId, sepTokenId } = tokenizer
const special = new Set(tokenizer.allSpecialIds)
/** 100 tokens that are not special, with special ones between them and around. */
const ordinary = Array.from({ length: 100 }, (_, i) => special.size + ((i * 37) % (vocabSize - special.size)))
const inputIds = [
  clsTokenId,
  ...ordinary.flatMap((id, i) => (i % 10 === 9 ? [id, i % special.size] : [id])),
  sepTokenId,
]

const chiSquare = (counts: readonly number[], expected: readonly number[]): number =>
  counts.reduce((sum, count, i) => sum + (count - expected[i]) ** 2 / expected[i], 0)

/** What became of the sequence in `count` streams. */
const masked = (mask: Masking, ids: number[], count: number) =>
  Array.from({ length: count }, (_, i) => mask({ inputIds: ids }, new RandomStream(7, i)))

describe('masking', () => {
  const mask = createMasking(tokenizer)

  test('labels what it masks with what was there, and nothing else', () => {
    for (const { inputIds: seen, labels } of masked(mask, inputIds, 50)) {
      expect(labels.map((label, i) => (label === -100 ? seen[i] : label))).toEqual(inputIds)
      expect(labels.length).toBe(inputIds.length)
    }
  })

  test('never masks special tokens', () => {
    expect(inputIds.filter((id) => special.has(id)).length).toBe(12)
    const all = createMasking(tokenizer, { mlmProbability: 1, maskReplaceProb: 1, randomReplaceProb: 0 })
    const [{ inputIds: seen, labels }] = masked(all, inputIds, 1)
    expect(seen).toEqual(inputIds.map((id) => (special.has(id) ? id : maskTokenId)))
    expect(labels).toEqual(inputIds.map((id) => (special.has(id) ? -100 : id)))
  })

  test('is 15 % of the tokens, and of them 80 % [MASK], 10 % random, 10 % unchanged', () => {
    const made = masked(mask, inputIds, 1000)
    const fates = [0, 0, 0]
    const perPosition = new Array<number>(inputIds.length).fill(0)
    for (const { inputIds: seen, labels } of made)
      labels.forEach((label, i) => {
        if (label === -100) return
        perPosition[i]++
        fates[seen[i] === maskTokenId ? 0 : seen[i] === label ? 1 : 2]++
      })
    const total = fates.reduce((sum, count) => sum + count)
    // of 100,000 tokens; four standard errors
    expect(Math.abs(total - 15_000)).toBeLessThan(4 * Math.sqrt(100_000 * 0.15 * 0.85))
    // a random token is [MASK] or the same as before once in a vocabulary
    const shares = [0.8 + 0.1 / vocabSize, 0.1 + 0.1 / vocabSize, 0.1 * (1 - 2 / vocabSize)]
    const expected = shares.map((share) => share * total)
    // 2 degrees of freedom: 13.8 is exceeded with probability 0.001
    expect(chiSquare(fates, expected)).toBeLessThan(13.8)
    // 100 positions with a binomial count each, so variance 0.85 times the mean: 149.4 with probability 0.001
    const counts = perPosition.filter((_, i) => !special.has(inputIds[i]))
    expect(
      chiSquare(
        counts,
        counts.map(() => 150),
      ) / 0.85,
    ).toBeLessThan(149.4)
  })

  test('draws random tokens from the whole vocabulary', () => {
    const random = createMasking(tokenizer, { mlmProbability: 1, maskReplaceProb: 0, randomReplaceProb: 1 })
    const counts = new Array<number>(vocabSize).fill(0)
    const made = masked(random, ordinary, 400)
    for (const { inputIds: seen } of made) for (const id of seen) counts[id]++
    const expected = (400 * ordinary.length) / vocabSize
    // 208 degrees of freedom: 277 is exceeded with probability 0.001
    expect(
      chiSquare(
        counts,
        counts.map(() => expected),
      ),
    ).toBeLessThan(277)
  })

  test('is a function of the stream, leaves the example alone and keeps its other fields', () => {
    const example = { inputIds: [...inputIds], tokenTypeIds: inputIds.map(() => 0), nextSentenceLabel: 1 }
    const first = mask(example, new RandomStream(1, 2))
    expect(mask(example, new RandomStream(1, 2))).toEqual(first)
    expect(mask(example, new RandomStream(1, 3))).not.toEqual(first)
    expect(example.inputIds).toEqual(inputIds)
    expect(first).toMatchObject({ tokenTypeIds: example.tokenTypeIds, nextSentenceLabel: 1 })
  })

  test('takes any length', () => {
    expect(mask({ inputIds: [] }, new RandomStream(1))).toEqual({ inputIds: [], labels: [] })
  })
})

describe('whole words', () => {
  const texts = [...reference.questions, ...reference.choices].map(({ context }) => context)
  const half: MaskingOptions = { wholeWordMask: true, mlmProbability: 0.5 }

  /** Fails unless words, as the tokenizer counts them, are masked as a whole, and each apart from its neighbours. */
  function checkWords(tokenizerOfText: BertTokenizer, strings: readonly string[], rounds: number): number {
    const mask = createMasking(tokenizerOfText, half)
    let pieces = 0
    for (const text of strings) {
      const { inputIds: ids, wordIds } = tokenizerOfText.encode(text, { truncation: false })
      const apart = new Set<number>()
      for (let round = 0; round < rounds; round++) {
        const { labels } = mask({ inputIds: ids }, new RandomStream(3, round))
        for (let i = 1; i < ids.length; i++) {
          const same = (labels[i] === -100) === (labels[i - 1] === -100)
          if (wordIds[i] === null || wordIds[i] !== wordIds[i - 1]) {
            if (!same) apart.add(i)
          } else {
            pieces++
            if (!same) throw new Error(`A word of ${text} is masked in part`)
          }
        }
      }
      const known = tokenizerOfText.allSpecialIds
      for (let i = 1; i < ids.length; i++)
        if (wordIds[i] !== wordIds[i - 1] && !(known.includes(ids[i]) && known.includes(ids[i - 1])) && !apart.has(i))
          throw new Error(`Words ${i - 1} and ${i} of ${text} are never masked apart`)
    }
    return pieces
  }

  test('are masked as a whole: words, punctuation, Chinese characters', () => {
    expect(checkWords(tokenizer, [...new Set(texts)], 32)).toBeGreaterThan(300)
  })

  const folder = process.env.BERTKIT_REFERENCE_DIR
  const because = folder === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''
  test.skipIf(folder === undefined)(`are those of the tokenizer in real texts of two languages${because}`, async () => {
    const data = path.join(folder ?? '', 'data')
    const real = await BertTokenizer.fromPretrained(path.join(data, 'vocab', 'bert-base-multilingual-cased'))
    const strings = ['xquad.en.json', 'xquad.zh.json'].flatMap((name) => {
      const { data: articles } = JSON.parse(readFileSync(path.join(data, 'xquad', name), 'utf8')) as {
        data: { paragraphs: { context: string }[] }[]
      }
      return articles.flatMap(({ paragraphs }) => paragraphs.map(({ context }) => context)).slice(0, 60)
    })
    expect(checkWords(real, strings, 32)).toBeGreaterThan(50_000)
  })

  test('are 15 %, and their pieces are replaced 80, 10, 10', () => {
    const mask = createMasking(tokenizer, { wholeWordMask: true })
    const { inputIds: ids } = tokenizer.encode(texts[0], { truncation: false })
    const fates = [0, 0, 0]
    const made = masked(mask, ids, 2000)
    for (const { inputIds: seen, labels } of made)
      labels.forEach((label, i) => {
        if (label !== -100) fates[seen[i] === maskTokenId ? 0 : seen[i] === label ? 1 : 2]++
      })
    const total = fates.reduce((sum, count) => sum + count)
    const maskable = ids.filter((id) => !special.has(id)).length * 2000
    expect(total / maskable).toBeCloseTo(0.15, 2)
    expect(fates[0] / total).toBeCloseTo(0.8, 1.9)
    expect(fates[1] / total).toBeCloseTo(0.1, 1.9)
    expect(fates[2]).toBeGreaterThan(0)
  })

  test('a piece whose beginning was cut off is a word', () => {
    const piece = reference.vocabulary.findIndex((token) => token.startsWith('##'))
    const all = createMasking(tokenizer, {
      wholeWordMask: true,
      mlmProbability: 1,
      maskReplaceProb: 1,
      randomReplaceProb: 0,
    })
    const [{ inputIds: seen }] = masked(all, [clsTokenId, piece, piece, sepTokenId], 1)
    expect(seen).toEqual([clsTokenId, maskTokenId, maskTokenId, sepTokenId])
  })
})

describe('maxPredictions', () => {
  test('lets go of random tokens', () => {
    const mask = createMasking(tokenizer, { mlmProbability: 0.5, maxPredictions: 20 })
    const counts = new Array<number>(ordinary.length).fill(0)
    const made = masked(mask, ordinary, 500)
    for (const { labels } of made) {
      expect(labels.filter((label) => label !== -100).length).toBe(20)
      labels.forEach((label, i) => {
        if (label !== -100) counts[i]++
      })
    }
    // each position in a fifth of the sequences: 99 degrees of freedom and variance 0.8 of the mean; 148.2 with probability 0.001
    expect(
      chiSquare(
        counts,
        counts.map(() => 100),
      ) / 0.8,
    ).toBeLessThan(148.2)
  })

  test('keeps words whole', () => {
    const start = reference.vocabulary.indexOf('The')
    const piece = reference.vocabulary.findIndex((token) => token.startsWith('##'))
    const words = Array.from({ length: 30 }, (_, i) => [start, ...new Array<number>(i % 4).fill(piece)]).flat()
    const mask = createMasking(tokenizer, { wholeWordMask: true, mlmProbability: 1, maxPredictions: 7 })
    for (const { labels } of masked(mask, words, 100)) {
      const predicted = labels.filter((label) => label !== -100).length
      expect(predicted).toBeLessThanOrEqual(7)
      expect(predicted).toBeGreaterThan(3)
      for (let i = 1; i < words.length; i++)
        if (words[i] === piece) expect(labels[i] === -100).toBe(labels[i - 1] === -100)
    }
  })
})

test.each<[MaskingOptions, string]>([
  [{ mlmProbability: 1.5 }, 'Expected mlmProbability to be from 0 to 1 but received 1.5'],
  [{ randomReplaceProb: Number.NaN }, 'Expected randomReplaceProb to be from 0 to 1 but received NaN'],
  [{ randomReplaceProb: 0.5 }, 'Expected maskReplaceProb and randomReplaceProb to sum to at most 1 but received 1.3'],
  [{ maxPredictions: 0 }, 'Expected maxPredictions to be an integer of at least 1 but received 0'],
])('refuses %j', (options, message) => {
  expect(() => createMasking(tokenizer, options)).toThrow(new ArgumentError(message))
})
