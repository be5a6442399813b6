// special_tokens_map.json and added_tokens.json of older versions of Transformers. The expected ids, where no error is
// expected, are those of Transformers 5.18 (BertTokenizer.from_pretrained of the same files).
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { DataError } from '../../src/errors.ts'

const TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'fox']
const ADDED = 'added_tokens.json'
const MAP = 'special_tokens_map.json'
const CONFIG = 'tokenizer_config.json'

let scratch = ''
beforeAll(async () => {
  scratch = await mkdtemp(path.join(tmpdir(), 'bertkit-legacy-tokenizer-'))
})
afterAll(() => rm(scratch, { recursive: true }))

let folders = 0
/** A new folder with a vocabulary and these JSON files; a string is written as it is. */
async function folderWith(files: Record<string, unknown>, tokens: readonly string[] = TOKENS): Promise<string> {
  const folder = path.join(scratch, String(folders++))
  await mkdir(folder)
  await writeFile(path.join(folder, 'vocab.txt'), `${tokens.join('\n')}\n`)
  for (const [name, content] of Object.entries(files))
    await writeFile(path.join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  return folder
}

const open = async (files: Record<string, unknown>, tokens?: readonly string[]) =>
  BertTokenizer.fromPretrained(await folderWith(files, tokens))

const tokenizerJson = (added: readonly object[]) => ({
  model: { type: 'WordPiece', vocab: Object.fromEntries(TOKENS.map((token, i) => [token, i])) },
  added_tokens: added,
})

describe('added_tokens.json', () => {
  test('brings what vocab.txt lacks, as an ordinary token', async () => {
    const read = await open({ [ADDED]: { '<ent>': 7 } })
    const { inputIds } = read.encode('a <ent> fox')
    expect(inputIds).toEqual([2, 5, 7, 6, 3])
    expect(read.vocabSize).toBe(8)
    expect(read.decode(inputIds, { skipSpecialTokens: true })).toBe('a <ent> fox')
    // it matches normalised text
    expect((await open({ [ADDED]: { '<ENT>': 7 } })).encode('a <ENT> <ent>').inputIds).toEqual([2, 5, 7, 7, 3])
  })

  test.each<[string, Record<string, unknown>, string]>([
    ['tokenizer_config.json lists', { [CONFIG]: { additional_special_tokens: ['<ent>'] } }, 'a fox'],
    ['tokenizer_config.json names', { [CONFIG]: { bos_token: '<ent>' } }, 'a fox'],
    ['special_tokens_map.json lists as v5', { [MAP]: { extra_special_tokens: ['<ent>'] } }, 'a fox'],
    ['special_tokens_map.json lists as v4', { [MAP]: { additional_special_tokens: ['<ent>'] } }, 'a <ent> fox'],
  ])('a token that %s', async (_, files, text) => {
    const read = await open({ ...files, [ADDED]: { '<ent>': 7 } })
    const { inputIds } = read.encode('a <ent> fox')
    expect(inputIds).toEqual([2, 5, 7, 6, 3])
    expect(read.decode(inputIds, { skipSpecialTokens: true })).toBe(text)
  })

  test("one of BERT's five is special there, too", async () => {
    const read = await open({ [ADDED]: { '[MASK]': 6 } }, [...TOKENS.slice(0, 4), 'a', 'fox'])
    expect(read.encode('a [MASK]').inputIds).toEqual([2, 4, 6, 3])
    expect(read.maskTokenId).toBe(6)
    expect(read.allSpecialIds).toEqual([0, 1, 2, 3, 6])
  })

  test('goes before further special tokens, in the order of its ids', async () => {
    const read = await open({
      [CONFIG]: { additional_special_tokens: ['<ent>'] },
      [ADDED]: { '<c>': 8, '<b>': 7 },
    })
    expect(read.encode('a <b> <c> <ent>').inputIds).toEqual([2, 5, 7, 8, 9, 3])
  })

  test('a token of the vocabulary is matched as a whole', async () => {
    const read = await open({ [ADDED]: { fox: 6 } })
    expect(read.encode('a foxa').inputIds).toEqual([2, 5, 6, 5, 3])
    expect(read.vocabSize).toBe(7)
  })

  test('tokenizer.json goes before it, token by token and id by id', async () => {
    const json = { 'tokenizer.json': tokenizerJson([{ id: 7, content: '<ent>', special: true }]) }
    expect((await open({ ...json, [ADDED]: { '<b>': 8 } })).encode('a <b> <ent>').inputIds).toEqual([2, 5, 8, 7, 3])
    const replaced = await open({ ...json, [ADDED]: { '<b>': 7 } })
    expect(replaced.encode('a <b> <ent>').inputIds).toEqual([2, 5, 1, 1, 1, 7, 3])
    expect(replaced.vocabSize).toBe(8)
  })

  test('an id beyond a gap stays', async () => {
    expect((await open({ [ADDED]: { '<ent>': 9 } })).encode('a <ent>').inputIds).toEqual([2, 5, 9, 3])
  })

  test.each<[string, unknown, RegExp]>([
    ['broken JSON', '{"<ent>": ', /not valid JSON/],
    ['a list', ['<ent>'], /Expected a JSON object but received a list/],
    ['an id that is text', { '<ent>': '7' }, /the id of <ent> to be an integer from 0 .* received "7"/],
    ['a negative id', { '<ent>': -1 }, /the id of <ent> to be an integer from 0 .* received -1/],
    ['half an id', { '<ent>': 7.5 }, /the id of <ent> to be an integer from 0 .* received 7\.5/],
    ['an id that is too large', { '<ent>': 1e9 }, /the id of <ent> to be an integer from 0 to 16777215/],
    ['null', { '<ent>': null }, /the id of <ent> to be an integer from 0 .* received null/],
    ['the id of another token', { '<ent>': 3 }, /one token for each id but "\[SEP\]" and "<ent>" have 3/],
    ['an id twice', { '<b>': 7, '<ent>': 7 }, /one token for each id but "<b>" and "<ent>" have 7/],
    [
      'another id than in the vocabulary',
      { fox: 9 },
      /the id of fox to be the one in the vocabulary, 6, .* received 9/,
    ],
    ['an empty token', { '': 7 }, /tokens that are not empty/],
  ])('%s is a DataError that says where', async (_, content, message) => {
    const folder = await folderWith({ [ADDED]: content })
    const error = await BertTokenizer.fromPretrained(folder).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(DataError)
    expect((error as DataError).file).toBe(path.join(folder, ADDED))
    expect((error as DataError).message).toMatch(message)
  })
})

describe('special_tokens_map.json', () => {
  test('goes before tokenizer_config.json', async () => {
    const read = await open({ [MAP]: { cls_token: 'a' }, [CONFIG]: { cls_token: 'fox' } })
    expect(read.clsToken).toBe('a')
    const cased = await open({ [MAP]: { do_lower_case: false }, [CONFIG]: { do_lower_case: true } })
    expect(cased.encode('A').inputIds).toEqual([2, 1, 3])
  })

  test.each<[string, object, object, number]>([
    ['v4 list alone', {}, { additional_special_tokens: ['<b>'] }, 8],
    [
      'v4 list beside a v4 list of the configuration',
      { additional_special_tokens: [] },
      { additional_special_tokens: ['<b>'] },
      7,
    ],
    [
      'v4 list beside a v5 list of the configuration',
      { extra_special_tokens: ['<c>'] },
      { additional_special_tokens: ['<b>'] },
      8,
    ],
    [
      'v4 list beside names in the configuration',
      { extra_special_tokens: { c_token: '<c>' } },
      { additional_special_tokens: ['<b>'] },
      9,
    ],
    [
      'v5 list beside a v5 list of the configuration',
      { extra_special_tokens: ['<c>'] },
      { extra_special_tokens: ['<b>'] },
      9,
    ],
  ])('%s', async (_, config, map, size) => {
    expect((await open({ [CONFIG]: config, [MAP]: map })).vocabSize).toBe(size)
  })
})

describe('with an added_tokens_decoder in tokenizer_config.json neither is read', () => {
  test.each([
    [MAP, { additional_special_tokens: ['<x>'], cls_token: 'a' }],
    [ADDED, { '<ent>': 7 }],
    [MAP, 'no JSON'],
    [ADDED, 'no JSON'],
  ])('%s of %j', async (name, content) => {
    const read = await open({ [CONFIG]: { added_tokens_decoder: {} }, [name]: content })
    expect([read.vocabSize, read.clsToken]).toEqual([7, '[CLS]'])
  })

  test('so what an earlier save left does not come back', async () => {
    const folder = await folderWith({ [MAP]: { additional_special_tokens: ['<old>'] }, [ADDED]: { '<old>': 7 } })
    expect((await BertTokenizer.fromPretrained(folder)).vocabSize).toBe(8)
    await BertTokenizer.fromVocab(TOKENS).savePretrained(folder)
    expect(await readdir(folder)).toContain(MAP)
    const read = await BertTokenizer.fromPretrained(folder)
    expect([...read.getVocab().keys()]).toEqual(TOKENS)
  })

  test('and what is read of them is saved where it is read again', async () => {
    const [old, saved] = [
      await folderWith({ [ADDED]: { '<ent>': 7 }, [MAP]: { extra_special_tokens: ['<x>'] } }),
      await folderWith({}),
    ]
    const made = await BertTokenizer.fromPretrained(old)
    await made.savePretrained(saved)
    const read = await BertTokenizer.fromPretrained(saved)
    expect(read.getVocab()).toEqual(made.getVocab())
    expect(read.encode('a <ENT><x>').inputIds).toEqual([2, 5, 7, 8, 3])
  })
})
