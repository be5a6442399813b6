// What tokenizer_config.json and tokenizer.json say beside the vocabulary. The expected values are those of Transformers 5.18
// (BertTokenizer.from_pretrained of the same files).
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BertTokenizer, type TokenizerOptions } from '../../src/data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../../src/errors.ts'

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
