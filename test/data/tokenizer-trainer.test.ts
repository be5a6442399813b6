// The trainer against the Rust library `tokenizers`: its vocabularies and counts are in tokenizer-trainer.json, made by the .py beside it.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { bertNormalizer, bertPreTokenizer, Tokenizer } from 'tokenizers'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { BertTokenizer, type TokenizerTrainingProgress } from '../../src/data/tokenizer/tokenizer.ts'
import type { TrainTokenizerOptions } from '../../src/data/tokenizer/training-options.ts'
import { WordCounter } from '../../src/data/tokenizer/word-counter.ts'
import { AbortedError, ArgumentError, DataError } from '../../src/errors.ts'
import { compare, randomNumbers, randomString } from './tokenizer-oracle.mjs'

interface Vocabulary {
  readonly name: string
  readonly texts: string[]
  readonly options: TrainTokenizerOptions
  readonly vocabulary: string[]
}
interface Compression {
  readonly corpus: string
  readonly files: string[]
  readonly heldOut: string
  readonly options: TrainTokenizerOptions
  readonly vocabSize: number
  readonly tokens: number
  readonly heldOutTokens: number
}
const { compression, vocabularies }: { compression: Compression[]; vocabularies: Vocabulary[] } = JSON.parse(
  await readFile(path.join(import.meta.dirname, 'tokenizer-trainer.json'), 'utf8'),
)
const [{ texts: english }] = vocabularies
const languages = vocabularies.find(({ name }) => name === 'many languages')?.texts ?? []

const reference = process.env.BERTKIT_REFERENCE_DIR
const because = reference === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const tokensOf = (tokenizer: BertTokenizer) => [...tokenizer.getVocab().keys()]
const trained = async (texts: Iterable<string> | AsyncIterable<string>, options?: TrainTokenizerOptions) =>
  tokensOf(await BertTokenizer.train(texts, options))

let scratch = ''
beforeAll(async () => {
  scratch = await mkdtemp(path.join(tmpdir(), 'bertkit-trainer-'))
})
afterAll(() => rm(scratch, { recursive: true }))

describe('merges, by hand', () => {
  test('the most frequent pair first, until the vocabulary is full', async () => {
    // a ##b 4 times, then ab ##c once
    const all = [...SPECIAL, 'a', 'b', 'c', '##b', '##c', 'ab', 'abc']
    expect(await trained(['ab ab', 'ab abc'])).toEqual(all)
    expect(await trained(['ab ab', 'ab abc'], { vocabSize: 11 })).toEqual(all.slice(0, 11))
    expect(await trained(['ab ab', 'ab abc'], { minFrequency: 2 })).toEqual(all.slice(0, 11))
    expect(await trained(['ab ab', 'ab abc'], { minFrequency: 4 })).toEqual(all.slice(0, 11))
    expect(await trained(['ab ab', 'ab abc'], { minFrequency: 5 })).toEqual(all.slice(0, 10))
  })

  test('of equally frequent pairs the one of older tokens', async () => {
    const all = [...SPECIAL, 'a', 'b', 'c', 'd', '##b', '##c', '##d', 'ab', 'ac', 'cd']
    for (const texts of [['ab ac cd'], ['cd', 'ac', 'ab']]) expect(await trained(texts)).toEqual(all)
  })

  test('a run of one letter is merged from the left', async () => {
    // aaaaa: a ##a once, ##a ##a 3 times -> a ##aa ##aa; now a ##aa and ##aa ##aa are once each
    expect(await trained(['aaaaa'])).toEqual([...SPECIAL, 'a', '##a', '##aa', 'aaa', 'aaaaa'])
  })

  test('characters outside of the alphabet are left out of their words', async () => {
    // of b, c and d, which come once, b is kept; d is inside, and so its word begins with ##a
    expect(await trained(['da aca aba'], { limitAlphabet: 2 })).toEqual([
      ...SPECIAL,
      ...['a', 'b', '##a', '##b'],
      ...['aa', 'ab', 'aba'],
    ])
  })
})

