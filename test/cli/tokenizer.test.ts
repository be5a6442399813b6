import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { run } from '../../src/cli/program.ts'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { bertkit, jsonLines } from './io.ts'
import { FakeTerminal } from './terminal.ts'

const LINES = [
  'The quick brown fox jumps over the lazy dog.',
  '',
  'Quick foxes, lazy dogs: Über 9 jumped!',
  'the fox, the dog',
]

let folder: string
const at = (name: string): string => join(folder, name)
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-cli-tokenizer-'))
  writeFileSync(at('a.txt'), `${LINES.join('\n')}\n`)
  writeFileSync(at('b.txt.gz'), gzipSync('a fox'))
  writeFileSync(at('c.csv'), 'id,body\n1,"a dog, a fox"\n')
  writeFileSync(at('empty.txt'), '\n')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const train = (files: string[], output: string, ...flags: string[]) =>
  bertkit(['tokenizer', 'train', '--train-file', ...files.map(at), '--output-dir', at(output), ...flags])

const vocabularyOf = (output: string): string[] =>
  readFileSync(at(`${output}/vocab.txt`), 'utf8')
    .trimEnd()
    .split('\n')

describe('tokenizer train', () => {
  test('writes a tokenizer folder: the vocabulary that the API learns', async () => {
    const { code, stderr, stdout } = await train(['a.txt'], 'plain', '--vocab-size', '80')
    expect(code).toBe(0)
    expect(stdout).toBe(`vocabulary  80 tokens\nsaved to    ${at('plain')}\n`)
    expect(stderr).toBe('3 texts, 25 words, 17 different ones\n80 tokens\n')
    expect(readdirSync(at('plain')).sort()).toEqual(['tokenizer.json', 'tokenizer_config.json', 'vocab.txt'])
    const expected = await BertTokenizer.train(LINES, { vocabSize: 80 })
    expect(vocabularyOf('plain')).toEqual([...expected.getVocab().keys()])
    const config = JSON.parse(readFileSync(at('plain/tokenizer_config.json'), 'utf8'))
    expect(config).toMatchObject({ do_lower_case: true, model_max_length: 512, strip_accents: null })
    const tokenizer = await BertTokenizer.fromPretrained(at('plain'))
    expect(tokenizer.encode(LINES[2])).toEqual(expected.encode(LINES[2]))
  })

  test('says in one JSON line what it made, and nothing else', async () => {
    const { code, stderr, stdout } = await train(['a.txt', 'b.txt.gz'], 'json', '--json', '--limit-alphabet', '20')
    expect(code).toBe(0)
    expect(stderr).toBe('')
    const tokenizer = await BertTokenizer.fromPretrained(at('json'))
    const unknown = [...LINES, 'a fox'].flatMap((line) => tokenizer.tokenize(line)).filter((token) => token === '[UNK]')
    expect(unknown.length).toBeGreaterThan(0)
    expect(jsonLines(stdout)).toEqual([
      {
        vocab_size: vocabularyOf('json').length,
        texts: 4,
        words: 27,
        distinct_words: 18,
        characters: 31,
        kept_characters: 20,
        unknown_words: unknown.length,
        output_dir: at('json'),
      },
    ])
  })

  test('options reach the trainer and the folder', async () => {
    const flags = ['--no-lowercase', '--strip-accents', '--no-clean-text', '--no-tokenize-chinese-chars']
    const { code } = await train(['a.txt'], 'options', ...flags, '--min-frequency', '3', '--model-max-length', '64')
    expect(code).toBe(0)
    const options = { doLowerCase: false, stripAccents: true, cleanText: false, tokenizeChineseChars: false }
    const expected = await BertTokenizer.train(LINES, { ...options, minFrequency: 3 })
    expect(vocabularyOf('options')).toEqual([...expected.getVocab().keys()])
    expect(vocabularyOf('options')).toEqual(expect.arrayContaining(['T', 'U', 'the']))
    const { normalizer } = JSON.parse(readFileSync(at('options/tokenizer.json'), 'utf8'))
    expect(normalizer).toMatchObject({
      lowercase: false,
      strip_accents: true,
      clean_text: false,
      handle_chinese_chars: false,
    })
    expect((await BertTokenizer.fromPretrained(at('options'))).modelMaxLength).toBe(64)
    await train(['a.txt'], 'accents', '--no-strip-accents')
    expect(vocabularyOf('accents')).toContain('ü')
  })

  test('reads several files of several kinds', async () => {
    const { code } = await train(['b.txt.gz', 'c.csv'], 'files', '--text-column', 'body')
    expect(code).toBe(0)
    const expected = await BertTokenizer.train(['a fox', 'a dog, a fox'])
    expect(vocabularyOf('files')).toEqual([...expected.getVocab().keys()])
    await train(['c.csv'], 'no-header', '--columns', 'text,_', '--no-header')
    expect(vocabularyOf('no-header')).toContain('id')
  })

  test('says what the vocabulary lacks, and that there is no more to learn', async () => {
    const { stderr } = await train(['b.txt.gz'], 'little', '--limit-alphabet', '3')
    expect(stderr).toMatch(
      /warning: 50 % of the words have a character that the vocabulary lacks; it has 3 of 4, as --limit-alphabet 3/,
    )
    expect(stderr).toMatch(/the texts give no more than 10 tokens/)
  })

  test('on a terminal that can it shows its progress, and takes it away', async () => {
    const argv = ['tokenizer', 'train', '--train-file', at('a.txt'), '--output-dir', at('terminal')]
    const stdin: AsyncIterable<string> = {
      [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: '' }) }),
    }
    const shownOn = async (kind: string): Promise<FakeTerminal> => {
      vi.stubEnv('TERM', kind)
      const stderr = new FakeTerminal()
      expect(await run([...argv, '--vocab-size', '60'], { stdin, stdout: { write: () => true }, stderr })).toBe(0)
      expect(stderr.screen).toEqual(['3 texts, 25 words, 17 different ones', '60 tokens'])
      return stderr
    }
    try {
      expect((await shownOn('xterm')).raw).toContain('learning a vocabulary: texts')
      const plain = await shownOn('dumb')
      expect(plain.raw).toBe(`${plain.screen.join('\n')}\n`)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('finds out before it learns that its folder cannot be made', async () => {
    const { code, stderr } = await train(['a.txt', 'empty.txt'], 'a.txt/inside')
    expect(stderr).toMatch(
      /^bertkit: Cannot create .*a\.txt\/inside: it, or a part of its path, is a file, not a folder\n$/,
    )
    expect(code).toBe(1)
  })

  test.each<[string[], string[], number, RegExp]>([
    [
      ['a.txt'],
      ['--vocab-size', '20'],
      2,
      /^bertkit: Expected --vocab-size to be at least \d+ \(5 special tokens, .* but received 20; .*--limit-alphabet/,
    ],
    [
      ['a.txt'],
      ['--vocab-size', 'many'],
      2,
      /Expected --vocab-size to be an integer of at least 1 but received 'many'/,
    ],
    [['a.txt'], ['--limit-alphabet', '0'], 2, /Expected --limit-alphabet to be an integer of at least 1/],
    [['a.txt'], ['--min-frequency', '-1'], 2, /Expected --min-frequency to be an integer of at least 0/],
    [
      ['a.txt'],
      ['--file-format', 'conll'],
      2,
      /Expected --file-format to be one of csv, tsv, jsonl, json, parquet, txt but/,
    ],
    [['a.txt'], ['--no-header'], 2, /Expected --columns because of --no-header/],
    [['a.txt'], ['--lowercase'], 2, /unknown option '--lowercase'/],
    [['c.csv'], [], 1, /c\.csv:1: expected a header line with "text"/],
    [['a.txt', 'empty.txt'], [], 1, /empty\.txt: expected at least one row/],
    [['missing.txt'], [], 1, /missing\.txt: no such file/],
  ])('%j %j is refused', async (files, flags, exitCode, message) => {
    const { code, stderr, stdout } = await train(files, 'refused', ...flags)
    expect(stderr).toMatch(message)
    expect(code).toBe(exitCode)
    expect(stdout).toBe('')
    expect(existsSync(at('refused'))).toBe(false)
  })

  test('the files and the folder have to be named', async () => {
    expect((await bertkit(['tokenizer', 'train', '--output-dir', 'o'])).stderr).toMatch(/required option '--train-file/)
    expect((await bertkit(['tokenizer', 'train', '--train-file', 'a'])).stderr).toMatch(/required option '--output-dir/)
    const { code, stderr } = await bertkit(['tokenizer'])
    expect(stderr).toMatch(/Usage: bertkit tokenizer/)
    expect(code).toBe(2)
  })

  test('Ctrl-C ends it, and nothing is written', async () => {
    const argv = ['tokenizer', 'train', '--train-file', at('a.txt'), '--output-dir', at('aborted')]
    const { code, stderr } = await bertkit(argv, { signal: AbortSignal.abort() })
    expect(code).toBe(130)
    expect(stderr).toMatch(/training of the tokenizer was aborted/)
    expect(existsSync(at('aborted'))).toBe(false)
  })
})
