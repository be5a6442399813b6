// The model that `bertkit pretrain` begins with: its config and its first weights.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BertForPreTraining } from '../../src/session/models.ts'
import { bertkit } from './io.ts'

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
