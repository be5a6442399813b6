import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Tokenizer } from 'tokenizers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import {
  compare,
  fromRust,
  randomNumbers,
  randomString,
  realStrings,
  rustJson,
  rustTokenizer,
  VOCABULARIES,
} from './tokenizer-oracle.mjs'

const reference = process.env.BERTKIT_REFERENCE_DIR
const because = reference === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''
const data = path.join(reference ?? '', 'data')
const vocabularyFolder = (name: string) => path.join(data, 'vocab', name)

const random = randomNumbers(20260723)
const randomStrings = (count: number): string[] => Array.from({ length: count }, () => randomString(random))

let scratch = ''
beforeAll(async () => {
  scratch = await mkdtemp(path.join(tmpdir(), 'bertkit-tokenizer-'))
})
afterAll(() => rm(scratch, { recursive: true }))

describe.skipIf(reference === undefined)(`the Rust library and BertTokenizer agree${because}`, () => {
  for (const { name, doLowerCase } of VOCABULARIES) {
    test(`on real and random strings, ${name}`, async () => {
      const ours = await BertTokenizer.fromPretrained(vocabularyFolder(name), { doLowerCase })
      const rust = rustTokenizer(vocabularyFolder(name), doLowerCase)
      const strings = [...realStrings(data, 700, 400), ...randomStrings(800)]
      const { compared, differences } = await compare(ours, rust, strings)
      expect(differences).toEqual([])
      expect(compared).toBeGreaterThan(2500)
    })
  }

  const booleans = [true, false]
  const normalizers = booleans.flatMap((doLowerCase) =>
    [true, false, null].flatMap((stripAccents) =>
      [
        [true, true],
        [false, true],
        [true, false],
      ].map(([cleanText, chinese]) => ({ doLowerCase, stripAccents, cleanText, chinese })),
    ),
  )
  test('with every combination of normaliser options', async () => {
    const lines = (
      await readFile(path.join(vocabularyFolder('bert-base-multilingual-cased'), 'vocab.txt'), 'utf8')
    ).split('\n')
    const tokens = lines.slice(0, 20_000)
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]))
    for (const { chinese, ...options } of normalizers) {
      const ours = BertTokenizer.fromVocab(tokens, { ...options, tokenizeChineseChars: chinese })
      const rust = Tokenizer.fromString(rustJson(vocab, { chinese, ...options }))
      const { differences } = await compare(ours, rust, randomStrings(100))
      expect(differences, JSON.stringify({ chinese, ...options })).toEqual([])
    }
  })
})

const PIECES = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  'a',
  '##a',
  'b',
  '##b',
  'ab',
  '!',
  'é',
  'e',
  '##e',
  '字',
  ' ',
]

const ADDED = [
  { id: 16, content: '<word>', single_word: true, lstrip: false, rstrip: false, normalized: false, special: true },
  { id: 17, content: '<left>', single_word: false, lstrip: true, rstrip: false, normalized: false, special: true },
  { id: 18, content: '<right>', single_word: false, lstrip: false, rstrip: true, normalized: false, special: false },
  { id: 19, content: '<', single_word: false, lstrip: true, rstrip: true, normalized: false, special: true },
  { id: 20, content: '<wor', single_word: true, lstrip: true, rstrip: true, normalized: false, special: true },
  { id: 21, content: 'É字x', single_word: false, lstrip: false, rstrip: false, normalized: true, special: false },
  { id: 22, content: 'BA', single_word: true, lstrip: true, rstrip: true, normalized: true, special: false },
]

async function bothWith(options: object) {
  const json = rustJson(Object.fromEntries(PIECES.map((token, id) => [token, id])), { added: ADDED, ...options })
  await writeFile(path.join(scratch, 'tokenizer.json'), json)
  return { ours: await BertTokenizer.fromPretrained(scratch), rust: Tokenizer.fromString(json) }
}

test('added tokens of every kind are found where the Rust library finds them', async () => {
  const parts = [
    ...PIECES,
    ...ADDED.map((each) => each.content),
    '<wo',
    'ba',
    'BAB',
    'x',
    '_',
    'ß',
    'É字',
    ' ',
    '\n',
    '\u3000',
    '9',
    '\u{10400}',
    '-',
  ]
  const strings = Array.from({ length: 1000 }, () =>
    Array.from({ length: random.between(1, 8) }, () => random.pick(parts)).join(''),
  )
  for (const options of [{}, { doLowerCase: false }, { chinese: false, cleanText: false }]) {
    const { ours, rust } = await bothWith(options)
    const { differences } = await compare(ours, rust, strings)
    expect(differences).toEqual([])
    expect(ours.vocabSize).toBe(rust.getVocabSize(true))
  }
})

test('decoding is the same, with and without special tokens', async () => {
  const { ours, rust } = await bothWith({})
  for (let i = 0; i < 300; i++) {
    const ids = Array.from({ length: random.between(0, 12) }, () => random.below(26))
    for (const skipSpecialTokens of [true, false]) {
      expect(ours.decode(ids, { skipSpecialTokens })).toBe(await rust.decode(ids, skipSpecialTokens))
    }
  }
})

test('words given one by one are each encoded as the Rust library encodes them alone', async () => {
  const { ours, rust } = await bothWith({})
  for (let i = 0; i < 200; i++) {
    const words = randomStrings(random.between(0, 6))
    const { inputIds, wordIds, offsets } = ours.encode(words, {
      addSpecialTokens: false,
      returnOffsets: true,
      offsetUnit: 'codepoint',
    })
    const alone = []
    for (const word of words) alone.push(fromRust(await rust.encode(word, null, { addSpecialTokens: false })))
    expect(inputIds).toEqual(alone.flatMap((each) => each.inputIds))
    expect(offsets).toEqual(alone.flatMap((each) => each.offsets))
    expect(wordIds).toEqual(alone.flatMap((each, word) => each.inputIds.map(() => word)))
  }
})

test('a saved tokenizer loads in the Rust library and in bertkit with the same results', async () => {
  const { ours } = await bothWith({ doLowerCase: false, stripAccents: true })
  const folder = path.join(scratch, 'saved')
  await ours.savePretrained(folder)
  const strings = randomStrings(300)
  const rust = Tokenizer.fromFile(path.join(folder, 'tokenizer.json'))
  expect((await compare(ours, rust, strings)).differences).toEqual([])
  const again = await BertTokenizer.fromPretrained(folder)
  expect((await compare(again, rust, strings)).differences).toEqual([])
  await rm(path.join(folder, 'tokenizer.json'))
  const fromLines = await BertTokenizer.fromPretrained(folder)
  expect((await compare(fromLines, rust, strings)).differences).toEqual([])
})
