// What predict, and evaluate beside it, make of inputs and models that are out of the ordinary. The models are as they were made.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { BertConfig, type BertConfigFields } from '../../src/model/config.ts'
import { BertForQuestionAnswering, BertForSequenceClassification, BertLMHeadModel } from '../../src/session/models.ts'
import { bertkit, jsonLines } from './io.ts'

const TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'red', 'blue', 'car', 'sky']
const tokenizer = BertTokenizer.fromVocab(TOKENS)

let folder: string
const at = (name: string): string => join(folder, name)

type ModelClass = typeof BertForSequenceClassification | typeof BertForQuestionAnswering | typeof BertLMHeadModel

async function save(name: string, Model: ModelClass, fields: Partial<BertConfigFields> = {}): Promise<void> {
  const config = new BertConfig({
    vocabSize: TOKENS.length,
    hiddenSize: 8,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
    intermediateSize: 16,
    maxPositionEmbeddings: 16,
    ...fields,
  })
  mkdirSync(at(name))
  using model = new Model(config, { seed: 3 })
  await model.savePretrained(at(name))
  await tokenizer.savePretrained(at(name))
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-predict-'))
  await save('plain', BertForSequenceClassification, { numLabels: 2 })
  await save('alike', BertForSequenceClassification, {
    numLabels: 3,
    id2label: { 0: 'same', 1: 'other', 2: 'same' },
  })
  await save('qa', BertForQuestionAnswering)
  // no token ends a sequence: each has as many as it may
  await save('writer', BertLMHeadModel, { isDecoder: true, maxPositionEmbeddings: 32 })
  writeFileSync(at('text.txt'), 'red car\nblue\n\n\nsky\n')
  writeFileSync(at('data.csv'), 'text,label\nred car,same\n')
  const question = { id: 'q', question: 'red', context: 'blue car', answers: { text: ['car'], answer_start: [5] } }
  writeFileSync(at('questions.jsonl'), JSON.stringify(question))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
afterEach(() => {
  vi.restoreAllMocks()
})

const predict = (model: string, ...flags: string[]) => bertkit(['predict', '--model', at(model), ...flags])

describe('plain text', () => {
  test('is a text on each line, or as --text-layout says', async () => {
    const input = ['--input-file', at('text.txt')]
    const lines = await predict('plain', ...input)
    expect(jsonLines(lines.stdout)).toHaveLength(5)
    expect(await predict('plain', ...input, '--text-layout', 'lines')).toEqual(lines)
    const paragraphs = await predict('plain', ...input, '--text-layout', 'paragraphs')
    expect(paragraphs).toEqual(await bertkit(['predict', '--model', at('plain')], { stdin: 'red car blue\nsky' }))
    expect(jsonLines(paragraphs.stdout)).toHaveLength(2)
  })

  test.each([
    ['--columns', ['--columns', 'text']],
    ['--text-column', ['--text-column', 'text', '--text-pair-column', 'other']],
    ['--text-pair-column', ['--text-pair-column', 'other']],
  ])('has no columns: %s is refused before a model is opened', async (flag, flags) => {
    const { code, stderr } = await predict('nowhere', ...flags)
    expect(stderr).toContain(`Expected ${flag} with a file of columns but standard input is plain text`)
    expect(code).toBe(2)
    const named = await predict('nowhere', '--input-file', at('text.txt'), ...flags.slice(-2))
    expect(named.stderr).toMatch(/Expected --\S+ with .*text\.txt is (plain text|txt)/)
    expect(named.code).toBe(2)
  })
})

describe('question answering', () => {
  test.each([
    ['predict', '--input-file'],
    ['evaluate', '--eval-file'],
  ])('%s needs windows of five tokens', async (command, flag) => {
    const argv = [command, '--model', at('qa'), flag, at('questions.jsonl'), '--max-length']
    const { code, stderr } = await bertkit([...argv, '4'])
    expect(stderr).toContain('Expected --max-length to be an integer of at least 5 but received 4')
    expect(code).toBe(2)
    expect((await bertkit([...argv, '5'])).code).toBe(0)
  })
})

test('evaluate of a task whose examples need more tokens names the flag too', async () => {
  // --task next-sentence makes pairs of text, of five tokens at least
  const argv = ['evaluate', '--task', 'next-sentence', '--model', at('nsp'), '--eval-file', at('text.txt')]
  const { BertForNextSentencePrediction } = await import('../../src/session/models.ts')
  await save('nsp', BertForNextSentencePrediction as unknown as ModelClass)
  const { code, stderr } = await bertkit([...argv, '--max-length', '4'])
  expect(stderr).toContain('Expected --max-length to be an integer of at least 5 but received 4')
  expect(code).toBe(2)
})

test('lines of text are not pairs: the formats that are do not begin with .txt', async () => {
  writeFileSync(at('lines.txt'), 'red car\n')
  const { code, stderr } = await bertkit(['predict', '--model', at('nsp'), '--input-file', at('lines.txt')])
  expect(stderr).toMatch(
    /Expected --input-file of \.jsonl, .*, because next-sentence needs more than a text, but received/,
  )
  expect(code).toBe(2)
})

describe('causal language models', () => {
  const generated = async (text: string, ...flags: string[]) => {
    const { code, stderr, stdout } = await bertkit(['predict', '--model', at('writer'), ...flags], { stdin: text })
    return { code, stderr, texts: jsonLines(stdout).map((line) => String(line.text).split(' ')) }
  }

  test('continue a prompt to --max-length at most, each of a batch by itself', async () => {
    const { texts } = await generated('red car\nblue')
    const cut = await generated('red car\nblue', '--max-length', '4')
    expect(cut.code).toBe(0)
    for (const [i, words] of cut.texts.entries()) {
      // the fourth is [CLS]
      expect(words.length).toBeLessThanOrEqual(3)
      expect(texts[i].slice(0, words.length)).toEqual(words)
      expect(texts[i].length).toBeGreaterThan(words.length)
    }
  })

  test('go on as their generation_config.json says', async () => {
    const file = join(at('writer'), 'generation_config.json')
    const before = readFileSync(file, 'utf8')
    const generate = async (...flags: string[]) => {
      const { stdout } = await bertkit(['generate', '--model', at('writer'), ...flags], { stdin: 'red car\nblue\n' })
      return stdout.trimEnd().split('\n')
    }
    const lengths = (texts: readonly (readonly string[])[]) => texts.map(({ length }) => length)
    try {
      writeFileSync(file, JSON.stringify({ max_new_tokens: 1 }))
      expect(lengths((await generated('red car\nblue')).texts)).toEqual([3, 2])
      expect(lengths((await generate()).map((text) => text.split(' ')))).toEqual([3, 2])
      expect(lengths((await generate('--max-new-tokens', '2')).map((text) => text.split(' ')))).toEqual([4, 3])
      // beams would be several rows of one line
      writeFileSync(file, JSON.stringify({ max_new_tokens: 2, num_beams: 2, num_return_sequences: 2 }))
      expect((await generated('red car\nblue')).texts).toHaveLength(2)
      writeFileSync(file, JSON.stringify({ do_sample: true, temperature: 9 }))
      expect((await generated('red car\nblue')).texts).toEqual((await generated('red car\nblue')).texts)
      writeFileSync(file, JSON.stringify({ no_repeat_ngram_size: 2 }))
      const refused = await generated('red car')
      expect(refused.stderr).toContain('writer/generation_config.json sets no_repeat_ngram_size to 2')
      expect(refused.code).toBe(1)
    } finally {
      writeFileSync(file, before)
    }
  })

  test('refuse a prompt that leaves no room, and say which', async () => {
    const long = Array(31).fill('sky').join(' ')
    const whole = await generated(`red\n${long}`)
    expect(whole.stderr).toContain(
      'line 2: expected a prompt of at most 31 tokens, which leaves room for a new one, but received 32',
    )
    expect(whole.code).toBe(1)
    const short = await generated('red car', '--max-length', '3')
    expect(short.stderr).toContain('line 1: expected a prompt of at most 2 tokens')
  })
})

describe('labels that have one name', () => {
  test.each([
    ['predict', '--input-file'],
    ['evaluate', '--eval-file'],
  ])('are refused by %s', async (command, flag) => {
    const { code, stderr, stdout } = await bertkit([command, '--model', at('alike'), flag, at('data.csv')])
    expect(stderr).toContain(
      `Expected the labels in id2label of the model's config to have names of their own but 0 and 2 are both called "same"`,
    )
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  })
})

test('a model whose tokenizer cannot be read is not loaded: nobody would dispose it', async () => {
  await save('lone', BertForSequenceClassification, { numLabels: 2 })
  for (const name of ['tokenizer.json', 'vocab.txt']) rmSync(join(at('lone'), name))
  expect(existsSync(join(at('lone'), 'model.safetensors'))).toBe(true)
  const load = vi.spyOn(BertForSequenceClassification, 'fromPretrained')
  const { code, stderr } = await bertkit(['predict', '--model', at('lone')], { stdin: 'red' })
  expect(stderr).toContain('Expected tokenizer.json or vocab.txt but found neither')
  expect(code).toBe(1)
  expect(load).not.toHaveBeenCalled()
})

test('a vocabulary that is no UTF-8 is refused with its line', async () => {
  writeFileSync(at('bad.txt'), Buffer.concat([Buffer.from('[PAD]\n[UNK]\n'), Buffer.of(0xff, 10)]))
  const from = ['--config', join(at('plain'), 'config.json'), '--vocab', at('bad.txt')]
  const output = ['--output-dir', at('new'), '--train-file', at('two.csv')]
  writeFileSync(at('two.csv'), 'text,label\nred car,a\nsky,b\n')
  const { code, stderr } = await bertkit(['train', '--task', 'sequence-classification', ...from, ...output])
  expect(stderr).toContain(`${at('bad.txt')}:3: not valid UTF-8`)
  expect(code).toBe(1)
})
