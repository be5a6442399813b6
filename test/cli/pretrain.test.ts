// The model that `bertkit pretrain` begins with, its config and its first weights, and what it looks at before.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BertForPreTraining } from '../../src/session/models.ts'
import { bertkit, jsonLines } from './io.ts'

let folder: string
const at = (name: string): string => join(folder, name)

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-pretrain-'))
  const documents = ['anna', 'boris', 'clara'].map((name) => `${name} went to paris .\n${name} went to oslo .`)
  writeFileSync(at('text.txt'), documents.join('\n\n'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Makes a model whose only update changes next to nothing. */
async function pretrain(name: string, ...flags: string[]): Promise<void> {
  const size = ['--vocab-size', '60', '--hidden-size', '64', '--num-hidden-layers', '1']
  const still = ['--max-steps', '1', '--learning-rate', '1e-9', '--report-to', 'none', '--json']
  const argv = ['pretrain', '--train-file', at('text.txt'), '--output-dir', at(name), ...size, ...still, ...flags]
  const { code, stderr } = await bertkit(argv)
  expect(stderr).toBe('')
  expect(code).toBe(0)
}

async function biasOf(name: string): Promise<number[]> {
  using model = await BertForPreTraining.fromPretrained(at(name))
  return [...(await model.stateDict()).get('cls.predictions.bias')!.data]
}

test('it knows how frequent tokens are', async () => {
  await pretrain('frequent')
  const { model } = JSON.parse(readFileSync(at('frequent/tokenizer.json'), 'utf8'))
  const bias = await biasOf('frequent')
  expect(bias[model.vocab.went]).toBeGreaterThan(1)
  expect(bias[model.vocab['[PAD]']]).toBe(Math.min(...bias))
})

test('it begins as in Transformers where the two are compared', async () => {
  await pretrain('compared', '--parity', 'hf-5.18')
  expect(Math.max(...(await biasOf('compared')).map(Math.abs))).toBeLessThan(1e-6)
})

test('its dropout is what the flags say', async () => {
  await pretrain('dropout', '--hidden-dropout-prob', '0', '--attention-probs-dropout-prob', '0.05')
  const config = JSON.parse(readFileSync(at('dropout/config.json'), 'utf8'))
  expect(config).toMatchObject({ hidden_dropout_prob: 0, attention_probs_dropout_prob: 0.05 })
})

test('it goes on only with the model and the masks that it began with', async () => {
  const resumed = (...flags: string[]) =>
    bertkit([
      ...['pretrain', '--train-file', at('text.txt'), '--output-dir', at('resumed'), '--max-steps', '2', '--json'],
      ...['--vocab-size', '60', '--hidden-size', '64', '--num-hidden-layers', '1', '--save-steps', '1', ...flags],
      ...['--save-total-limit', '9', '--report-to', 'none'],
    ])
  await resumed('--num-attention-heads', '2')
  rmSync(at('resumed/checkpoint-2'), { recursive: true })
  const on = ['--resume-from-checkpoint']
  expect((await resumed('--num-attention-heads', '4', ...on)).stderr).toMatch(/the same num_attention_heads, 2, but it/)
  const heads = ['--num-attention-heads', '2', ...on]
  for (const other of [
    ['--mlm-probability', '0.5'],
    ['--max-length', '32'],
    ['--short-seq-prob', '0'],
  ])
    expect((await resumed(...heads, ...other)).stderr).toMatch(/to have the same (data|examples), \w+, but it has \w+/)
  expect(jsonLines((await resumed(...heads)).stdout).at(-1)).toMatchObject({ epoch: expect.any(Number) })
  expect(existsSync(at('resumed/checkpoint-2'))).toBe(true)
})

describe('what is wrong is found out before a vocabulary is learnt, and nothing is written', () => {
  const refused = (output: string, ...flags: string[]) =>
    bertkit(['pretrain', '--train-file', at('text.txt'), '--output-dir', at(output), '--vocab-size', '60', ...flags])

  test.each<[string[], number, RegExp]>([
    [['--eval-file', 'none.txt', '--metric-for-best-model', 'f1'], 2, /--metric-for-best-model to be one of mlm_/],
    [['--eval-file', 'none.txt'], 1, /none\.txt: no such file/],
    [['--no-header'], 2, /--columns because of --no-header/],
    [['--line-by-line'], 2, /--line-by-line with masked-lm or causal-lm only but the task is pretraining/],
    [['--max-length', '300'], 2, /--max-length to be at most --max-position-embeddings, 128, but received 300/],
    [['--vocab-size', '9'], 2, /^bertkit: Expected --vocab-size to be at least/],
  ])('%j', async (flags, exitCode, message) => {
    const { code, stderr } = await refused('refused', ...flags)
    expect(stderr).toMatch(message)
    expect(stderr).not.toContain('vocabulary:')
    expect(code).toBe(exitCode)
    expect(existsSync(at('refused'))).toBe(false)
  })

  test('a folder that cannot be made', async () => {
    const { stderr } = await refused('text.txt/inside', '--vocab-size', '9')
    expect(stderr).toMatch(/Cannot create .*text\.txt\/inside: it, or a part of its path, is a file, not a folder/)
  })

  test('sequences that are longer than the config allows', async () => {
    writeFileSync(at('config.json'), JSON.stringify({ model_type: 'bert', max_position_embeddings: 16 }))
    const { code, stderr } = await refused('refused', '--config', at('config.json'), '--max-length', '32')
    expect(stderr).toMatch(/--max-length to be at most 16, the model's, but received 32/)
    expect(code).toBe(2)
    expect(existsSync(at('refused'))).toBe(false)
  })
})

test('it warns in a JSON line of words that the vocabulary cannot know', async () => {
  const argv = ['pretrain', '--train-file', at('text.txt'), '--output-dir', at('few'), '--limit-alphabet', '9']
  const size = ['--vocab-size', '60', '--hidden-size', '64', '--num-hidden-layers', '1', '--max-steps', '1']
  const { stderr, stdout } = await bertkit([...argv, ...size, '--report-to', 'none', '--json'])
  expect(stderr).toBe('')
  expect(jsonLines(stdout)[0].warning).toMatch(/% of the words have a character .*--limit-alphabet \(9\)/)
})
