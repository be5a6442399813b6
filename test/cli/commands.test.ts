// The commands end to end, on a model small enough to train in a second.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sentence, warmOrCold, writeFixtures } from './fixtures.ts'
import { bertkit, jsonLines } from './io.ts'

let folder: string
const at = (name: string): string => join(folder, name)
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-cli-'))
  writeFixtures(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const scratch = (): string[] => ['--config', at('config.json'), '--vocab', at('vocab.txt')]
const quick = ['--learning-rate', '0.01', '--per-device-train-batch-size', '8', '--num-train-epochs', '8']

function train(output: string, data: string, ...flags: string[]) {
  const files = ['--train-file', at(data), '--eval-file', at(data), '--output-dir', at(output)]
  return bertkit(['train', ...scratch(), ...files, ...quick, '--json', ...flags])
}

/** Trains, and expects it to work; returns the JSON lines. */
async function trained(output: string, data: string, ...flags: string[]) {
  const { code, stderr, stdout } = await train(output, data, ...flags)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return jsonLines(stdout)
}

const weightsOf = (output: string): Buffer => readFileSync(at(`${output}/model.safetensors`))

describe('train, evaluate, predict', () => {
  let lines: Record<string, unknown>[]
  beforeAll(async () => {
    lines = await trained('plain', 'data.csv', '--logging-steps', '10')
  })

  test('train logs, evaluates each epoch, and learns', () => {
    const logs = lines.filter((line) => 'grad_norm' in line)
    expect(logs.map((line) => line.step)).toEqual([10, 20, 30, 40, 50, 60, 64])
    for (const log of logs) {
      expect(Object.keys(log)).toEqual(
        expect.arrayContaining(['loss', 'grad_norm', 'learning_rate', 'epoch', 'step', 'tokens_per_second']),
      )
    }
    const evaluations = lines.filter((line) => 'best' in line)
    expect(evaluations.map((line) => line.epoch)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    const end = lines.at(-1)
    expect(end).toMatchObject({ eval_accuracy: 1, eval_samples: 60, output_dir: at('plain') })
    expect(end).toHaveProperty('train_samples_per_second')
  })

  test('the folder is a whole model, with the best and the newest checkpoint', () => {
    const names = readdirSync(at('plain'))
    expect(names).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'vocab.txt', 'checkpoint-64']))
    expect(names.filter((name) => name.startsWith('checkpoint-')).length).toBeLessThanOrEqual(2)
    const config = JSON.parse(readFileSync(at('plain/config.json'), 'utf8'))
    expect(config.id2label).toEqual({ 0: 'cold', 1: 'warm' })
    expect(config.architectures).toEqual(['BertForSequenceClassification'])
  })

  test('the best checkpoint is what was saved', () => {
    const best = lines.filter((line) => line.best === true).at(-1)
    const checkpoint = lines.find((line) => 'checkpoint' in line && line.step === best?.step)?.checkpoint as string
    if (existsSync(checkpoint)) expect(readFileSync(join(checkpoint, 'model.safetensors'))).toEqual(weightsOf('plain'))
    expect(lines.at(-1)).toMatchObject({ eval_loss: best?.eval_loss, best_step: best?.step, step: 64 })
  })

  test('evaluate gives the numbers of the best evaluation', async () => {
    const { code, stdout } = await bertkit([
      'evaluate',
      '--model',
      at('plain'),
      '--eval-file',
      at('data.csv'),
      '--json',
    ])
    expect(code).toBe(0)
    const [metrics] = jsonLines(stdout)
    const best = lines.filter((line) => line.best === true).at(-1)
    for (const name of ['eval_accuracy', 'eval_f1', 'eval_matthews']) expect(metrics[name]).toBe(best?.[name])
    expect(metrics.eval_loss).toBeCloseTo(best?.eval_loss as number, 6)
    expect(metrics).toMatchObject({ eval_samples: 60 })
    for (const name of ['eval_runtime', 'eval_samples_per_second']) expect(metrics).toHaveProperty(name)
  })

  test('evaluate prints a table without --json', async () => {
    const { stdout } = await bertkit(['evaluate', '--model', at('plain'), '--eval-file', at('data.csv')])
    expect(stdout).toMatch(/^eval_accuracy {2,}1$/m)
  })

  test('predict answers every line of standard input, in order', async () => {
    const texts = [0, 1, 2, 3, 4, 5, 6].map((i) => sentence(i).text)
    const { code, stdout } = await bertkit(['predict', '--model', at('plain')], { stdin: texts.join('\n') })
    expect(code).toBe(0)
    const answers = jsonLines(stdout)
    expect(answers.map((answer) => answer.label)).toEqual(texts.map((_, i) => warmOrCold(i)))
    for (const { label, score, scores } of answers) {
      const all = scores as Record<string, number>
      expect(Object.keys(all)).toEqual(['cold', 'warm'])
      expect(all[label as string]).toBe(score)
      expect(all.cold + all.warm).toBeCloseTo(1, 6)
    }
  })

  test('predict reads and writes files, whatever the batch size', async () => {
    const flags = ['predict', '--model', at('plain'), '--input-file', at('data.csv')]
    const whole = await bertkit([...flags, '--output-file', at('answers.jsonl')])
    expect(whole).toEqual({ code: 0, stdout: '', stderr: `60 predictions written to ${at('answers.jsonl')}\n` })
    const quiet = await bertkit([...flags, '--output-file', at('answers.jsonl'), '--json'])
    expect(quiet).toEqual({ code: 0, stdout: '', stderr: '' })
    const one = await bertkit([...flags, '--per-device-eval-batch-size', '1'])
    expect(one.stdout).toBe(readFileSync(at('answers.jsonl'), 'utf8'))
    expect(jsonLines(one.stdout).length).toBe(60)
  })

  test('predict leaves files as they were where it fails, and never writes over its input', async () => {
    const texts = 'text\nred car\n'
    writeFileSync(at('in.csv'), texts)
    writeFileSync(at('old.jsonl'), 'old')
    symlinkSync(at('in.csv'), at('link.csv'))
    const input = ['--input-file', at('in.csv')]
    for (const output of [at('in.csv'), at('link.csv'), join(folder, '.', 'in.csv')]) {
      const { code, stderr } = await bertkit(['predict', '--model', at('nowhere'), ...input, '--output-file', output])
      expect(stderr).toMatch(/--output-file to be another file than --input-file but both are/)
      expect(code).toBe(2)
    }
    expect(readFileSync(at('in.csv'), 'utf8')).toBe(texts)
    const output = ['--output-file', at('old.jsonl')]
    for (const flags of [
      ['--model', at('nowhere'), ...input],
      ['--model', at('plain'), '--input-file', at('none.csv')],
    ]) {
      expect((await bertkit(['predict', ...flags, ...output])).code).toBe(1)
      expect(readFileSync(at('old.jsonl'), 'utf8')).toBe('old')
    }
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('predict stops at once while it waits for standard input', async () => {
    const controller = new AbortController()
    const stdin = (async function* () {
      yield 'red car\n'
      setImmediate(() => controller.abort())
      await new Promise(() => {})
    })()
    const { code, stdout } = await bertkit(['predict', '--model', at('plain')], { stdin, signal: controller.signal })
    expect(code).toBe(130)
    expect(jsonLines(stdout).length).toBe(1)
  })

  test('predict tells a person at a terminal that it waits for standard input, and nobody else', async () => {
    const argv = ['predict', '--model', at('plain')]
    const { code, stderr, stdout } = await bertkit(argv, { stdin: 'red car\n', isTTY: true })
    expect(stderr).toMatch(/^bertkit: reading from standard input; Ctrl-[DZ] .*\n$/)
    expect([code, jsonLines(stdout).length]).toEqual([0, 1])
    expect((await bertkit(argv, { stdin: 'red car\n' })).stderr).toBe('')
  })

  test('predict takes JSON lines from standard input', async () => {
    const stdin = `${JSON.stringify({ text: 'red car' })}\n`
    const { stdout } = await bertkit(['predict', '--model', at('plain'), '--file-format', 'jsonl'], { stdin })
    expect(jsonLines(stdout)[0].label).toBe('warm')
  })

  test('predict takes --file-format txt as a .txt file: a text on each line', async () => {
    const texts = 'red car\nblue sky\n'
    writeFileSync(at('lines.text'), texts)
    writeFileSync(at('lines.dat'), texts)
    const predict = ['predict', '--model', at('plain')]
    const expected = (await bertkit(predict, { stdin: texts })).stdout
    expect(jsonLines(expected).map(({ label }) => label)).toEqual(['warm', 'cold'])
    const format = ['--file-format', 'txt']
    for (const flags of [format, [...format, '--input-file', at('lines.dat')], ['--input-file', at('lines.text')]])
      expect(await bertkit([...predict, ...flags], { stdin: texts })).toEqual({ code: 0, stdout: expected, stderr: '' })
  })

  test('info describes the machine and the folder', async () => {
    const { code, stdout } = await bertkit(['info', at('plain'), '--json'])
    expect(code).toBe(0)
    const [info] = jsonLines(stdout)
    expect(info).toMatchObject({ backend: 'cpu' })
    expect(info.isas).toContain(info.isa)
    expect(info.threads).toBeGreaterThanOrEqual(1)
    // Embeddings (15 + 16 + 2) x 16, LayerNorm 2 x 16; a layer; pooler 16 x 17; classifier 2 x 17.
    const layer = 4 * 16 * 17 + 2 * 2 * 16 + 32 * 17 + 16 * 33
    expect(info.model).toMatchObject({
      head: 'BertForSequenceClassification',
      layers: 1,
      hiddenSize: 16,
      labels: ['cold', 'warm'],
      parameters: 33 * 16 + 32 + layer + 16 * 17 + 2 * 17,
    })
    const text = await bertkit(['info', '--model', at('plain')])
    expect(text.stdout).toMatch(/instruction set +\S+/)
    expect(text.stdout).toMatch(/labels +2: cold, warm/)
  })

  test('fine-tuning starts from a saved folder', async () => {
    const flags = ['--model', at('plain'), '--train-file', at('data.csv'), '--eval-file', at('data.csv'), '--json']
    const more = ['--num-train-epochs', '1', '--learning-rate', '0', '--output-dir', at('again')]
    const { code, stdout } = await bertkit(['train', ...flags, ...more])
    expect(code).toBe(0)
    expect(jsonLines(stdout).at(-1)?.eval_accuracy).toBe(1)
    expect(weightsOf('again')).toEqual(weightsOf('plain'))
  })
})

describe('formats and problem types', () => {
  test('TSV with other columns and numeric labels', async () => {
    const lines = await trained('tsv', 'data.tsv', '--text-column', 'sentence', '--label-column', 'class')
    expect(lines.at(-1)?.eval_accuracy).toBe(1)
    const config = JSON.parse(readFileSync(at('tsv/config.json'), 'utf8'))
    expect(config.id2label).toEqual({ 0: '0', 1: '1' })
  })

  test('JSON lines in a gzip file give the weights of the same data as CSV', async () => {
    await trained('jsonl', 'data.jsonl.gz', '--logging-steps', '10')
    expect(weightsOf('jsonl')).toEqual(weightsOf('plain'))
  })

  test('pairs, columns by position', async () => {
    const columns = ['--columns', '_,text,text_pair,label', '--no-header']
    const lines = await trained('pairs', 'pairs.csv', ...columns)
    expect(lines.at(-1)?.eval_accuracy).toBeGreaterThan(0.5)
    const flags = ['predict', '--model', at('pairs'), '--input-file', at('pairs.csv'), ...columns]
    const [first] = jsonLines((await bertkit(flags)).stdout)
    expect(Object.keys(first.scores as object)).toEqual(['other', 'same'])
    const refused = await bertkit(['predict', '--model', at('pairs'), ...columns], { stdin: 'red car\n' })
    expect(refused.stderr).toMatch(/Expected --columns with a file of columns but standard input is plain text/)
    expect(refused.code).toBe(2)
  })

  test('regression', async () => {
    const lines = await trained('warmth', 'warmth.csv', '--problem-type', 'regression')
    expect(lines.at(-1)?.eval_pearson).toBeGreaterThan(0.95)
    for (const name of ['eval_loss', 'eval_spearman', 'eval_mse']) expect(lines.at(-1)).toHaveProperty(name)
    const { stdout } = await bertkit(['predict', '--model', at('warmth')], { stdin: 'red car\nblue car\n' })
    const [warm, cold] = jsonLines(stdout)
    expect(Object.keys(warm)).toEqual(['score'])
    expect(warm.score as number).toBeGreaterThan(0.5)
    expect(cold.score as number).toBeLessThan(0)
  })

  test('multi-label', async () => {
    const lines = await trained(
      'tags',
      'tags.tsv',
      '--problem-type',
      'multi_label_classification',
      '--num-train-epochs',
      '20',
    )
    expect(lines.at(-1)?.eval_f1_micro).toBeGreaterThan(0.95)
    for (const name of ['eval_f1_macro', 'eval_accuracy']) expect(lines.at(-1)).toHaveProperty(name)
    const { stdout } = await bertkit(['predict', '--model', at('tags')], { stdin: 'red car' })
    expect(jsonLines(stdout)[0].labels).toEqual(['car', 'warm'])
  })
})

describe('gradient accumulation', () => {
  test('two batches of four make the update of one of eight', async () => {
    const still = ['--num-train-epochs', '2', '--logging-steps', '1', '--eval-strategy', 'no']
    const config = JSON.parse(readFileSync(at('config.json'), 'utf8'))
    writeFileSync(
      at('still.json'),
      JSON.stringify({ ...config, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 }),
    )
    const losses = async (output: string, ...flags: string[]) =>
      (await trained(output, 'data.csv', '--config', at('still.json'), ...still, ...flags)).flatMap((line) =>
        'grad_norm' in line ? [line.loss as number] : [],
      )
    const full = await losses('full')
    const parts = await losses('parts', '--per-device-train-batch-size', '4', '--gradient-accumulation-steps', '2')
    expect(full.length).toBe(16)
    for (const [i, loss] of full.entries()) expect(parts[i]).toBeCloseTo(loss, 4)
  })
})

describe('interrupting', () => {
  test('exits with 130 within a step, and the checkpoint continues to the same weights', async () => {
    const controller = new AbortController()
    const flags = [
      'train',
      ...scratch(),
      '--train-file',
      at('data.csv'),
      '--eval-file',
      at('data.csv'),
      ...quick,
      '--json',
    ]
    const output = ['--output-dir', at('stopped'), '--logging-steps', '10']
    // The first checkpoint appears after the first of eight epochs.
    const timer = setInterval(() => {
      if (existsSync(at('stopped/checkpoint-8'))) controller.abort()
    }, 1)
    const stopped = await bertkit([...flags, ...output], { signal: controller.signal })
    clearInterval(timer)
    expect(stopped.code).toBe(130)
    const [, checkpoint] =
      /^bertkit: Training was stopped after step \d+; to go on, add --resume-from-checkpoint (\S+) to the same command\n$/.exec(
        stopped.stderr,
      ) ?? []
    expect(existsSync(checkpoint)).toBe(true)
    expect(existsSync(at('stopped/model.safetensors'))).toBe(false)
    const resumed = await bertkit([...flags, ...output, '--resume-from-checkpoint'])
    expect(resumed.code).toBe(0)
    expect(weightsOf('stopped')).toEqual(weightsOf('plain'))
  })

  test('before training leaves nothing', async () => {
    const controller = new AbortController()
    controller.abort()
    const flags = ['--train-file', at('data.csv'), '--output-dir', at('nothing')]
    const { code } = await bertkit(['train', ...scratch(), ...flags], { signal: controller.signal })
    expect(code).toBe(130)
    expect(existsSync(at('nothing'))).toBe(false)
  })
})
