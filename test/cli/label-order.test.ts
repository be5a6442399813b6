// Training on from a fine-tuned model: its head's rows keep the names that they were trained with.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sentence, warmOrCold, writeFixtures } from './fixtures.ts'
import { bertkit, jsonLines } from './io.ts'

let folder: string
const at = (name: string): string => join(folder, name)
const numbers = Array.from({ length: 60 }, (_, i) => i)

/** Not sorted, as most models of tags, which begin with "O". */
const ORDER: Readonly<Record<string, readonly string[]>> = {
  'sequence-classification': ['warm', 'cold'],
  'token-classification': ['O', 'B-WARM', 'B-COLD'],
}
const FILES: Readonly<Record<string, string>> = {
  'sequence-classification': 'data.csv',
  'token-classification': 'data.conll',
}

const idsOf = (model: string): unknown => JSON.parse(readFileSync(at(`${model}/config.json`), 'utf8')).id2label

async function train(...flags: string[]): Promise<Record<string, unknown>[]> {
  const { code, stderr, stdout } = await bertkit(['train', '--report-to', 'none', '--json', ...flags])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return jsonLines(stdout)
}

/** Trains on with rates that change nothing that is measured. */
const trainOn = (model: string, data: string, output: string, ...flags: string[]) =>
  train(
    ...['--model', at(model), '--train-file', at(data), '--eval-file', at(data), '--output-dir', at(output)],
    ...['--max-steps', '2', '--save-steps', '1', '--save-total-limit', '3', '--learning-rate', '1e-9', ...flags],
  )

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-label-order-'))
  writeFixtures(folder)
  const tagged = numbers.map((i) => {
    const [colour, ...things] = sentence(i).text.split(' ')
    return [`${colour} B-${warmOrCold(i).toUpperCase()}`, ...things.map((thing) => `${thing} O`), ''].join('\n')
  })
  writeFileSync(at('data.conll'), tagged.join('\n'))
  const config = JSON.parse(readFileSync(at('config.json'), 'utf8'))
  for (const [task, names] of Object.entries(ORDER)) {
    writeFileSync(at(`${task}.json`), JSON.stringify({ ...config, id2label: { ...names } }))
    const source = ['--task', task, '--config', at(`${task}.json`), '--vocab', at('vocab.txt')]
    const data = ['--train-file', at(FILES[task]), '--output-dir', at(task), '--save-strategy', 'no']
    await train(...source, ...data, '--learning-rate', '0.01', '--num-train-epochs', '6')
  }
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.each(Object.keys(ORDER))('%s', (task) => {
  test('keeps the order of a config, and of the model that it trains on', async () => {
    expect(idsOf(task)).toEqual({ ...ORDER[task] })
    const lines = await trainOn(task, FILES[task], `${task}-on`, '--task', task)
    expect(lines.filter((line) => 'warning' in line)).toEqual([])
    expect(lines.at(-1)).toMatchObject({ eval_accuracy: 1 })
    expect(idsOf(`${task}-on`)).toEqual({ ...ORDER[task] })
    // what the command evaluates, and predicts, is what training measured
    const evaluated = await bertkit(['evaluate', '--model', at(`${task}-on`), '--eval-file', at(FILES[task]), '--json'])
    expect(jsonLines(evaluated.stdout)).toMatchObject([{ eval_accuracy: 1 }])
    const resumed = ['--task', task, '--resume-from-checkpoint', at(`${task}-on/checkpoint-1`)]
    expect((await trainOn(task, FILES[task], `${task}-on`, ...resumed)).at(-1)).toMatchObject({ eval_accuracy: 1 })
  })
})

describe('labels that are numbers', () => {
  const names = ['cool', 'neither', 'warm']
  const ids = (i: number): number => (warmOrCold(i) === 'warm' ? 2 : 0)
  const asNumbers = (): string => ['text,label', ...numbers.map((i) => `${sentence(i).text},${ids(i)}`), ''].join('\n')
  const taken =
    '60 labels are numbers, taken as places among the labels of the model: 0 is "cool", 1 is "neither", 2 is "warm"'

  test('are places among the names of a config, and of a model, and a warning says so', async () => {
    writeFileSync(at('numbers.csv'), asNumbers())
    const config = JSON.parse(readFileSync(at('config.json'), 'utf8'))
    writeFileSync(at('named.json'), JSON.stringify({ ...config, id2label: { ...names } }))
    const source = ['--config', at('named.json'), '--vocab', at('vocab.txt'), '--train-file', at('numbers.csv')]
    const fast = ['--learning-rate', '0.01', '--num-train-epochs', '6', '--save-strategy', 'no']
    const [warning] = await train(...source, '--output-dir', at('named'), ...fast)
    expect(warning).toEqual({ warning: `${at('numbers.csv')}: ${taken}` })
    expect(idsOf('named')).toEqual({ ...names })
    const { stdout } = await bertkit(['evaluate', '--model', at('named'), '--eval-file', at('numbers.csv'), '--json'])
    expect(jsonLines(stdout)).toMatchObject([{ warning: `${at('numbers.csv')}: ${taken}` }, { eval_accuracy: 1 }])
  })

  test('are no columns of their own', async () => {
    const rows = numbers.map((i) => [
      sentence(i).text,
      ...['warm', 'cold'].map((each) => Number(warmOrCold(i) === each)),
      1,
    ])
    writeFileSync(at('flags.csv'), [['text', 'warm', 'cold', 'seen'], ...rows, ''].join('\n'))
    const source = ['--config', at('config.json'), '--vocab', at('vocab.txt'), '--train-file', at('flags.csv')]
    const output = ['--output-dir', at('flags'), '--max-steps', '1', '--save-strategy', 'no']
    await train(...source, '--label-column', 'warm,cold,seen', ...output)
    const evaluation = ['evaluate', '--model', at('flags'), '--eval-file', at('flags.csv'), '--label-column', 'warm']
    const { code, stderr } = await bertkit(evaluation)
    expect(stderr).toContain(
      'flags.csv: expected a column for each label, but one column has 0 and 1, or false and true, alone; name them all (--label-column): cold, seen, warm',
    )
    expect(code).toBe(1)
  })
})

test('says where the head of a model goes on with other labels, or is made anew', async () => {
  const named = (name: (i: number) => string): string =>
    ['text,label', ...numbers.map((i) => `${sentence(i).text},${name(i)}`), ''].join('\n')
  writeFileSync(
    at('others.csv'),
    named((i) => (warmOrCold(i) === 'warm' ? 'hot' : 'cold')),
  )
  writeFileSync(
    at('three.csv'),
    named((i) => ['warm', 'cold', 'mild'][i % 3]),
  )
  const model = at('sequence-classification')
  const [others] = await trainOn('sequence-classification', 'others.csv', 'others')
  expect(others).toEqual({
    warning: `${model} has the labels "warm", "cold", but ${at('others.csv')} "cold", "hot": its head begins with weights that were learnt for other labels`,
  })
  const [three] = await trainOn('sequence-classification', 'three.csv', 'three')
  expect(three).toEqual({
    warning: `${model} has the labels "warm", "cold", but ${at('three.csv')} "cold", "mild", "warm": its head is made anew`,
  })
})
