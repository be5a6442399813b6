// --vocab: what stands beside a vocabulary, and what it lacks.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { unknownDoubt } from '../../src/cli/doubts.ts'
import { readVocabulary } from '../../src/cli/vocabulary.ts'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { DataError } from '../../src/errors.ts'
import { writeFixtures } from './fixtures.ts'
import { bertkit, jsonLines } from './io.ts'

const folder = mkdtempSync(join(tmpdir(), 'bertkit-vocabulary-'))
const at = (name: string): string => join(folder, name)
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']

beforeAll(() => writeFixtures(folder))
afterAll(() => rmSync(folder, { recursive: true }))

describe('the settings beside a vocabulary', () => {
  test('count, a tokenizer.json does not', async () => {
    expect((await readVocabulary(at('vocab.txt'))).doLowerCase).toBe(true)
    writeFileSync(at('tokenizer_config.json'), '{"do_lower_case": false, "strip_accents": true}')
    writeFileSync(at('tokenizer.json'), '{"model": {"vocab": {}}}')
    writeFileSync(at('other.txt'), [...SPECIAL, 'Wort'].join('\n'))
    for (const name of ['vocab.txt', 'other.txt']) {
      const tokenizer = await readVocabulary(at(name))
      expect([tokenizer.doLowerCase, tokenizer.stripAccents]).toEqual([false, true])
      expect(tokenizer.getVocab().has('Wort')).toBe(name === 'other.txt')
    }
    expect((await readVocabulary(at('vocab.txt'), { doLowerCase: true })).doLowerCase).toBe(true)
    rmSync(at('tokenizer.json'))
    rmSync(at('tokenizer_config.json'))
  })

  test('name their file where they are broken, as does a vocabulary', async () => {
    writeFileSync(at('few.txt'), 'a\nb\n')
    await expect(readVocabulary(at('few.txt'))).rejects.toThrow(DataError)
    await expect(readVocabulary(at('few.txt'))).rejects.toThrow(/few\.txt: /)
    await expect(readVocabulary(at('none.txt'))).rejects.toThrow(/Cannot read .*none\.txt/)
    writeFileSync(at('tokenizer_config.json'), '{"do_lower_case": 1}')
    await expect(readVocabulary(at('vocab.txt'))).rejects.toThrow(/tokenizer_config\.json: Expected do_lower_case/)
    rmSync(at('tokenizer_config.json'))
  })
})

describe('words that the vocabulary lacks', () => {
  const rowsOf = (...texts: string[]) => texts.map((text, line) => ({ text, line, label: 'left out' }))
  const tokenizerOf = (tokens: string[], options = {}) => BertTokenizer.fromVocab([...SPECIAL, ...tokens], options)

  test('are no doubt up to a tenth', () => {
    const tokenizer = tokenizerOf(['a'])
    const nine = Array.from({ length: 9 }, () => 'a').join(' ')
    expect(unknownDoubt(tokenizer, rowsOf(`${nine} x`))).toBeUndefined()
    expect(unknownDoubt(tokenizer, [])).toBeUndefined()
    const message = '18 % of the words in the first 1 examples are not in its vocabulary and become [UNK], such as "x"'
    expect(unknownDoubt(tokenizer, rowsOf(`${nine} x y`), 'v.txt')).toBe(`v.txt: ${message}`)
  })

  test.each([
    ['Hangul', ['서울', '##은', '서'], '서울은'],
    ['vowel signs', ['दे', '##े', '##श'], 'देश'],
  ])('because %s are lost with accents', (_, tokens, word) => {
    const row = [{ tokens: [word], tags: ['O'], line: 1 }]
    const of = (options: object) => unknownDoubt(tokenizerOf(tokens, options), row, 'v.txt')
    expect(of({})).toMatch(
      new RegExp(`100 % of .* such as "${word}"; lower-casing strips accents too, .*Hangul .*"strip_accents": false`),
    )
    expect(of({ doLowerCase: false })).toBeUndefined()
    expect(of({ stripAccents: false })).toBeUndefined()
    expect(of({ doLowerCase: false, stripAccents: true })).toMatch(/; strip_accents is set, /)
    // a vocabulary without the letters would not have the word either way
    expect(unknownDoubt(tokenizerOf(['a']), row)).toMatch(/become \[UNK\], such as "\S+"$/)
  })

  test.each([[[]], [['--streaming']]])('are told before training %j', async (flags) => {
    writeFileSync(at('strange.csv'), readFileSync(at('data.csv'), 'utf8').replaceAll(/red|blue/g, 'crimson'))
    const args = ['train', '--json', '--config', at('config.json'), '--vocab', at('vocab.txt'), '--max-steps', '1']
    const { code, stdout } = await bertkit([
      ...args,
      ...['--train-file', at('strange.csv'), '--output-dir', at(`out${flags.length}`), ...flags],
    ])
    expect(code).toBe(0)
    const warnings = jsonLines(stdout).flatMap(({ warning }) => warning ?? [])
    expect(warnings).toContainEqual(expect.stringMatching(/vocab\.txt: \d+ % of the words .*"crimson"$/))
  })
})