describe('the vocabulary is that of the Rust library, token for token', () => {
  test.each(vocabularies)('$name', async ({ options, texts, vocabulary }) => {
    expect(await trained(texts, options)).toEqual(vocabulary)
  })
})

describe('the same vocabulary', () => {
  test('of texts in any order, cut anywhere between words, and streamed', async () => {
    const expected = await trained([...english, ...languages], { vocabSize: 900 })
    expect(await trained([...languages].reverse().concat(english), { vocabSize: 900 })).toEqual(expected)
    expect(
      await trained(new Set([...english, ...languages].flatMap((text) => text.split('\n'))), { vocabSize: 900 }),
    ).toEqual(expected)
    async function* stream() {
      yield* english
      yield* languages
    }
    expect(await trained(stream(), { vocabSize: 900 })).toEqual(expected)
  })

  test('of text that has special tokens in it, which are text', async () => {
    expect(await trained(['[MASK] mask'], { vocabSize: 14 })).toEqual([
      ...SPECIAL,
      '[',
      ']',
      'a',
      'k',
      'm',
      's',
      '##a',
      '##k',
      '##s',
    ])
  })
})

describe('words', () => {
  const random = randomNumbers(20261125)
  const never = () => undefined
  const normal = { cleanText: true, tokenizeChineseChars: true, stripAccents: null, doLowerCase: true }
  const settings = [
    normal,
    { ...normal, doLowerCase: false },
    { ...normal, cleanText: false },
    { ...normal, tokenizeChineseChars: false, stripAccents: false },
  ]

  test.each(settings)('are those of the Rust library, %o', async (options) => {
    const { cleanText, doLowerCase, stripAccents, tokenizeChineseChars } = options
    const normalizer = bertNormalizer({
      cleanText,
      handleChineseChars: tokenizeChineseChars,
      lowercase: doLowerCase,
      stripAccents: stripAccents ?? undefined,
    })
    const splitter = bertPreTokenizer()
    const counter = new WordCounter(options)
    const expected = new Map<string, number>()
    for (let i = 0; i < 500; i++) {
      const text = randomString(random).replace(/\p{Surrogate}/gu, '\ufffd')
      await counter.add(text, never)
      for (const [word] of splitter.preTokenizeString(normalizer.normalizeString(text)) ?? [])
        expected.set(word, (expected.get(word) ?? 0) + 1)
    }
    expect(counter.counts).toEqual(expected)
    expect(counter.words).toBe([...expected.values()].reduce((sum, count) => sum + count))
  })

  test.each(settings)('of a long text are those of its parts, %o', async (options) => {
    const parts = Array.from({ length: 3000 }, () => randomString(random))
    const [whole, split] = [new WordCounter(options), new WordCounter(options)]
    await whole.add(parts.join('\n'), never)
    for (const part of parts) await split.add(part, never)
    expect(parts.join('\n').length).toBeGreaterThan(2 ** 15)
    expect(whole.counts).toEqual(split.counts)
  })

  test('of more than a thousand characters are left out', async () => {
    const counter = new WordCounter(normal)
    await counter.add(`${'a'.repeat(1000)} ${'b'.repeat(1001)} ${'\u{10400}'.repeat(1000)}`, never)
    expect([...counter.counts.keys()].map((word) => [...word].length)).toEqual([1000, 1000])
    expect(counter.words).toBe(3)
  })

  test('that are rare are forgotten when there are too many', async () => {
    const counter = new WordCounter(normal, 100)
    let most = 0
    for (let i = 0; i < 1000; i++) {
      await counter.add(`often${i % 10} rare${i}`, never)
      most = Math.max(most, counter.counts.size)
    }
    expect(most).toBeLessThanOrEqual(101)
    for (let i = 0; i < 10; i++) expect(counter.counts.get(`often${i}`)).toBe(100)
    expect(counter.counts.get('rare999')).toBe(1)
    expect(counter.counts.has('rare0')).toBe(false)
    expect(counter.words).toBe(2000)
  })

  test('are forgotten by their counts, more frequent ones too if need be', async () => {
    const counter = new WordCounter(normal, 4)
    await counter.add('a a b b c c c d d d d e', never)
    // e goes, which leaves four; a and b go, which leaves two
    expect(counter.counts).toEqual(
      new Map([
        ['c', 3],
        ['d', 4],
      ]),
    )
  })
})

