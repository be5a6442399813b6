import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BertTokenizer, type EncodeOptions, type TokenizerOptions } from '../../src/data/tokenizer/tokenizer.ts'
import { cut, truncate } from '../../src/data/tokenizer/truncation.ts'
import { ArgumentError, DataError } from '../../src/errors.ts'

const TOKENS = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  'the',
  'un',
  '##aff',
  '##able',
  'fox',
  'é',
  'e',
  '##e',
  '.',
  '字',
]
const id = (token: string) => TOKENS.indexOf(token)
const tokenizer = BertTokenizer.fromVocab(TOKENS, { modelMaxLength: 8 })
const cased = BertTokenizer.fromVocab(TOKENS, { doLowerCase: false })

let scratch = ''
beforeAll(async () => {
  scratch = await mkdtemp(path.join(tmpdir(), 'bertkit-tokenizer-'))
})
afterAll(() => rm(scratch, { recursive: true }))

let folders = 0
/** A new folder with these files. */
async function folderWith(files: Record<string, string | Uint8Array>): Promise<string> {
  const folder = path.join(scratch, String(folders++))
  await mkdir(folder)
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(folder, name), content)
  return folder
}

describe('encode', () => {
  test('gives ids, types, masks, words and offsets in UTF-16 units', () => {
    const encoding = tokenizer.encode('The \u{1f600} unaffable', 'fox', { returnOffsets: true })
    expect(encoding).toEqual({
      inputIds: ['[CLS]', 'the', '[UNK]', 'un', '##aff', '##able', '[SEP]', 'fox', '[SEP]'].map(id),
      tokenTypeIds: [0, 0, 0, 0, 0, 0, 0, 1, 1],
      attentionMask: [1, 1, 1, 1, 1, 1, 1, 1, 1],
      specialTokensMask: [1, 0, 0, 0, 0, 0, 1, 0, 1],
      wordIds: [null, 0, 1, 2, 2, 2, null, 0, null],
      sequenceIds: [null, 0, 0, 0, 0, 0, null, 1, null],
      offsets: [
        [0, 0],
        [0, 3],
        [4, 6],
        [7, 9],
        [9, 12],
        [12, 16],
        [0, 0],
        [0, 3],
        [0, 0],
      ],
    })
    const { offsets } = tokenizer.encode('The \u{1f600} fox', { returnOffsets: true, offsetUnit: 'codepoint' })
    expect(offsets).toEqual([
      [0, 0],
      [0, 3],
      [4, 5],
      [6, 9],
      [0, 0],
    ])
  })

  test('keeps accents when it keeps case, and drops them when it does not', () => {
    expect(tokenizer.tokenize('É e\u0301')).toEqual(['e', 'e'])
    expect(cased.tokenize('é É')).toEqual(['é', '[UNK]'])
    expect(BertTokenizer.fromVocab(TOKENS, { stripAccents: false }).tokenize('É')).toEqual(['é'])
  })

  test('finds special tokens in the text without marking them as added', () => {
    const { inputIds, specialTokensMask } = tokenizer.encode('the[MASK].')
    expect(inputIds).toEqual(['[CLS]', 'the', '[MASK]', '.', '[SEP]'].map(id))
    expect(specialTokensMask).toEqual([1, 0, 0, 0, 1])
  })

  test('takes a lone surrogate for U+FFFD, which cleaning removes', () => {
    expect(tokenizer.tokenize('f\ud800o\udc00x')).toEqual(['fox'])
    expect(BertTokenizer.fromVocab(TOKENS, { cleanText: false }).tokenize('fo\ud800x')).toEqual(['[UNK]'])
  })

  test('numbers words by the list that they were given in', () => {
    const { wordIds, offsets } = tokenizer.encode(['the', 'unaffable.', '', 'fox'], { returnOffsets: true })
    expect(wordIds).toEqual([null, 0, 1, 1, 1, 1, 3, null])
    expect(offsets?.slice(2, 7)).toEqual([
      [0, 2],
      [2, 5],
      [5, 9],
      [9, 10],
      [0, 3],
    ])
  })

  test('takes an empty pair for none, but an empty text for one', () => {
    // Transformers 5.18: tokenizer('fox', ''), tokenizer(['fox'], [], is_split_into_words=True), tokenizer('', 'fox')
    expect(tokenizer.encode('fox', '')).toEqual(tokenizer.encode('fox'))
    expect(tokenizer.encode('fox', '', { maxLength: 3 }).inputIds).toEqual([2, 9, 3])
    expect(tokenizer.encode(['fox'], []).inputIds).toEqual([2, 9, 3])
    expect(tokenizer.encode('', 'fox').inputIds).toEqual([2, 3, 9, 3])
    expect(tokenizer.encode('fox', ' ').inputIds).toEqual([2, 9, 3, 3])
    expect(() => tokenizer.encode('fox', [])).toThrow('Expected pair to be a string but received a list')
  })

  test('a word of more than maxInputCharsPerWord characters is unknown', () => {
    const strict = BertTokenizer.fromVocab(TOKENS, { maxInputCharsPerWord: 3 })
    expect(strict.tokenize('fox unaffable')).toEqual(['fox', '[UNK]'])
  })

  test('truncates by the model, by maxLength, or not at all', () => {
    const text = 'the fox '.repeat(10)
    const lengths = [{}, { truncation: true }, { maxLength: 5 }, { maxLength: 5, truncation: false }].map(
      (options) => tokenizer.encode(text, options).inputIds.length,
    )
    expect(lengths).toEqual([22, 8, 5, 22])
    expect(cased.encode(text, { truncation: true }).inputIds).toHaveLength(22)
  })

  test('overflowing parts share stride tokens and have special tokens around', () => {
    const options = { truncation: 'only_second', maxLength: 6, stride: 1, returnOverflowingTokens: true } as const
    const { inputIds, overflowing } = tokenizer.encode('the', 'fox e . 字', options)
    expect(inputIds).toEqual(['[CLS]', 'the', '[SEP]', 'fox', 'e', '[SEP]'].map(id))
    expect(overflowing?.map((each) => each.inputIds.slice(3, -1))).toEqual([['e', '.'].map(id), ['.', '字'].map(id)])
    expect(overflowing?.map((each) => each.tokenTypeIds)).toEqual([
      [0, 0, 0, 1, 1, 1],
      [0, 0, 0, 1, 1, 1],
    ])
    expect(tokenizer.encode('the', { returnOverflowingTokens: true }).overflowing).toEqual([])
  })

  test.each<[string, () => unknown]>([
    ['unknown option', () => tokenizer.encode('a', { maxlength: 3 } as EncodeOptions)],
    ['wrong type of option', () => tokenizer.encode('a', { stride: '1' } as unknown as EncodeOptions)],
    ['unknown strategy', () => tokenizer.encode('a', { truncation: 'longest' } as unknown as EncodeOptions)],
    ['maxLength 0', () => tokenizer.encode('a', { maxLength: 0 })],
    ['maxLength NaN', () => tokenizer.encode('a', { maxLength: Number.NaN })],
    ['maxLength below the special tokens', () => tokenizer.encode('a', 'b', { maxLength: 2 })],
    ['stride without progress', () => tokenizer.encode('a', { maxLength: 5, stride: 3 })],
    ['stride without progress in a half', () => tokenizer.encode('a a a', 'a a a', { maxLength: 7, stride: 2 })],
    ['only_second without a pair', () => tokenizer.encode('a a a', { maxLength: 3, truncation: 'only_second' })],
    ['only_first too short', () => tokenizer.encode('a', 'a a a a', { maxLength: 4, truncation: 'only_first' })],
    ['number for a text', () => tokenizer.encode(3 as unknown as string)],
    ['number among words', () => tokenizer.encode(['a', 3] as unknown as string[])],
    ['words with a text', () => tokenizer.encode(['a'], 'b')],
    ['text said to be words', () => tokenizer.encode('a', { isSplitIntoWords: true })],
    ['options twice', () => tokenizer.encode('a', {} as unknown as string, {})],
    ['unknown option of decode', () => tokenizer.decode([], { skip: true } as object)],
    ['fractional id', () => tokenizer.decode([1.5])],
    ['id of no token', () => tokenizer.convertIdsToTokens([99])],
  ])('%s is an ArgumentError', (_, call) => {
    expect(call).toThrow(ArgumentError)
  })
})

