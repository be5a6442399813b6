import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readDemoData } from '../../src/cli/demo-data.ts'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { bertkit, jsonLines } from './io.ts'

const asset = (name: string): string => join(import.meta.dirname, '..', '..', 'assets', name)
const reference = process.env.BERTKIT_REFERENCE_DIR

test('the assets are BANKING77 whole, under 500 KB', async () => {
  const { labels, test: testing, train } = await readDemoData()
  expect([train.length, testing.length, new Set(labels).size]).toEqual([10_003, 3_080, 77])
  for (const part of [train, testing]) expect(new Set(part.map(([, label]) => label)).size).toBe(77)
  const bytes = ['banking77.json.br', 'demo-vocab.txt.br'].map((name) => statSync(asset(name)).size)
  expect(bytes[0] + bytes[1]).toBeLessThan(500_000)
})

describe.skipIf(reference === undefined)(
  `the vocabulary${reference === undefined ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''}`,
  () => {
    test('cuts every training question as the whole vocabulary does', async () => {
      const { train, vocabulary } = await readDemoData()
      const whole = await BertTokenizer.fromPretrained(join(reference ?? '', 'data', 'vocab', 'bert-base-uncased'))
      const part = BertTokenizer.fromVocab(vocabulary)
      for (const [text] of train) expect(part.tokenize(text)).toEqual(whole.tokenize(text))
    })
  },
)

test('one pass over the data is far better than guessing; the model is kept where that is asked for', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bertkit-demo-'))
  try {
    const output = join(folder, 'model')
    const { code, stdout } = await bertkit(['demo', '--num-train-epochs', '1', '--json', '--output-dir', output])
    expect(code).toBe(0)
    const [metrics, ...answers] = jsonLines(stdout)
    expect(metrics.eval_samples).toBe(3_080)
    expect(metrics.eval_accuracy).toBeGreaterThan(0.1)
    const { labels } = await readDemoData()
    expect(answers.length).toBeGreaterThan(3)
    for (const { label } of answers) expect(labels).toContain(label)
    for (const file of ['config.json', 'model.safetensors', 'vocab.txt'])
      expect(existsSync(join(output, file))).toBe(true)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