describe('a trained tokenizer', () => {
  test('is saved, and loads in the Rust library and in bertkit with the same results', async () => {
    const random = randomNumbers(6)
    const strings = [...english, ...languages, ...Array.from({ length: 300 }, () => randomString(random))]
    for (const options of [
      {},
      { doLowerCase: false, stripAccents: true },
      { tokenizeChineseChars: false, cleanText: false },
    ]) {
      const tokenizer = await BertTokenizer.train([...english, ...languages], { ...options, modelMaxLength: 64 })
      await tokenizer.savePretrained(scratch)
      const rust = Tokenizer.fromFile(path.join(scratch, 'tokenizer.json'))
      expect((await compare(tokenizer, rust, strings)).differences).toEqual([])
      const again = await BertTokenizer.fromPretrained(scratch)
      expect((await compare(again, rust, strings)).differences).toEqual([])
      expect(again.getVocab()).toEqual(tokenizer.getVocab())
      expect(again.modelMaxLength).toBe(64)
      const lines = (await readFile(path.join(scratch, 'vocab.txt'), 'utf8')).split('\n')
      expect(lines).toEqual([...tokensOf(tokenizer), ''])
    }
  })

  test('knows every word that it was trained on', async () => {
    const tokenizer = await BertTokenizer.train([...english, ...languages], { vocabSize: 700 })
    for (const text of [...english, ...languages])
      expect(tokenizer.tokenize(text.replaceAll(/\[\w+\]/g, ''))).not.toContain('[UNK]')
  })

  test('has the special tokens that it was given', async () => {
    const names = { padToken: '<pad>', unkToken: '<unk>', clsToken: '<s>', sepToken: '</s>', maskToken: '<mask>' }
    const tokenizer = await BertTokenizer.train(english, names)
    expect(tokensOf(tokenizer).slice(0, 5)).toEqual(['<pad>', '<unk>', '<s>', '</s>', '<mask>'])
    expect(tokenizer.tokenize('it was <mask>')).toEqual(['it', 'was', '<mask>'])
    const more = await BertTokenizer.train(english, { specialTokens: [...SPECIAL, '[NUM]'] })
    expect(more.allSpecialIds).toEqual([0, 1, 2, 3, 4, 5])
    expect(more.tokenize('it was [NUM]')).toEqual(['it', 'was', '[NUM]'])
  })
})

describe('progress', () => {
  test('is told at the end of both stages', async () => {
    const told: TokenizerTrainingProgress[] = []
    const tokenizer = await BertTokenizer.train(['aXc ab', '', 'ab aXc X'], {
      limitAlphabet: 3,
      doLowerCase: false,
      onProgress: (progress) => told.push(progress),
    })
    const words = { texts: 3, words: 5, distinctWords: 3 }
    // a 4, X 3, and of b and c, twice each, b
    expect(told.findLast(({ stage }) => stage === 'words')).toEqual({
      stage: 'words',
      ...words,
      characters: 0,
      keptCharacters: 0,
      unknownWords: 0,
      tokens: 0,
    })
    expect(told.at(-1)).toEqual({
      stage: 'pieces',
      ...words,
      characters: 4,
      keptCharacters: 3,
      unknownWords: 2,
      tokens: tokenizer.vocabSize,
    })
  })

  test('is told a few times in every second, however often the event loop has its turn', async () => {
    let now = 0
    // each look at the clock finds it 3 ms later: a turn is due all the time
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 3))
    let told = 0
    await BertTokenizer.train(Array(2000).fill('ab abc'), { onProgress: () => told++ }).finally(() =>
      clock.mockRestore(),
    )
    expect(now).toBeGreaterThan(4000)
    expect(told).toBeGreaterThan(2)
    expect(told).toBeLessThanOrEqual(2 + now / 250)
  })

  test('an aborted training ends with an AbortedError', async () => {
    await expect(BertTokenizer.train(english, { signal: AbortSignal.abort() })).rejects.toThrow(AbortedError)
    const controller = new AbortController()
    function* endless() {
      for (;;) yield english[0]
    }
    const onProgress = () => controller.abort()
    await expect(BertTokenizer.train(endless(), { onProgress, signal: controller.signal })).rejects.toThrow(
      AbortedError,
    )
  })
})

