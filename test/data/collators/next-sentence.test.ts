import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { createMasking } from '../../../src/data/collators/masked-lm.ts'
import {
  type NextSentenceExample,
  type NextSentenceOptions,
  nextSentencePairs,
} from '../../../src/data/collators/next-sentence.ts'
import { sentencesOf } from '../../../src/data/collators/sentences.ts'
import type { Source, TokenizedDocument } from '../../../src/data/features/passages.ts'
import { tokenizedDocuments } from '../../../src/data/features/passages.ts'
import { ArgumentError } from '../../../src/errors.ts'
import { RandomStream } from '../../../src/random.ts'
import { collect, tokenizer, tokensOf } from '../features/reference.ts'

const { clsTokenId, sepTokenId } = tokenizer

const numbered = (documents: number, passages: (d: number) => number, length: (d: number, p: number) => number) =>
  Array.from({ length: documents }, (_, d) =>
    Array.from({ length: passages(d) }, (_, p) => Array.from({ length: length(d, p) }, (_, i) => tokenAt(d, p, i))),
  )
/** Another id for every token of a corpus; document 0 begins above all real ids. */
const tokenAt = (d: number, p: number, i: number) => (d + 1) * 10_000 + p * 100 + i
const documentOf = (token: number) => Math.floor(token / 10_000) - 1

/** The corpus of make_next_sentence.py. */
const corpus = numbered(
  40,
  (d) => 2 + ((7 * d) % 13),
  (d, p) => 3 + ((31 * d + 17 * p) % 28),
)

interface Texts {
  readonly a: number[]
  readonly b: number[]
  readonly label: number
}

/** Takes a pair apart, and fails unless it is [CLS] A [SEP] B [SEP] with the types 0 and 1. */
function textsOf({ inputIds, tokenTypeIds, nextSentenceLabel: label }: NextSentenceExample): Texts {
  const middle = inputIds.indexOf(sepTokenId)
  const [a, b] = [inputIds.slice(1, middle), inputIds.slice(middle + 1, -1)]
  expect(inputIds).toEqual([clsTokenId, ...a, sepTokenId, ...b, sepTokenId])
  expect(tokenTypeIds).toEqual(inputIds.map((_, i) => (i <= middle ? 0 : 1)))
  return { a, b, label }
}