describe('truncation', () => {
  test('cuts into windows', () => {
    expect(cut(7, 3, 1, 'right')).toEqual([
      { from: 0, to: 3 },
      { from: 2, to: 5 },
      { from: 4, to: 7 },
    ])
    expect(cut(3, 3, 2, 'right')).toEqual([{ from: 0, to: 3 }])
    expect(cut(2, 0, 0, 'right')).toEqual([
      { from: 0, to: 0 },
      { from: 0, to: 2 },
    ])
  })

  test.each([
    [8, 4, 7, 4, 3],
    [4, 8, 7, 3, 4],
    [8, 2, 7, 5, 2],
    [2, 8, 7, 2, 5],
    [8, 8, 7, 3, 4],
    [1, 1, 7, 1, 1],
    [3, 3, 0, 0, 0],
  ])('longest_first leaves of %i and %i tokens in %i: %i and %i', (first, second, room, one, two) => {
    const windows = truncate(first, second, room, 'longest_first', 0, 'right')
    expect([windows.first[0].to, windows.second?.[0].to]).toEqual([one, two])
  })
})

describe('tokens and ids', () => {
  test('the special tokens have their ids', () => {
    const { unkTokenId, sepTokenId, padTokenId, clsTokenId, maskTokenId, vocabSize, allSpecialIds } = tokenizer
    expect([padTokenId, unkTokenId, clsTokenId, sepTokenId, maskTokenId]).toEqual([0, 1, 2, 3, 4])
    expect(vocabSize).toBe(TOKENS.length)
    expect(allSpecialIds).toEqual([0, 1, 2, 3, 4])
    expect(tokenizer.convertTokensToIds(['fox', 'nothing'])).toEqual([9, 1])
    expect(tokenizer.convertIdsToTokens([9, 7])).toEqual(['fox', '##aff'])
  })

  test('decode joins pieces and cleans up', () => {
    const { inputIds } = tokenizer.encode('The unaffable fox.')
    expect(tokenizer.decode(inputIds)).toBe('[CLS] the unaffable fox. [SEP]')
    expect(tokenizer.decode(inputIds, { skipSpecialTokens: true, cleanUp: false })).toBe('the unaffable fox.')
    expect(tokenizer.decode([9, 12345])).toBe('fox')
  })

  test('a missing mask and further special tokens get the next ids', () => {
    const without = TOKENS.filter((token) => token !== '[MASK]')
    const made = BertTokenizer.fromVocab(without, { additionalSpecialTokens: ['<user>', 'fox'] })
    expect(made.convertTokensToIds(['[MASK]', '<user>', 'fox'])).toEqual([14, 15, without.indexOf('fox')])
    expect(made.encode('the<user>fox', { addSpecialTokens: false }).inputIds).toEqual([4, 15, 8])
    expect(made.vocabSize).toBe(16)
  })

  test.each<[string, () => unknown]>([
    ['no [CLS]', () => BertTokenizer.fromVocab(TOKENS.filter((token) => token !== '[CLS]'))],
    ['no [UNK]', () => BertTokenizer.fromVocab(['[PAD]', '[CLS]', '[SEP]'])],
    ['no list', () => BertTokenizer.fromVocab('[UNK]' as unknown as string[])],
    ['a lone surrogate', () => BertTokenizer.fromVocab([...TOKENS, '\ud800'])],
    ['an unknown option', () => BertTokenizer.fromVocab(TOKENS, { lowercase: true } as TokenizerOptions)],
    ['a wrong option', () => BertTokenizer.fromVocab(TOKENS, { modelMaxLength: -1 })],
    ['a token that is no string', () => BertTokenizer.fromVocab([1n] as unknown as string[])],
    ['a list of holes', () => BertTokenizer.fromVocab(new Array(3))],
    ['a hole among tokens', () => BertTokenizer.fromVocab(Object.assign([...TOKENS], { length: TOKENS.length + 1 }))],
    ['a list of holes for an option', () => BertTokenizer.fromVocab(TOKENS, { additionalSpecialTokens: new Array(1) })],
    ['a list of holes for a text', () => tokenizer.encode(new Array(1))],
    ['a BigInt for an option', () => tokenizer.encode('x', { maxLength: 10n as unknown as number })],
  ])('%s is an ArgumentError', (_, call) => {
    expect(call).toThrow(ArgumentError)
  })
})

