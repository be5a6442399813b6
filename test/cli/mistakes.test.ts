// What the commands say of mistakes in data, flags and folders, on a model small enough to train in a second.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeFixtures } from './fixtures.ts'
import { bertkit, jsonLines } from './io.ts'

let folder: string
const at = (name: string): string => join(folder, name)
const scratch = (): string[] => ['--config', at('config.json'), '--vocab', at('vocab.txt')]
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-cli-mistakes-'))
  writeFixtures(folder)
  const files = ['--train-file', at('data.csv'), '--output-dir', at('plain')]
  expect((await bertkit(['train', ...scratch(), ...files, '--num-train-epochs', '1'])).code).toBe(0)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('bad data exits with 1 and names file, line and what was expected', () => {
  const cases: [string, string, RegExp][] = [
    ['empty.csv', '', /empty\.csv: expected at least one row/],
    ['short.csv', 'text,label\n"red car",warm\nblue car\n', /short\.csv:3: expected 2 columns, but found 1/],
    ['columns.csv', 'sentence,label\nred car,warm\n', /columns\.csv:1: expected a header line with "text"/],
    ['one.csv', 'text,label\nred car,warm\npink car,warm\n', /one\.csv: expected at least two different labels/],
    ['bad.jsonl', '{"text": "red car", "label": "warm"}\n{"text": true, "label": "warm"}\n', /bad\.jsonl:2: /],
    ['broken.jsonl', '{"text": \n', /broken\.jsonl:1: not valid JSON/],
    ['data.xlsx', 'text', /data\.xlsx: expected a \.csv, \.tsv, \.jsonl, \.json or \.parquet file/],
  ]
  test.each(cases)('%s', async (name, content, message) => {
    writeFileSync(at(name), content)
    const { code, stderr, stdout } = await bertkit([
      'train',
      ...scratch(),
      '--train-file',
      at(name),
      '--output-dir',
      at('bad'),
    ])
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/^bertkit: [^\n]*\n$/)
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(existsSync(at('bad'))).toBe(false)
  })

  test('a label that training did not have', async () => {
    writeFileSync(at('lukewarm.csv'), 'text,label\nred car,warm\nblue car,lukewarm\n')
    const { code, stderr } = await bertkit(['evaluate', '--model', at('plain'), '--eval-file', at('lukewarm.csv')])
    expect(stderr).toMatch(/lukewarm\.csv:3: label "lukewarm" is not one of "cold", "warm"/)
    expect(code).toBe(1)
  })

  test('regression wants numbers', async () => {
    const flags = ['--train-file', at('data.csv'), '--output-dir', at('bad'), '--problem-type', 'regression']
    const { code, stderr } = await bertkit(['train', ...scratch(), ...flags])
    expect(stderr).toMatch(/data\.csv:2: expected "label" to be a number, but it is "warm"/)
    expect(code).toBe(1)
  })

  test('more tokens than the model has positions is bad usage', async () => {
    const flags = ['--train-file', at('data.csv'), '--output-dir', at('bad'), '--max-length', '17']
    const { code, stderr } = await bertkit(['train', ...scratch(), ...flags])
    expect(stderr).toMatch(/--max-length to be at most 16, the model's, but received 17/)
    expect(code).toBe(2)
  })

  test('fewer tokens to a batch than the longest text has is bad usage, and so is saying two sizes of a batch', async () => {
    const flags = ['--train-file', at('data.csv'), '--output-dir', at('bad')]
    const few = await bertkit(['train', ...scratch(), ...flags, '--tokens-per-batch', '2'])
    expect(few.stderr).toMatch(/Expected --tokens-per-batch to be at least \d+, the tokens of the longest example/)
    expect(few.code).toBe(2)
    const sizes = ['--tokens-per-batch', '64', '--per-device-train-batch-size', '4']
    const both = await bertkit(['train', ...scratch(), ...flags, ...sizes])
    expect(both.stderr).toMatch(/--tokens-per-batch or --per-device-train-batch-size but received both/)
    expect(both.code).toBe(2)
  })

  test('bfloat16 trains, and the checkpoint of it is not resumed in float32', async () => {
    const flags = ['--train-file', at('data.csv'), '--output-dir', at('narrow'), '--tokens-per-batch', '64']
    const run = ['train', ...scratch(), ...flags, '--train-sampling-strategy', 'group_by_length']
    const trained = await bertkit([...run, '--bf16', '--num-train-epochs', '1'])
    expect(trained.stderr).toMatch(/labels, bfloat16/)
    expect(trained.code).toBe(0)
    const resumed = await bertkit([...run, '--num-train-epochs', '1', '--resume-from-checkpoint'])
    expect(resumed.stderr).toMatch(
      /Expected --dtype to be bfloat16 as in the run that is resumed from \S+narrow\/checkpoint-\d+, but it is float32/,
    )
    expect(resumed.code).toBe(2)
  })

  test('a run that is resumed says so; with other flags it is refused by their names', async () => {
    const flags = ['--train-file', at('data.csv'), '--output-dir', at('resumed'), '--save-steps', '3']
    const run = ['train', ...scratch(), ...flags, '--max-steps', '6', '--save-total-limit', '5']
    expect((await bertkit(run)).code).toBe(0)
    const from = at('resumed/checkpoint-3')
    const resumed = await bertkit([...run, '--resume-from-checkpoint', from])
    expect(resumed.stderr).toContain(`\nresuming from ${from} (step 3 of 6)\n`)
    expect(resumed.code).toBe(0)
    for (const [flag, value, message] of [
      [
        '--max-steps',
        '9',
        /Expected --max-steps \(or --num-train-epochs\) to be 6 as in the run .*, but it is 9; to train on/,
      ],
      ['--learning-rate', '0.5', /Expected --learning-rate to be \S+ as in the run that is resumed from/],
      ['--seed', '7', /Expected --seed to be 42 as in/],
      ['--per-device-train-batch-size', '7', /Expected --per-device-train-batch-size to be \d+ as in .*, but it is 7/],
    ] as const) {
      const refused = await bertkit([...run, flag, value, '--resume-from-checkpoint'])
      expect(refused.stderr).toMatch(message)
      expect(refused.code).toBe(2)
    }
  })

  test('a tokenizer and a model of other sizes are warned of', async () => {
    const config = JSON.parse(readFileSync(at('config.json'), 'utf8'))
    writeFileSync(at('wide.json'), JSON.stringify({ ...config, vocab_size: 600 }))
    const flags = ['--config', at('wide.json'), '--vocab', at('vocab.txt'), '--train-file', at('data.csv')]
    const { stderr } = await bertkit(['train', ...flags, '--output-dir', at('wide'), '--max-steps', '1'])
    expect(stderr).toMatch(
      /^warning: .*vocab\.txt: its tokenizer has 15 tokens, but the vocab_size of its config is 600/m,
    )
  })

  test('--header and --no-header say what the first line is beside --columns', async () => {
    const flags = ['predict', '--model', at('plain'), '--input-file', at('data.csv'), '--columns', 'text,_']
    const counts = []
    for (const flag of ['--header', '--no-header']) {
      const { code, stdout } = await bertkit([...flags, flag])
      expect(code).toBe(0)
      counts.push(jsonLines(stdout).length)
    }
    expect(counts).toEqual([60, 61])
  })

  test('a vocabulary larger than the model is refused before training', async () => {
    const config = JSON.parse(readFileSync(at('config.json'), 'utf8'))
    writeFileSync(at('small.json'), JSON.stringify({ ...config, vocab_size: 7 }))
    const flags = ['--config', at('small.json'), '--vocab', at('vocab.txt')]
    const { code, stderr } = await bertkit([
      'train',
      ...flags,
      '--train-file',
      at('data.csv'),
      '--output-dir',
      at('bad'),
    ])
    expect(stderr).toMatch(/vocab\.txt has 15 tokens, but vocab_size in .*small\.json is 7/)
    expect(code).toBe(1)
  })

  test('damaged weights', async () => {
    const damaged = at('damaged')
    cpSync(at('plain'), damaged, { recursive: true })
    truncateSync(join(damaged, 'model.safetensors'), 1000)
    const { code, stderr } = await bertkit(['predict', '--model', damaged], { stdin: 'red car' })
    expect(stderr).toMatch(/^bertkit: .*damaged[^\n]*truncated[^\n]*\n$/)
    expect(code).toBe(1)
  })
})