async function pairsOf(
  documents: Source<TokenizedDocument>,
  options: NextSentenceOptions,
  ...stream: [seed: number, epoch?: number]
): Promise<Texts[]> {
  return (await collect(nextSentencePairs(documents, tokenizer, new RandomStream(...stream), options))).map(textsOf)
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
const share = (flags: readonly boolean[]) => mean(flags.map(Number))
const follows = ({ label }: Texts) => label === 0

/** What make_next_sentence.py measures. */
const measure = (pairs: readonly Texts[]): Record<string, number> => ({
  pairs: pairs.length,
  random: mean(pairs.map(({ label }) => label)),
  first: mean(pairs.map(({ a }) => a.length)),
  following: mean(pairs.filter(follows).map(({ b }) => b.length)),
  randomText: mean(pairs.filter((pair) => !follows(pair)).map(({ b }) => b.length)),
  full: share(pairs.map(({ a, b }) => a.length + b.length === 61)),
  firstCutInFront: share(pairs.map(({ a }) => a[0] % 100 !== 0)),
  secondCutInFront: share(pairs.map(({ b }) => b[0] % 100 !== 0)),
})

describe('next-sentence pairs', () => {
  test("have the statistics of Google's", async () => {
    const file = path.join(import.meta.dirname, 'next-sentence.json')
    const reference: Record<string, { mean: number; error: number }> = JSON.parse(readFileSync(file, 'utf8'))
    const epochs: Record<string, number>[] = []
    for (let epoch = 0; epoch < 100; epoch++) epochs.push(measure(await pairsOf(corpus, { maxLength: 64 }, 5, epoch)))
    expect(Object.keys(epochs[0])).toEqual(Object.keys(reference))
    for (const [name, want] of Object.entries(reference)) {
      const values = epochs.map((each) => each[name])
      const variance = mean(values.map((value) => (value - mean(values)) ** 2)) / values.length
      const error = Math.sqrt(variance + want.error ** 2)
      expect(Math.abs(mean(values) - want.mean) / error, name).toBeLessThan(4)
    }
  })

  test('follow in the document, or come from another one', async () => {
    const pairs = await pairsOf(corpus, { maxLength: 64 }, 1)
    const isRun = (tokens: number[]) => {
      const document = corpus[documentOf(tokens[0])].flat()
      const start = document.indexOf(tokens[0])
      expect(tokens).toEqual(document.slice(start, start + tokens.length))
      return start
    }
    expect(pairs.length).toBeGreaterThan(100)
    for (const { a, b, label } of pairs) {
      const [start, next] = [isRun(a), isRun(b)]
      expect(a.length + b.length).toBeLessThanOrEqual(61)
      if (label === 1) expect(documentOf(b[0])).not.toBe(documentOf(a[0]))
      else {
        expect(documentOf(b[0])).toBe(documentOf(a[0]))
        expect(next).toBeGreaterThanOrEqual(start + a.length)
        if (a.length + b.length < 61) expect(next).toBe(start + a.length)
      }
    }
  })

  test('use every text of the corpus, in its order', async () => {
    const pairs = await pairsOf(corpus, { maxLength: 512 }, 1)
    const used = pairs.flatMap(({ a, b, label }) => (label === 0 ? [...a, ...b] : a))
    expect(used).toEqual(corpus.flat(2))
  })

  test('are a function of the stream', async () => {
    const first = await pairsOf(corpus, { maxLength: 64 }, 1, 0)
    expect(await pairsOf(corpus, { maxLength: 64 }, 1, 0)).toEqual(first)
    expect(await pairsOf(corpus, { maxLength: 64 }, 1, 1)).not.toEqual(first)
  })

  test('are full but for the ends of documents, unless they are to be short', async () => {
    const long = numbered(
      20,
      () => 80,
      () => 10,
    )
    const lengths = async (shortSeqProb: number) =>
      (await pairsOf(long, { maxLength: 64, shortSeqProb }, 2)).map(({ a, b }) => a.length + b.length)
    const full = (each: readonly number[]) => share(each.map((length) => length === 61))
    expect(full(await lengths(0))).toBeGreaterThan(0.9)
    expect(full(await lengths(1))).toBeLessThan(0.5)
  })

  test('take random texts from all documents where the corpus fits', async () => {
    const many = numbered(
      12,
      () => 60,
      () => 10,
    )
    const sources = new Map<number, Set<number>>()
    for (let epoch = 0; epoch < 12; epoch++)
      for (const { a, b, label } of await pairsOf(many, { maxLength: 32 }, 3, epoch))
        if (label === 1)
          sources.set(documentOf(a[0]), (sources.get(documentOf(a[0])) ?? new Set()).add(documentOf(b[0])))
    expect([...sources.values()].map((each) => each.size)).toEqual(new Array(12).fill(11))
  })

  test('keep a bounded part of a stream, and close it', async () => {
    let read = 0
    let closed = false
    async function* endless(): AsyncGenerator<TokenizedDocument> {
      try {
        for (;;)
          yield numbered(
            1,
            () => 5,
            () => 10,
          )[0].map((passage) => passage.map((id) => id + 10_000 * read))
      } finally {
        closed = true
      }
    }
    async function* counted() {
      for await (const document of endless()) {
        read++
        yield document
      }
    }
    const options = { maxLength: 32, reservoirTokens: 500 }
    const distances: number[] = []
    for await (const pair of nextSentencePairs(counted(), tokenizer, new RandomStream(4), options)) {
      const { a, b, label } = textsOf(pair)
      expect(read - documentOf(a[0])).toBeLessThanOrEqual(13)
      if (label === 1) distances.push(documentOf(b[0]) - documentOf(a[0]))
      if (distances.length === 2000) break
    }
    // documents of 50 tokens: up to 500 tokens before the current one, and as many as exceed 500 from it on
    expect(new Set(distances)).toEqual(new Set(Array.from({ length: 21 }, (_, i) => i - 10).filter((d) => d !== 0)))
    expect(closed).toBe(true)
  })

  test('of a single document take random texts from it', async () => {
    const pairs = await pairsOf(corpus.slice(3, 4), { maxLength: 32 }, 1)
    expect(pairs.some(({ label }) => label === 1)).toBe(true)
    expect(pairs.flatMap(({ a, b }) => [...a, ...b]).every((token) => documentOf(token) === 3)).toBe(true)
  })

  test('of nothing are none', async () => {
    expect(await pairsOf([], { maxLength: 32 }, 1)).toEqual([])
    expect(await pairsOf([[], [[]]], { maxLength: 32 }, 1)).toEqual([])
  })

  test('can be masked: pre-training', async () => {
    const passages = corpus.map((_, document) => ({
      text: 'The lighthouse holds books about fish and fog. '.repeat(3),
      document,
    }))
    const mask = createMasking(tokenizer, { maxPredictions: 3 })
    const random = new RandomStream(1)
    const documents = tokenizedDocuments(passages, tokenizer)
    let predicted = 0
    for await (const pair of nextSentencePairs(documents, tokenizer, random, { maxLength: 24 })) {
      const { inputIds, tokenTypeIds, labels, nextSentenceLabel } = mask(pair, random)
      expect(inputIds.map((id, i) => (labels[i] === -100 ? id : labels[i]))).toEqual(pair.inputIds)
      expect({ tokenTypeIds, nextSentenceLabel }).toEqual({
        tokenTypeIds: pair.tokenTypeIds,
        nextSentenceLabel: pair.nextSentenceLabel,
      })
      predicted += labels.filter((label) => label !== -100).length
    }
    expect(predicted).toBeGreaterThan(50)
  })

  test.each<[NextSentenceOptions, string]>([
    [{ maxLength: 4 }, 'Expected maxLength to be an integer of at least 5 but received 4'],
    [{ maxLength: 64, shortSeqProb: 2 }, 'Expected shortSeqProb to be from 0 to 1 but received 2'],
    [{ maxLength: 64, reservoirTokens: 0 }, 'Expected reservoirTokens to be an integer of at least 1 but received 0'],
  ])('refuse %j', async (options, message) => {
    await expect(pairsOf([], options, 1)).rejects.toThrow(new ArgumentError(message))
  })
})

describe('sentences', () => {
  const ids = (text: string) => tokenizer.encode(text, { addSpecialTokens: false }).inputIds
  const cut = async (passages: string[], limit: number) => {
    const [document] = await collect(sentencesOf([passages.map(ids)], tokenizer, limit))
    return document.map((sentence) => tokensOf(sentence).join(' '))
  }

  test('are not looked for in short passages', async () => {
    expect(await cut(['a e . t x .', 'the . fish'], 6)).toEqual(['a e . t x .', 'the . fish'])
  })

  test('are cut from long ones, and from the only one of a document', async () => {
    const sentences = ['The museum holds fish .', 'fish ? . ?', 'fog 。', 'and fog']
    const text = sentences.join(' ')
    expect(await cut([text], 1000)).toEqual(sentences)
    expect(await cut([text, 'a . e'], 8)).toEqual([...sentences, 'a . e'])
  })

  test('are cut where they are too long', async () => {
    expect(await cut(['a e t x a e t x . a', 'x'], 3)).toEqual(['a e t', 'x a e', 't x .', 'a', 'x'])
  })

  test('give documents of one paragraph pairs that follow', async () => {
    const paragraphs = numbered(
      200,
      () => 1,
      () => 90,
    )
    const withEnds = paragraphs.map((document) =>
      document.map((passage) => passage.map((id, i) => (i % 15 === 14 ? ids('.')[0] : id))),
    )
    const options = { maxLength: 64 }
    const whole = await collect(nextSentencePairs(withEnds, tokenizer, new RandomStream(1), options))
    const random = mean(whole.map(({ nextSentenceLabel }) => nextSentenceLabel))
    // Half, and the last sentence of a document where nothing follows it. Uncut, all would be random.
    expect(random).toBeGreaterThan(0.5)
    expect(random).toBeLessThan(0.75)
  })
})