test.each([
  [() => tokenizer.decode(5 as never), 'Expected ids to be a list of token ids but received a number'],
  [() => tokenizer.decode(undefined as never), 'Expected ids to be a list of token ids but received nothing'],
  [() => tokenizer.decode('5' as never), 'Expected ids to be a list of token ids but received a string'],
  [() => tokenizer.decode([5n] as never), 'Expected token ids to be integers but received 5n'],
  [() => tokenizer.convertIdsToTokens(5 as never), 'Expected ids to be a list of token ids but received a number'],
  [() => tokenizer.convertTokensToIds('fox' as never), 'Expected tokens to be a list of strings but received a string'],
  [() => tokenizer.convertTokensToIds(['fox', 1] as never), 'Expected tokens[1] to be a string but received a number'],
  [
    () => tokenizer.convertTokensToString('fox' as never),
    'Expected tokens to be a list of strings but received a string',
  ],
  [() => tokenizer.convertTokensToString([1] as never), 'Expected tokens[0] to be a string but received a number'],
])('%s is an ArgumentError that says so', (call, message) => {
  expect(call).toThrow(new ArgumentError(message))
})

const json = (vocab: object, rest: object = {}) => JSON.stringify({ model: { type: 'WordPiece', vocab }, ...rest })
const vocabulary = Object.fromEntries(TOKENS.map((token, i) => [token, i]))

