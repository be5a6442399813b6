// When a run of `bertkit train` evaluates and saves, which evaluation is best, and what it warns of.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sentence, writeFixtures } from './fixtures.ts'
import { bertkit, jsonLines } from './io.ts'

let folder: string
const at = (name: string): string => join(folder, name)
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-cli-train-'))
  writeFixtures(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Trains on a file, eight updates an epoch; returns the JSON lines. */
async function train(data: string, ...flags: string[]) {
  const files = ['--config', at('config.json'), '--vocab', at('vocab.txt'), '--train-file', at(data)]
  const rest = ['--output-dir', at('out'), '--learning-rate', '0.01', '--report-to', 'none', '--json']
  rmSync(at('out'), { recursive: true, force: true })
  const { code, stderr, stdout } = await bertkit(['train', ...files, ...rest, ...flags])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return jsonLines(stdout)
}

const evaluated = (lines: Record<string, unknown>[]) => lines.filter((line) => 'best' in line)
const saved = (lines: Record<string, unknown>[]) => lines.filter((line) => 'checkpoint' in line)
const stepsOf = (lines: Record<string, unknown>[]) => lines.map(({ step }) => step)
const held = (): string[] => ['--eval-file', at('data.csv')]

describe('when it evaluates and saves', () => {
  // the last of eight updates owes both where they are counted
  test.each<[string[], number[], number[], boolean]>([
    [['--save-steps', '3'], [3, 6, 8], [3, 6, 8], true],
    [['--eval-steps', '3'], [3, 6, 8], [3, 6, 8], true],
    [['--eval-steps', '2', '--save-steps', '4'], [2, 4, 6, 8], [4, 8], true],
    // fractions of the run, of which 0.375 % 0.125 is exact and 0.3 % 0.1 is not
    [['--eval-steps', '0.125', '--save-steps', '0.375'], [1, 2, 3, 4, 5, 6, 7, 8], [3, 6, 8], true],
    [['--eval-steps', '0.1', '--save-steps', '0.3'], [1, 2, 3, 4, 5, 6, 7, 8], [3, 6, 8], true],
    [['--eval-steps', '0.1', '--save-steps', '4'], [1, 2, 3, 4, 5, 6, 7, 8], [4, 8], false],
    [['--eval-steps', '0', '--logging-steps', '3'], [3, 6, 8], [3, 6, 8], true],
    [['--save-steps', '3', '--logging-steps', '2'], [3, 6, 8], [3, 6, 8], true],
    [['--save-steps', '4', '--logging-steps', '2', '--eval-strategy', 'steps'], [2, 4, 6, 8], [4, 8], true],
    [['--save-steps', '3', '--eval-strategy', 'epoch'], [8], [3, 6, 8], false],
    [['--eval-steps', '3', '--save-strategy', 'epoch'], [3, 6, 8], [8], false],
    [['--eval-steps', '3', '--save-steps', '5'], [3, 6, 8], [5, 8], false],
    [['--save-steps', '4', '--max-steps', '8'], [4, 8], [4, 8], true],
    [['--save-steps', '3', '--eval-strategy', 'no'], [], [3, 6, 8], false],
    [[], [8], [8], true],
  ])('%j', async (flags, evaluations, checkpoints, keepsBest) => {
    const lines = await train('data.csv', ...held(), '--num-train-epochs', '1', '--save-total-limit', '9', ...flags)
    expect(stepsOf(evaluated(lines))).toEqual(evaluations)
    expect(stepsOf(saved(lines))).toEqual(checkpoints)
    // the best evaluation may be one after which nothing was saved
    const best = stepsOf(evaluated(lines).filter(({ best }) => best)).at(-1)
    expect('best_step' in (lines.at(-1) ?? {})).toBe(keepsBest && checkpoints.includes(Number(best)))
  })

  test('without evaluations too', async () => {
    const lines = await train('data.csv', '--num-train-epochs', '1', '--save-steps', '3', '--save-total-limit', '9')
    expect(stepsOf(saved(lines))).toEqual([3, 6, 8])
  })
})

describe('the best evaluation', () => {
  test("is that of the task's metric also where its weights are not loaded at the end", async () => {
    const early = ['--save-strategy', 'no', '--num-train-epochs', '8', '--early-stopping-patience', '2']
    const lines = evaluated(await train('data.csv', ...held(), ...early))
    let most = Number.NEGATIVE_INFINITY
    for (const { best, eval_accuracy: accuracy } of lines) {
      expect(best).toBe(Number(accuracy) > most)
      most = Math.max(most, Number(accuracy))
    }
    expect(lines.length).toBeLessThan(8)
  })

  test('is that of the least loss where nothing else is measured', async () => {
    const lines = await train('data.csv', ...held(), '--num-train-epochs', '2', '--prediction-loss-only')
    expect(evaluated(lines)[0]).toMatchObject({ best: true })
  })
})

test('it warns in a JSON line of labels that look like a mistake', async () => {
  const rows = Array.from({ length: 24 }, (_, i) => `${sentence(i).text},label ${i}`)
  writeFileSync(at('unique.csv'), ['text,label', ...rows, ''].join('\n'))
  const [first] = await train('unique.csv', '--max-steps', '1')
  expect(first).toEqual({
    warning: `${at('unique.csv')}: 24 different labels in 24 rows; is --label-column the right one?`,
  })
})

test('it counts labels that are several with other signs between them', async () => {
  const rows = Array.from({ length: 24 }, (_, i) => `${sentence(i).text},${i % 2 ? 'a|b' : 'c'}`)
  writeFileSync(at('bars.csv'), ['text,label', ...rows, ''].join('\n'))
  const lines = await train('bars.csv', '--max-steps', '1', '--problem-type', 'multi_label_classification')
  const warnings = lines.filter((line) => 'warning' in line)
  expect(warnings).toEqual([{ warning: expect.stringMatching(/bars\.csv: 12 labels have ";", "\|" or spaces/) }])
})

test('numbers of the evaluation data may be written as pandas does', async () => {
  const put = (name: string, labels: string[]): void => {
    const rows = Array.from({ length: 24 }, (_, i) => `${sentence(i).text},${labels[i % 2]}`)
    writeFileSync(at(name), ['text,label', ...rows, ''].join('\n'))
  }
  put('whole.csv', ['0', '1'])
  put('floats.csv', ['0.0', '1.0'])
  const lines = await train('whole.csv', '--eval-file', at('floats.csv'), '--max-steps', '1')
  expect(evaluated(lines)).toMatchObject([{ eval_samples: 24 }])
})

test('evaluate and predict refuse options of other tasks, by the task of the model', async () => {
  await train('data.csv', '--max-steps', '1')
  const model = ['--model', at('out')]
  for (const [argv, message] of [
    [['evaluate', ...model, ...held(), '--mlm-probability', '0.2'], /--mlm-probability with masked-lm or pretraining/],
    [
      ['predict', ...model, '--n-best-size', '3'],
      /--n-best-size with question-answering only but the task is sequence-/,
    ],
  ] as const) {
    const { code, stderr } = await bertkit([...argv])
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  }
})
