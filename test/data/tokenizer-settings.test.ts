// What tokenizer_config.json and tokenizer.json say beside the vocabulary. The expected values are those of Transformers 5.18
// (BertTokenizer.from_pretrained of the same files).
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodeQuestion } from '../../src/data/features/questions.ts'
import { encodeTokens, encodeWords } from '../../src/data/features/tokens.ts'
import { BertTokenizer, type EncodeOptions, type TokenizerOptions } from '../../src/data/tokenizer/tokenizer.ts'
import { ArgumentError, DataError } from '../../src/errors.ts'

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const CONFIG = 'tokenizer_config.json'

let scratch = ''
beforeAll(async () => {
  scratch = await mkdtemp(path.join(tmpdir(), 'bertkit-tokenizer-settings-'))
})
afterAll(() => rm(scratch, { recursive: true }))

let folders = 0
/** A new folder with a vocabulary and these JSON files. */
async function folderWith(files: Record<string, unknown>, tokens: readonly string[]): Promise<string> {
  const folder = path.join(scratch, String(folders++))
  await mkdir(folder)
  await writeFile(path.join(folder, 'vocab.txt'), `${tokens.join('\n')}\n`)
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(folder, name), JSON.stringify(content))
  return folder
}

/** Saves a tokenizer, and gives what was written into tokenizer_config.json and what is read of all. */
async function saved(tokenizer: BertTokenizer): Promise<{ config: Record<string, unknown>; read: BertTokenizer }> {
  const folder = await folderWith({}, [])
  await tokenizer.savePretrained(folder)
  const config = JSON.parse(await readFile(path.join(folder, CONFIG), 'utf8'))
  return { config, read: await BertTokenizer.fromPretrained(folder) }
}

describe('clean_up_tokenization_spaces', () => {
  const TOKENS = [...SPECIAL, ..."it a dog s do not isn t don i m we ve ' , . ? !".split(' ')]
  const TEXT = "it's a dog ' s do not , isn't . don't ? i'm we've !"
  const SPACED = "it ' s a dog ' s do not, isn ' t. don ' t? i ' m we ' ve!"
  const CLEAN = "it's a dog's do not, isn't. don't? i'm we've!"
  const open = async (config: object, options?: TokenizerOptions) =>
    BertTokenizer.fromPretrained(await folderWith({ [CONFIG]: config }, TOKENS), options)

  test.each([
    [{}, SPACED],
    [{ clean_up_tokenization_spaces: null }, SPACED],
    [{ clean_up_tokenization_spaces: false }, SPACED],
    [{ clean_up_tokenization_spaces: true }, CLEAN],
  ])('%j says what decode does without cleanUp', async (config, text) => {
    const tokenizer = await open(config)
    const { inputIds } = tokenizer.encode(TEXT)
    const skipSpecialTokens = true
    expect(tokenizer.decode(inputIds, { skipSpecialTokens })).toBe(text)
    expect(tokenizer.decode(inputIds, { skipSpecialTokens, cleanUp: true })).toBe(CLEAN)
    expect(tokenizer.decode(inputIds, { skipSpecialTokens, cleanUp: false })).toBe(SPACED)
    expect(tokenizer.convertTokensToString(tokenizer.convertIdsToTokens(inputIds))).toBe(`[CLS] ${SPACED} [SEP]`)
  })

  test('each token is cleaned up for itself in any case', async () => {
    const tokenizer = await open({ additional_special_tokens: ['we do not .', 'x do not y'] })
    const { inputIds } = tokenizer.encode('a we do not . it x do not y')
    for (const cleanUp of [true, false])
      expect(tokenizer.decode(inputIds, { cleanUp })).toBe("[CLS] a we don't. it x don't y [SEP]")
  })

  test('goes after the option, and is saved', async () => {
    const configured = await open({ clean_up_tokenization_spaces: true }, { cleanUpTokenizationSpaces: false })
    expect(configured.cleanUpTokenizationSpaces).toBe(false)
    for (const flag of [true, false]) {
      const { config, read } = await saved(await open({ clean_up_tokenization_spaces: flag }))
      expect(config.clean_up_tokenization_spaces).toBe(flag)
      expect(read.cleanUpTokenizationSpaces).toBe(flag)
    }
    expect(() => BertTokenizer.fromVocab(TOKENS, { cleanUpTokenizationSpaces: 1 as never })).toThrow(ArgumentError)
  })
})