describe('files', () => {
  test('vocab.txt is split at line ends only, and tokenizer_config.json is obeyed', async () => {
    const folder = await folderWith({
      'vocab.txt': [...TOKENS, '\u2028', '##\u2028', 'x\u00a0', '[C]'].join('\r\n'),
      'tokenizer_config.json': JSON.stringify({
        do_lower_case: false,
        strip_accents: true,
        model_max_length: 12,
        cls_token: { content: '[C]', lstrip: false },
        additional_special_tokens: ['fox'],
      }),
    })
    const read = await BertTokenizer.fromPretrained(folder)
    expect(read.convertTokensToIds(['\u2028', '##\u2028', 'x\u00a0'])).toEqual([15, 16, 17])
    expect([read.clsToken, read.clsTokenId, read.modelMaxLength, read.vocabSize]).toEqual(['[C]', 18, 12, 19])
    expect(read.tokenize('é É thefoxthe')).toEqual(['e', '[UNK]', 'the', 'fox', 'the'])
  })

  test('null in tokenizer_config.json is not given', async () => {
    const config = { model_max_length: null, cls_token: null, pad_token: null, additional_special_tokens: null }
    const files = { 'vocab.txt': TOKENS.join('\n'), 'tokenizer_config.json': JSON.stringify(config) }
    const read = await BertTokenizer.fromPretrained(await folderWith(files))
    const plain = await BertTokenizer.fromPretrained(await folderWith({ 'vocab.txt': TOKENS.join('\n') }))
    expect([read.modelMaxLength, read.clsToken, read.padToken]).toEqual([plain.modelMaxLength, '[CLS]', '[PAD]'])
  })

  test('tokenizer.json goes before vocab.txt, its normaliser after tokenizer_config.json', async () => {
    const normalizer = { type: 'BertNormalizer', lowercase: false, strip_accents: null, clean_text: true }
    const files = { 'tokenizer.json': json(vocabulary, { normalizer }), 'vocab.txt': 'a\nb\n' }
    expect((await BertTokenizer.fromPretrained(await folderWith(files))).tokenize('é The')).toEqual(['é', '[UNK]'])
    const configured = { ...files, 'tokenizer_config.json': '{"do_lower_case": true, "model_max_length": 1e30}' }
    const read = await BertTokenizer.fromPretrained(await folderWith(configured))
    expect(read.tokenize('é The')).toEqual(['e', 'the'])
    expect(read.modelMaxLength).toBe(Number.POSITIVE_INFINITY)
    const given = await BertTokenizer.fromPretrained(await folderWith(configured), { doLowerCase: false })
    expect(given.tokenize('é The')).toEqual(['é', '[UNK]'])
  })

  test('what is saved can be read again, byte for byte the second time', async () => {
    const tokens = [...TOKENS, '12', '7', '__proto__', '"\\', 'fox']
    const made = BertTokenizer.fromVocab(tokens, {
      stripAccents: false,
      modelMaxLength: 64,
      additionalSpecialTokens: ['<u>'],
    })
    const [one, two] = [await folderWith({}), await folderWith({})]
    await made.savePretrained(one)
    const read = await BertTokenizer.fromPretrained(one)
    await read.savePretrained(two)
    for (const name of ['vocab.txt', 'tokenizer.json', 'tokenizer_config.json']) {
      expect(await readFile(path.join(two, name), 'utf8'), name).toBe(await readFile(path.join(one, name), 'utf8'))
    }
    expect(read.getVocab()).toEqual(made.getVocab())
    expect(read.modelMaxLength).toBe(64)
    await rm(path.join(one, 'tokenizer.json'))
    const fromLines = await BertTokenizer.fromPretrained(one)
    expect(fromLines.convertTokensToIds(tokens)).toEqual(made.convertTokensToIds(tokens))
    expect(fromLines.encode('É<u>').inputIds).toEqual(made.encode('É<u>').inputIds)
  })

  test.each<[string, Record<string, string | Uint8Array>, RegExp]>([
    ['an empty folder', {}, /tokenizer\.json or vocab\.txt/],
    ['an empty vocab.txt', { 'vocab.txt': '' }, /vocab\.txt: .*\[UNK\].* 0 tokens/],
    ['a vocabulary of another model', { 'vocab.txt': '<s>\n</s>\n' }, /vocab\.txt: .*\[UNK\]/],
    ['no UTF-8', { 'vocab.txt': Uint8Array.of(97, 10, 98, 10, 0xff, 10) }, /vocab\.txt:3: not valid UTF-8/],
    ['broken JSON', { 'tokenizer.json': '{"model": ' }, /tokenizer\.json: not valid JSON/],
    ['a list', { 'tokenizer.json': '[]' }, /tokenizer\.json: .*a list/],
    ['no vocabulary', { 'tokenizer.json': '{"model": {}}' }, /model\.vocab/],
    ['another model', { 'tokenizer.json': '{"model": {"type": "BPE", "vocab": {}}}' }, /model\.type.*BPE/],
    ['an id that is text', { 'tokenizer.json': json({ ...vocabulary, x: '15' }) }, /model\.vocab\.x .*integer/],
    ['an id out of range', { 'tokenizer.json': json({ ...vocabulary, x: 1e9 }) }, /model\.vocab\.x .*integer/],
    ['an id twice', { 'tokenizer.json': json({ ...vocabulary, x: 3 }) }, /"\[SEP\]" and "x" have 3/],
    [
      'an added token of another id',
      { 'tokenizer.json': json(vocabulary, { added_tokens: [{ id: 3, content: 'fox' }] }) },
      /added token fox .* 9, but received 3/,
    ],
    [
      'an added token of a wrong kind',
      { 'tokenizer.json': json(vocabulary, { added_tokens: [{ id: 30, content: 'x', lstrip: 1 }] }) },
      /added_tokens\[0\]\.lstrip .*true or false/,
    ],
    ...['abc', '', '1.5', '-5', '99999999999', '0x20'].map((key): [string, Record<string, string>, RegExp] => [
      `an added token whose id is ${JSON.stringify(key)}`,
      {
        'vocab.txt': TOKENS.join('\n'),
        'tokenizer_config.json': JSON.stringify({ added_tokens_decoder: { [key]: { content: 'x' } } }),
      },
      new RegExp(`tokenizer_config\\.json: .*key of added_tokens_decoder to be an integer .* received "${key}"`),
    ]),
    [
      'a wrong setting',
      { 'vocab.txt': TOKENS.join('\n'), 'tokenizer_config.json': '{"do_lower_case": "yes"}' },
      /tokenizer_config\.json: .*do_lower_case/,
    ],
  ])('%s is a DataError that says where', async (_, files, message) => {
    const error = await BertTokenizer.fromPretrained(await folderWith(files)).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(DataError)
    expect((error as DataError).message).toMatch(message)
  })
})

describe('hostile texts take linear work', () => {
  // Each is 1 MB or more: anything quadratic would run for minutes and hit the time limit of a test.
  const long = 1 << 20
  test.each([
    ['one word', 'a'.repeat(long), 1],
    ['combining marks', '\u0301'.repeat(long), 0],
    ['marks out of order', '\u0301\u0316'.repeat(long / 2), 0],
    ['marks that stay', '\u0301\u302e'.repeat(long / 2), 1],
    ['ideographs', '字'.repeat(long / 2), long / 2],
    ['punctuation', '.'.repeat(long), long],
    ['lone surrogates', '\ud800'.repeat(long), 0],
    ['starts of special tokens', '[MASK'.repeat(long / 8), long / 4],
  ])('%s', (_, text, tokens) => {
    expect(tokenizer.encode(text, { addSpecialTokens: false }).inputIds).toHaveLength(tokens)
  })
})