describe('mistakes', () => {
  test('a vocabulary too small for its alphabet: the message has the least size, which will do', async () => {
    const parts = 'be at least 50 (5 special tokens, 25 characters and 20 of these inside of words) but received'
    for (const vocabSize of [1, 49]) {
      const training = BertTokenizer.train(english, { vocabSize })
      await expect(training).rejects.toThrow(ArgumentError)
      await expect(training).rejects.toThrow(`Expected vocabSize to ${parts} ${vocabSize}`)
    }
    expect(await trained(english, { vocabSize: 50 })).toHaveLength(50)
  })

  test('texts without a word', async () => {
    for (const texts of [[], [''], [' \n', '\t\u0000']]) {
      const training = BertTokenizer.train(texts)
      await expect(training).rejects.toThrow(DataError)
      await expect(training).rejects.toThrow(/Expected texts with words .* but found none in \d/)
    }
  })

  test.each([
    ['a text', undefined, /texts to be a list or a stream of strings but received a string/],
    [undefined, undefined, /texts to be a list or a stream of strings but received nothing/],
    [{ length: 1 }, undefined, /texts to be a list or a stream of strings but received an object/],
    [['a', 7], undefined, /texts\[1\] to be a string but received a number/],
    [['a'], { vocabSize: 0 }, /vocabSize to be an integer of at least 1 but received 0/],
    [['a'], { vocabSize: 10.5 }, /vocabSize to be an integer/],
    [['a'], { minFrequency: -1 }, /minFrequency to be an integer of at least 0/],
    [['a'], { limitAlphabet: 0 }, /limitAlphabet to be an integer of at least 1/],
    [['a'], { initialAlphabet: ['ab'] }, /initialAlphabet to be a list of single characters/],
    [['a'], { specialTokens: ['[UNK]', '[CLS]', '[SEP]'] }, /specialTokens to have \[PAD\] among them/],
    [['a'], { specialTokens: [''] }, /specialTokens to be a list of strings/],
    [['a'], { stripAccents: 'no' }, /stripAccents to be true, false, null/],
    [['a'], { vocabularySize: 9 }, /no option 'vocabularySize'; there are .*vocabSize/],
    [['a'], { additionalSpecialTokens: [] }, /no option 'additionalSpecialTokens'/],
    [['a'], { signal: true }, /signal to be an AbortSignal/],
  ])('%j, %j', async (texts, options, message) => {
    const training = BertTokenizer.train(texts as string[], options as TrainTokenizerOptions)
    await expect(training).rejects.toThrow(ArgumentError)
    await expect(training).rejects.toThrow(message)
  })

  test('an error of the texts comes through', async () => {
    async function* broken() {
      yield 'a'
      throw new DataError('torn', 'file.txt', 2)
    }
    await expect(BertTokenizer.train(broken())).rejects.toThrow('file.txt:2: torn')
  })
})

describe.skipIf(reference === undefined)(`compression is that of the Rust library's trainer${because}`, () => {
  const readLines = async (file: string) => {
    const bytes = await readFile(path.join(reference ?? '', 'data', file))
    return (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8').split('\n')
  }
  // what chance decides there makes a difference of 0.2 % at most
  test.each(compression)('$corpus, $vocabSize tokens', async ({ files, heldOut, options, ...expected }) => {
    const texts = (await Promise.all(files.map(readLines))).flat()
    const tokenizer = await BertTokenizer.train(texts, options)
    const count = (lines: string[]) => lines.reduce((sum, line) => sum + tokenizer.tokenize(line).length, 0)
    const ratios = [
      tokenizer.vocabSize / expected.vocabSize,
      count(texts) / expected.tokens,
      count(await readLines(heldOut)) / expected.heldOutTokens,
    ]
    for (const ratio of ratios) expect(Math.abs(ratio - 1), ratios.join(', ')).toBeLessThan(0.005)
  })
})