describe('truncation_side', () => {
  const TOKENS = [...SPECIAL, ...'abcdefgh']
  const options: EncodeOptions = { truncation: true, returnOverflowingTokens: true }
  const open = async (files: Record<string, unknown>, given?: TokenizerOptions) =>
    BertTokenizer.fromPretrained(await folderWith(files, TOKENS), given)
  const json = (direction?: string) => ({
    truncation: { max_length: 4, strategy: 'LongestFirst', stride: 0, ...(direction && { direction }) },
    model: { type: 'WordPiece', vocab: Object.fromEntries(TOKENS.map((token, i) => [token, i])) },
  })

  test.each<[string, string | null, EncodeOptions, number[][]]>([
    [
      'a b c d e f',
      null,
      { maxLength: 5, stride: 1 },
      [
        [2, 8, 9, 10, 3],
        [2, 6, 7, 8, 3],
        [2, 5, 6, 3],
      ],
    ],
    [
      'a b c d e f',
      'g h',
      { maxLength: 7 },
      [
        [2, 9, 10, 3, 11, 12, 3],
        [2, 7, 8, 3, 11, 12, 3],
        [2, 5, 6, 3, 11, 12, 3],
      ],
    ],
    [
      'a b c',
      'd e f g h',
      { maxLength: 7 },
      [
        [2, 6, 7, 3, 11, 12, 3],
        [2, 5, 3, 11, 12, 3],
        [2, 5, 3, 9, 10, 3],
        [2, 5, 3, 8, 3],
        [2, 6, 7, 3, 9, 10, 3],
        [2, 6, 7, 3, 8, 3],
      ],
    ],
    [
      'a b c d e f',
      'g h',
      { maxLength: 8, truncation: 'only_first', stride: 1 },
      [
        [2, 8, 9, 10, 3, 11, 12, 3],
        [2, 6, 7, 8, 3, 11, 12, 3],
        [2, 5, 6, 3, 11, 12, 3],
      ],
    ],
    [
      'a b',
      'c d e f g h',
      { maxLength: 8, truncation: 'only_second', stride: 2 },
      [
        [2, 5, 6, 3, 10, 11, 12, 3],
        [2, 5, 6, 3, 9, 10, 11, 3],
        [2, 5, 6, 3, 8, 9, 10, 3],
        [2, 5, 6, 3, 7, 8, 9, 3],
      ],
    ],
    [
      'a b c d e',
      'd e f g h',
      { maxLength: 8, stride: 1 },
      [
        [2, 8, 9, 3, 10, 11, 12, 3],
        [2, 7, 8, 3, 10, 11, 12, 3],
        [2, 7, 8, 3, 8, 9, 10, 3],
        [2, 6, 7, 3, 10, 11, 12, 3],
        [2, 6, 7, 3, 8, 9, 10, 3],
        [2, 5, 6, 3, 10, 11, 12, 3],
        [2, 5, 6, 3, 8, 9, 10, 3],
        [2, 8, 9, 3, 8, 9, 10, 3],
      ],
    ],
  ])('left cuts %s | %s, %j', async (text, pair, given, expected) => {
    const tokenizer = await open({ [CONFIG]: { truncation_side: 'left' } })
    const { inputIds, overflowing = [] } = tokenizer.encode(text, pair, { ...options, ...given })
    expect([inputIds, ...overflowing.map((each) => each.inputIds)]).toEqual(expected)
  })

  test('words, sequences and offsets are those of the text', async () => {
    const tokenizer = BertTokenizer.fromVocab(TOKENS, { truncationSide: 'left' })
    expect(tokenizer.encode('a b c d e f', 'g h', { maxLength: 7, returnOffsets: true })).toEqual({
      inputIds: [2, 9, 10, 3, 11, 12, 3],
      tokenTypeIds: [0, 0, 0, 0, 1, 1, 1],
      attentionMask: [1, 1, 1, 1, 1, 1, 1],
      specialTokensMask: [1, 0, 0, 1, 0, 0, 1],
      wordIds: [null, 4, 5, null, 0, 1, null],
      sequenceIds: [null, 0, 0, null, 1, 1, null],
      offsets: [
        [0, 0],
        [8, 9],
        [10, 11],
        [0, 0],
        [0, 1],
        [2, 3],
        [0, 0],
      ],
    })
  })

  test.each<[Record<string, unknown>, 'left' | 'right']>([
    [{ 'tokenizer.json': json('Left') }, 'left'],
    [{ 'tokenizer.json': json('Right') }, 'right'],
    [{ 'tokenizer.json': json() }, 'right'],
    [{ 'tokenizer.json': json('Left'), [CONFIG]: { truncation_side: 'right' } }, 'right'],
    [{ 'tokenizer.json': json('Right'), [CONFIG]: { truncation_side: 'left' } }, 'left'],
  ])('%j', async (files, side) => {
    const tokenizer = await open(files)
    expect(tokenizer.truncationSide).toBe(side)
    const { inputIds } = tokenizer.encode('a b c d', { maxLength: 4 })
    expect(inputIds).toEqual(side === 'left' ? [2, 7, 8, 3] : [2, 5, 6, 3])
    expect((await open(files, { truncationSide: 'left' })).truncationSide).toBe('left')
  })

  test('is saved', async () => {
    for (const truncationSide of ['left', 'right'] as const) {
      const { config, read } = await saved(BertTokenizer.fromVocab(TOKENS, { truncationSide }))
      expect([config.truncation_side, read.truncationSide]).toEqual([truncationSide, truncationSide])
    }
  })

  test.each<[Record<string, unknown>, RegExp]>([
    [{ [CONFIG]: { truncation_side: 'Left' } }, /truncation_side to be "left" or "right" but received "Left"/],
    [{ [CONFIG]: { truncation_side: null } }, /truncation_side to be "left" or "right" but received null/],
    [{ 'tokenizer.json': json('left') }, /truncation\.direction to be "Left" or "Right" but received "left"/],
  ])('%j is a DataError', async (files, message) => {
    const error = await open(files).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(DataError)
    expect((error as DataError).message).toMatch(message)
    expect(() => BertTokenizer.fromVocab(TOKENS, { truncationSide: 'Left' as never })).toThrow(ArgumentError)
  })

  test('examples of tasks are cut on that side, too', () => {
    const tokenizer = BertTokenizer.fromVocab([...TOKENS, '##a'], { truncationSide: 'left' })
    const tags = { tokens: ['h', 'a', 'ba', 'b'], tags: ['H', 'A', 'BA', 'B'] }
    const labelId = (tag: string) => ['H', 'A', 'BA', 'B'].indexOf(tag)
    expect(encodeTokens(tags, tokenizer, { maxLength: 5, labelId })).toEqual({
      inputIds: [2, 6, 13, 6, 3],
      labels: [-100, 2, -100, 3, -100],
    })
    // as in run_ner.py, a word whose beginning is cut off has its label on what is left
    expect(encodeTokens({ tokens: ['ba', 'b'], tags: ['BA', 'B'] }, tokenizer, { maxLength: 4, labelId })).toEqual({
      inputIds: [2, 13, 6, 3],
      labels: [-100, 2, 3, -100],
    })
    const { windows } = encodeWords([...'abcdef'], tokenizer, { maxLength: 5, stride: 1 })
    expect(windows.map(({ inputIds }) => inputIds)).toEqual([
      [2, 8, 9, 10, 3],
      [2, 6, 7, 8, 3],
      [2, 5, 6, 3],
    ])
    const question = { id: 'q', question: 'a b', context: 'c d e f g h' }
    const parts = encodeQuestion(question, 0, tokenizer, { maxLength: 8, docStride: 1 })
    expect(parts.map(({ inputs }) => inputs.inputIds)).toEqual([
      [2, 5, 6, 3, 10, 11, 12, 3],
      [2, 5, 6, 3, 8, 9, 10, 3],
      [2, 5, 6, 3, 7, 8, 3],
    ])
  })
})

describe('special tokens with another name', () => {
  const TOKENS = [...SPECIAL.slice(0, 4), 'a', 'b', '[unused1]', '[unused2]']
  const open = async (config: object, files: Record<string, unknown> = {}) =>
    BertTokenizer.fromPretrained(await folderWith({ [CONFIG]: config, ...files }, TOKENS))
  /** The tokens beyond the vocabulary, in the order of their ids. */
  const further = (tokenizer: BertTokenizer) =>
    Array.from(tokenizer.getVocab())
      .sort(([, a], [, b]) => a - b)
      .map(([token]) => token)
      .slice(TOKENS.length)

  test.each<[object, string[]]>([
    [{ bos_token: '<s>', eos_token: '</s>' }, ['<s>', '</s>', '[MASK]']],
    [{ eos_token: '</s>', bos_token: '<s>' }, ['<s>', '</s>', '[MASK]']],
    [{ bos_token: '<s>', image_token: '<img>', additional_special_tokens: ['<x>'] }, ['<s>', '[MASK]', '<img>', '<x>']],
    [
      { bos_token: '<s>', added_tokens_decoder: { 8: { content: '<q>' }, 9: { content: '[MASK]', special: true } } },
      ['<q>', '[MASK]', '<s>'],
    ],
    [{ bos_token: '[CLS]', eos_token: null }, ['[MASK]']],
    [{ bos_token: '', image_token: 5, add_bos_token: true }, ['[MASK]']],
  ])('%j get the next ids, in the order of Transformers', async (config, tokens) => {
    expect(further(await open(config))).toEqual(tokens)
  })

  test('special_tokens_map.json goes before tokenizer_config.json, and added_tokens.json has its ids', async () => {
    const files = {
      'special_tokens_map.json': { bos_token: { content: '<t>', lstrip: false }, eos_token: '</t>' },
      'added_tokens.json': { '<n>': 8 },
    }
    expect(further(await open({ bos_token: '<s>' }, files))).toEqual(['<n>', '<t>', '</t>', '[MASK]'])
  })

  test('are found in texts, left out by decode, and not put around a text', async () => {
    const tokenizer = await open({ bos_token: '[unused1]', eos_token: '[unused2]', image_token: '<img>' })
    const { inputIds } = tokenizer.encode('[unused1] a<img> [unused2]')
    expect(inputIds).toEqual([2, 6, 4, 9, 7, 3])
    expect(tokenizer.decode(inputIds, { skipSpecialTokens: true })).toBe('a')
    expect(tokenizer.allSpecialIds).toEqual([0, 1, 2, 3, 6, 7, 8, 9])
  })

  test('what has a name is special whatever the file says of it', async () => {
    const decoder = { 8: { content: '<q>', special: false } }
    const tokenizer = await open({ bos_token: '<q>', added_tokens_decoder: decoder })
    expect(tokenizer.decode(tokenizer.encode('a <q> b').inputIds, { skipSpecialTokens: true })).toBe('a b')
  })

  test('are saved', async () => {
    const made = await open({ bos_token: '<s>', eos_token: '</s>', image_token: '<img>' })
    const { config, read } = await saved(made)
    expect(config).toMatchObject({ bos_token: '<s>', eos_token: '</s>', image_token: '<img>' })
    expect(read.getVocab()).toEqual(made.getVocab())
    expect((await saved(read)).config).toEqual(config)
  })

  test('a name that is no string is a DataError', async () => {
    await expect(open({ bos_token: 5 })).rejects.toThrow(
      /tokenizer_config\.json: .*bos_token to be a string.*received 5/,
    )
  })
})

describe('max_len', () => {
  test.each<[object, number]>([
    [{ max_len: 8 }, 8],
    [{ max_len: 8, model_max_length: 12 }, 12],
    [{ max_len: 8, model_max_length: null }, Number.POSITIVE_INFINITY],
    [{ max_len: null }, Number.POSITIVE_INFINITY],
    [{ max_len: 1e30 }, Number.POSITIVE_INFINITY],
  ])('%j', async (config, length) => {
    const tokenizer = await BertTokenizer.fromPretrained(await folderWith({ [CONFIG]: config }, SPECIAL))
    expect(tokenizer.modelMaxLength).toBe(length)
  })

  test('that is no number is a DataError', async () => {
    const folder = await folderWith({ [CONFIG]: { max_len: '8' } }, SPECIAL)
    await expect(BertTokenizer.fromPretrained(folder)).rejects.toThrow(/max_len to be a positive number.*received "8"/)
  })
})

describe('split_special_tokens', () => {
  const TOKENS = [...SPECIAL, ...'abfn<']
  const ADDED = {
    10: { content: '<n>', special: false, normalized: false },
    11: { content: '<n>a', special: true, normalized: false },
    12: { content: 'F', special: false, normalized: true },
  }

  test('special tokens in a text are text', async () => {
    const configured = { split_special_tokens: true, bos_token: '<s>', added_tokens_decoder: ADDED }
    const tokenizer = await BertTokenizer.fromPretrained(await folderWith({ [CONFIG]: configured }, TOKENS))
    const { config, read } = await saved(tokenizer)
    expect(config.split_special_tokens).toBe(true)
    for (const each of [tokenizer, read]) {
      expect(each.encode('a [MASK] b').inputIds).toEqual([2, 5, 1, 1, 1, 6, 3])
      expect(each.encode('a [SEP]b').inputIds).toEqual([2, 5, 1, 1, 1, 6, 3])
      // what is passed over is not looked into again
      expect(each.encode('<n> <n>a').inputIds).toEqual([2, 10, 9, 8, 1, 5, 3])
      expect(each.encode('f F').inputIds).toEqual([2, 12, 12, 3])
    }
    expect(BertTokenizer.fromVocab(TOKENS, { splitSpecialTokens: true }).tokenize('[SEP]')).toHaveLength(3)
    expect(BertTokenizer.fromVocab(TOKENS).tokenize('[SEP]')).toEqual(['[SEP]'])
    expect(() => BertTokenizer.fromVocab(TOKENS, { splitSpecialTokens: 1 as never })).toThrow(ArgumentError)
  })

  test('that is no boolean is a DataError', async () => {
    const folder = await folderWith({ [CONFIG]: { split_special_tokens: 'yes' } }, TOKENS)
    await expect(BertTokenizer.fromPretrained(folder)).rejects.toThrow(/split_special_tokens to be true or false/)
  })
})
