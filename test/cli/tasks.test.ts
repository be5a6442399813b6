// Every task from its file to a trained model, its metrics and its predictions, on a model small enough to train in a second.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bertkit, jsonLines } from './io.ts'

let folder: string
const at = (name: string): string => join(folder, name)
const write = (name: string, text: string): void => writeFileSync(at(name), text)

const NAMES = ['anna', 'boris', 'clara', 'dora', 'emil', 'fritz']
const TOWNS = ['paris', 'rome', 'oslo', 'bonn', 'kyiv', 'lima']
const WORDS = ['went', 'to', 'where', 'who', 'did', 'go', 'home', 'later', 'sleeps', 'in', 'and', 'the', '?', '.']
const VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...NAMES, ...TOWNS, ...WORDS]

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const name = (i: number): string => NAMES[(i * 5 + (i >> 2)) % NAMES.length]
const town = (i: number): string => TOWNS[(i * 7 + (i >> 3)) % TOWNS.length]
const sentence = (i: number): string => `${name(i)} went to ${town(i)} .`

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'bertkit-tasks-'))
  write('vocab.txt', `${VOCABULARY.join('\n')}\n`)
  write(
    'config.json',
    JSON.stringify({
      model_type: 'bert',
      vocab_size: VOCABULARY.length,
      hidden_size: 32,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      intermediate_size: 64,
      max_position_embeddings: 32,
      hidden_dropout_prob: 0,
      attention_probs_dropout_prob: 0,
      initializer_range: 0.1,
    }),
  )
  const tagged = numbers(60).map((i) =>
    [`${name(i)}\tB-PER`, 'went\tO', 'to\tO', `${town(i)}\tB-LOC`, '.\tO'].join('\n'),
  )
  write('tags.conll', `-DOCSTART- O\n\n${tagged.join('\n\n')}\n`)
  const asJson = numbers(60).map((i) =>
    JSON.stringify({ tokens: [name(i), 'went', 'to', town(i), '.'], tags: ['S-PER', 'O', 'O', 'S-LOC', 'O'] }),
  )
  writeFileSync(at('tags.jsonl.gz'), gzipSync(asJson.join('\n')))
  const question = (i: number, impossible: boolean) => ({
    id: `q${i}`,
    question: impossible ? 'who sleeps ?' : `where did ${name(i)} go ?`,
    answers: impossible ? [] : [{ text: town(i), answer_start: sentence(i).indexOf(town(i)) }],
    ...(impossible ? { is_impossible: true } : {}),
  })
  const squad = (impossible: boolean) =>
    JSON.stringify({
      version: 'v2.0',
      data: [
        {
          title: 'travels',
          paragraphs: numbers(60).map((i) => ({
            context: sentence(i),
            qas: [question(i, impossible && i % 2 === 0)],
          })),
        },
      ],
    })
  write('squad.json', squad(false))
  write('squad2.json', squad(true))
  const choices = numbers(60).map((i) => ({
    context: `${name(i)} went to ${town(i)} .`,
    question: 'where ?',
    choices: [0, 1, 2].map((k) => (k === i % 3 ? town(i) : TOWNS[(TOWNS.indexOf(town(i)) + 1 + k) % TOWNS.length])),
    label: i % 3,
  }))
  write('choices.jsonl', choices.map((row) => JSON.stringify(row)).join('\n'))
  const table = choices.map(({ choices: [a, b, c], context, label }) => `"${context}",where ?,${a},${b},${c},${label}`)
  write('choices.csv', ['sent1,sent2,ending0,ending1,ending2,label', ...table].join('\r\n'))
  // In a document one person travels, so that what follows can be told from what does not.
  const documents = numbers(12).map((d) =>
    numbers(6)
      .map((i) => `${NAMES[d % 6]} went to ${TOWNS[(d + i) % 6]} .`)
      .join('\n'),
  )
  write('text.txt', `${documents.join('\n\n')}\n`)
  const pairs = numbers(60).map((i) => ({
    text: sentence(i),
    text_pair:
      i % 2 === 0 ? `${name(i)} sleeps in ${town(i)} .` : `${NAMES[(NAMES.indexOf(name(i)) + 1) % 6]} sleeps .`,
    label: i % 2,
  }))
  write('pairs.jsonl', pairs.map((row) => JSON.stringify(row)).join('\n'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Trains on a file and evaluates on the same; the JSON lines. */
async function train(task: string, data: string, output: string, ...flags: string[]) {
  const scratch = ['--config', at('config.json'), '--vocab', at('vocab.txt')]
  const files = ['--train-file', at(data), '--eval-file', at(data), '--output-dir', at(output)]
  const quick = ['--learning-rate', '0.005', '--per-device-train-batch-size', '8', '--report-to', 'none']
  const { code, stderr, stdout } = await bertkit([
    'train',
    '--task',
    task,
    ...scratch,
    ...files,
    ...quick,
    '--json',
    ...flags,
  ])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return jsonLines(stdout)
}

async function run(...argv: string[]) {
  const { code, stderr, stdout } = await bertkit(argv)
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return jsonLines(stdout)
}
const predict = (output: string, data: string, ...flags: string[]) =>
  run('predict', '--model', at(output), '--input-file', at(data), ...flags)
const evaluate = (output: string, data: string, ...flags: string[]) =>
  run('evaluate', '--model', at(output), '--eval-file', at(data), '--json', ...flags)

describe('token-classification', () => {
  test('learns the tags of a .conll file, and predicts entities of sentences and of plain text', async () => {
    const lines = await train('token-classification', 'tags.conll', 'ner', '--num-train-epochs', '6')
    expect(lines.at(-1)).toMatchObject({ eval_f1: 1, eval_precision: 1, eval_recall: 1, eval_accuracy: 1 })
    expect(JSON.parse(readFileSync(at('ner/config.json'), 'utf8')).id2label).toEqual({ 0: 'B-LOC', 1: 'B-PER', 2: 'O' })
    const [first] = await predict('ner', 'tags.conll')
    expect(first.tags).toEqual(['B-PER', 'O', 'O', 'B-LOC', 'O'])
    expect(first.entities).toMatchObject([
      { type: 'PER', text: name(0), start: 0, end: name(0).length },
      { type: 'LOC', text: town(0) },
    ])
    write('plain.txt', '  Emil went to  Oslo.\n')
    const [plain] = await predict('ner', 'plain.txt')
    expect(plain.entities).toMatchObject([
      { type: 'PER', text: 'Emil', start: 2, end: 6 },
      { type: 'LOC', text: 'Oslo', start: 16, end: 20 },
    ])
    const [metrics] = await evaluate('ner', 'tags.conll')
    expect(metrics).toMatchObject({ eval_f1: 1, eval_samples: 60 })
  })

  test('reads the named columns of a .conll file, and says which sentences it cuts', async () => {
    const row = (word: string, tag: string): string => `# x = ${word}\n1\t${word}\tX\t${tag}\n2\twent\tX\tO`
    write('columns.conll', `${row('anna', 'B-PER')}\n\n${row('rome', 'B-LOC')}\n3\t.\tX\tO\n`)
    const columns = ['--columns', '_,form,_,tags', '--text-column', 'form']
    const [metrics] = await evaluate('ner', 'columns.conll', ...columns)
    expect(metrics).toMatchObject({ eval_samples: 2, eval_accuracy: expect.any(Number) })
    const argv = ['evaluate', '--model', at('ner'), '--eval-file', at('columns.conll'), ...columns]
    const { code, stderr } = await bertkit([...argv, '--max-length', '4'])
    expect(code).toBe(0)
    expect(stderr).toBe(
      `warning: ${at('columns.conll')}: 1 sentences are longer than 4 tokens; words beyond are neither learnt nor scored\n`,
    )
    const lacking = await bertkit([...argv, '--label-column', 'ner'])
    expect(lacking.stderr).toMatch(/columns: expected "ner" among them, but they are "_", "form", "_", "tags"/)
  })

  test('reads .jsonl.gz with other tags, which the evaluation of the first model refuses by name', async () => {
    const lines = await train('token-classification', 'tags.jsonl.gz', 'ner-json', '--num-train-epochs', '6')
    expect(lines.at(-1)).toMatchObject({ eval_f1: 1 })
    const { code, stderr } = await bertkit(['evaluate', '--model', at('ner'), '--eval-file', at('tags.jsonl.gz')])
    expect(code).toBe(1)
    expect(stderr).toMatch(/tags\.jsonl\.gz:1: the tag "S-PER" .* is not one of the model's: "B-LOC", "B-PER", "O"/)
  })
})

describe('question-answering', () => {
  test('learns SQuAD 1.1 and finds the answers by their places', async () => {
    const lines = await train('question-answering', 'squad.json', 'qa', '--num-train-epochs', '20')
    expect(lines.at(-1)?.eval_exact_match).toBeGreaterThan(90)
    expect(lines.at(-1)).not.toHaveProperty('eval_NoAns_f1')
    const answers = await predict('qa', 'squad.json')
    const right = answers.filter(({ answer }, i) => answer === town(i))
    expect(right.length).toBeGreaterThan(54)
    for (const [i, { answer, end, start }] of answers.entries())
      expect(sentence(i).slice(start as number, end as number)).toBe(answer)
    expect(answers[3]).toMatchObject({ id: 'q3' })
  })

  test('SQuAD 2.0: questions without an answer', async () => {
    const lines = await train(
      'question-answering',
      'squad2.json',
      'qa2',
      '--num-train-epochs',
      '20',
      '--version-2-with-negative',
    )
    expect(lines.at(-1)?.eval_NoAns_exact).toBeGreaterThan(90)
    expect(lines.at(-1)?.eval_HasAns_exact).toBeGreaterThan(80)
    const [impossible] = await predict('qa2', 'squad2.json', '--version-2-with-negative')
    expect(impossible).toMatchObject({ id: 'q0', answer: '' })
  })

  test('plain lines cannot be questions, and the message says what can', async () => {
    write('plain.txt', 'where ?\n')
    const { code, stderr } = await bertkit(['predict', '--model', at('qa'), '--input-file', at('plain.txt')])
    expect(code).toBe(2)
    expect(stderr).toMatch(
      /--input-file of \.json \(SQuAD\), \.jsonl or \.parquet, because question-answering needs more/,
    )
  })
})

test.each(['choices.jsonl', 'choices.csv'])('multiple-choice learns %s', async (data) => {
  const lines = await train('multiple-choice', data, `choice-${data}`, '--num-train-epochs', '12')
  expect(lines.at(-1)?.eval_accuracy).toBeGreaterThan(0.9)
  const predicted = await predict(`choice-${data}`, data)
  expect(predicted.filter(({ label }, i) => label === i % 3).length).toBeGreaterThan(54)
  const scores = predicted[0].scores as number[]
  expect(scores.reduce((a, b) => a + b)).toBeCloseTo(1, 6)
})

test('masked-lm learns the words of a text, and fills masks', async () => {
  const lines = await train(
    'masked-lm',
    'text.txt',
    'mlm',
    '--num-train-epochs',
    '30',
    '--mlm-probability',
    '0.3',
    '--line-by-line',
  )
  const [first, last] = [lines.find((line) => 'eval_loss' in line), lines.at(-1)]
  expect(last?.eval_loss).toBeLessThan((first?.eval_loss as number) * 0.8)
  expect(last?.eval_perplexity).toBeLessThan(8)
  write('masked.txt', 'anna [MASK] to rome .\n')
  const [filled] = await predict('mlm', 'masked.txt')
  expect(filled).toMatchObject({ text: 'anna went to rome.', fills: [{ token: 'went' }] })
  const { stdout } = await bertkit(['fill-mask', '--model', at('mlm'), '--top-k', '2', 'anna [MASK] to rome .'])
  expect(stdout).toMatch(/^anna \[MASK\] to rome \.\n {2}0\.\d{3} {2}went\n {2}0\.\d{3} {2}\S+\n$/)
})

test('masked-lm refuses a text that does not fit, with its line', async () => {
  write('long.txt', `anna [MASK] to rome .\n${'anna went to rome . '.repeat(8)}[MASK] sleeps .\n`)
  const { code, stderr, stdout } = await bertkit(['predict', '--model', at('mlm'), '--input-file', at('long.txt')])
  expect(stderr).toBe(
    'bertkit: line 2: expected a text of at most 30 tokens, besides [CLS] and [SEP], but received 43\n',
  )
  expect([code, stdout]).toEqual([1, ''])
  write('fits.txt', `${'anna went to rome . '.repeat(5)}anna went to rome [MASK]\n`)
  expect(await predict('mlm', 'fits.txt')).toMatchObject([{ fills: [{ token: expect.any(String) }] }])
})

test.each(['masked-lm', 'pretraining'])('%s goes on where chance masks nothing', async (task) => {
  const rare = ['--num-train-epochs', '2', '--mlm-probability', '0']
  const lines = await train(task, 'text.txt', 'unmasked', ...rare)
  const held = lines.filter((line) => 'best' in line)
  expect(held.map(({ epoch, eval_loss }) => [epoch, eval_loss])).toEqual([
    [1, null],
    [2, null],
  ])
  expect(held[0]).toMatchObject(
    task === 'masked-lm' ? { eval_perplexity: null, eval_accuracy: null } : { eval_mlm_loss: null },
  )
  const [metrics] = await evaluate('unmasked', 'text.txt', '--mlm-probability', '0')
  expect(metrics).toMatchObject({ eval_loss: null })
})

test('causal-lm learns to go on', async () => {
  const lines = await train('causal-lm', 'text.txt', 'clm', '--num-train-epochs', '30', '--line-by-line')
  expect(lines.at(-1)?.eval_accuracy).toBeGreaterThan(0.6)
  expect(JSON.parse(readFileSync(at('clm/config.json'), 'utf8'))).toMatchObject({
    is_decoder: true,
    architectures: ['BertLMHeadModel'],
  })
  write('prompt.txt', 'emil went\n')
  const [{ text }] = await predict('clm', 'prompt.txt')
  expect(text).toMatch(/^emil went to (paris|rome|oslo|bonn|kyiv|lima)\.$/)
  const { stdout } = await bertkit(['generate', '--model', at('clm')], { stdin: 'emil went\n' })
  expect(stdout).toBe(`${text}\n`)
})

describe('next-sentence', () => {
  test('makes pairs of a text, the same for each evaluation', async () => {
    const lines = await train('next-sentence', 'text.txt', 'nsp', '--num-train-epochs', '3')
    expect(lines.at(-1)?.eval_samples).toBeGreaterThan(12) // more than one of each document
    const held = lines.filter((line) => 'best' in line)
    expect(held.map((line) => line.eval_samples)).toEqual(held.map(() => lines.at(-1)?.eval_samples))
    const [metrics] = await evaluate('nsp', 'text.txt', '--per-device-eval-batch-size', '5')
    expect(metrics.eval_loss).toBeCloseTo(lines.at(-1)?.eval_loss as number, 5)
    expect(metrics.eval_accuracy).toBe(lines.at(-1)?.eval_accuracy)
  })

  test('learns pairs that a file has', async () => {
    const lines = await train('next-sentence', 'pairs.jsonl', 'nsp-pairs', '--num-train-epochs', '20')
    expect(lines.at(-1)?.eval_accuracy).toBeGreaterThan(0.9)
    const [first, second] = await predict('nsp-pairs', 'pairs.jsonl')
    expect([first.label, second.label]).toEqual([0, 1])
  })
})

test('pretrain makes a vocabulary, a config and a model of a text', async () => {
  const argv = ['pretrain', '--train-file', at('text.txt'), '--output-dir', at('pretrained'), '--vocab-size', '60']
  const size = ['--hidden-size', '64', '--num-hidden-layers', '1', '--max-position-embeddings', '32']
  const lines = await run(
    ...argv,
    ...size,
    '--num-train-epochs',
    '3',
    '--learning-rate',
    '0.002',
    '--eval-file',
    at('text.txt'),
    '--report-to',
    'none',
    '--json',
  )
  expect(lines.at(-1)).toMatchObject({ eval_mlm_accuracy: expect.any(Number), eval_nsp_accuracy: expect.any(Number) })
  const config = JSON.parse(readFileSync(at('pretrained/config.json'), 'utf8'))
  expect(config).toMatchObject({ hidden_size: 64, num_attention_heads: 1, architectures: ['BertForPreTraining'] })
  expect(readFileSync(at('pretrained/vocab.txt'), 'utf8').trimEnd().split('\n')).toHaveLength(config.vocab_size)
  // what was learnt can be fine-tuned
  const tuned = [
    'train',
    '--task',
    'token-classification',
    '--model',
    at('pretrained'),
    '--train-file',
    at('tags.conll'),
  ]
  const { code, stdout } = await bertkit([
    ...tuned,
    '--output-dir',
    at('tuned'),
    '--num-train-epochs',
    '1',
    '--report-to',
    'none',
    '--json',
  ])
  expect(code).toBe(0)
  expect(jsonLines(stdout).at(-1)).toHaveProperty('train_loss')
  expect(existsSync(at('tuned/report.html'))).toBe(true)
})

test('a streamed file trains as one in memory does, from several files, with the steps counted first', async () => {
  const rows = (from: number): string =>
    numbers(30)
      .map((i) => JSON.stringify({ text: sentence(i + from), label: name(i + from) }))
      .join('\n')
  write('first.jsonl', rows(0))
  write('second.jsonl', rows(30))
  const argv = [
    'train',
    '--config',
    at('config.json'),
    '--vocab',
    at('vocab.txt'),
    '--train-file',
    at('first.jsonl'),
    at('second.jsonl'),
  ]
  const rest = [
    '--output-dir',
    at('streamed'),
    '--streaming',
    '--num-train-epochs',
    '10',
    '--per-device-train-batch-size',
    '8',
    '--learning-rate',
    '0.005',
    '--report-to',
    'none',
    '--json',
  ]
  const lines = await run(...argv, ...rest)
  expect(lines.at(-1)).toMatchObject({ step: 80, epoch: 10 })
  const [metrics] = await evaluate('streamed', 'first.jsonl')
  expect(metrics.eval_accuracy).toBe(1)
})

describe('mistakes', () => {
  const start = (task: string, data: string, ...flags: string[]) =>
    bertkit([
      'train',
      '--task',
      task,
      '--config',
      at('config.json'),
      '--vocab',
      at('vocab.txt'),
      '--train-file',
      at(data),
      '--output-dir',
      at('bad'),
      ...flags,
    ])

  test('a label that only the evaluation has', async () => {
    write('a.jsonl', '{"text": "anna", "label": "x"}\n{"text": "boris", "label": "y"}\n')
    write('b.jsonl', '{"text": "anna", "label": "x"}\n{"text": "dora", "label": "z"}\n')
    const { code, stderr } = await start('sequence-classification', 'a.jsonl', '--eval-file', at('b.jsonl'))
    expect(code).toBe(1)
    expect(stderr).toMatch(/b\.jsonl: it has labels that .*a\.jsonl lacks: "z"; add examples of them/)
  })

  test('tags that are all alike', async () => {
    write('one.conll', 'anna O\n\nboris O\n')
    const { code, stderr } = await start('token-classification', 'one.conll')
    expect(code).toBe(1)
    expect(stderr).toMatch(/one\.conll: expected at least two different tags, but found only "O"/)
  })

  test('a metric that the task does not have, and a model that would be overwritten', async () => {
    const metric = await start('token-classification', 'tags.conll', '--metric-for-best-model', 'f1_macro')
    expect(metric.code).toBe(2)
    expect(metric.stderr).toMatch(/--metric-for-best-model to be one of f1, precision, recall, accuracy, loss but/)
    const argv = [
      'train',
      '--model',
      at('mlm'),
      '--train-file',
      at('text.txt'),
      '--task',
      'masked-lm',
      '--output-dir',
      at('mlm'),
    ]
    const same = await bertkit(argv)
    expect(same.code).toBe(2)
    expect(same.stderr).toMatch(/--output-dir to be another folder than --model but both are/)
  })

  test('a file of another kind', async () => {
    const { code, stderr } = await start('token-classification', 'text.txt')
    expect(code).toBe(1)
    expect(stderr).toMatch(/expected a \.conll.* file/)
  })

  test('a pre-training model has nothing to predict', async () => {
    const { code, stderr } = await bertkit(['predict', '--model', at('pretrained'), '--input-file', at('text.txt')])
    expect(code).toBe(2)
    expect(stderr).toMatch(/pretraining has nothing to predict/)
  })
})

test('a stream of pairs that are made anew in each epoch trains its three epochs, and resumes in the third', async () => {
  const argv = [
    'train',
    '--task',
    'next-sentence',
    '--config',
    at('config.json'),
    '--vocab',
    at('vocab.txt'),
    '--train-file',
    at('text.txt'),
  ]
  const rest = [
    '--streaming',
    '--num-train-epochs',
    '3',
    '--per-device-train-batch-size',
    '4',
    '--report-to',
    'none',
    '--save-strategy',
    'steps',
    '--save-steps',
    '5',
    '--logging-steps',
    '1',
    '--json',
  ]
  const lossesOf = (lines: Record<string, unknown>[]) =>
    lines.flatMap((line) => ('grad_norm' in line ? [line.loss] : []))
  const whole = await run(...argv, '--output-dir', at('made'), '--save-total-limit', '99', ...rest)
  const { step } = whole.at(-1) as { step: number }
  expect(whole.at(-1)).toMatchObject({ epoch: 3 })
  const from = Math.floor((step * 0.8) / 5) * 5
  const resumed = await run(
    ...argv,
    '--output-dir',
    at('made-again'),
    '--resume-from-checkpoint',
    at(`made/checkpoint-${from}`),
    ...rest,
  )
  expect(lossesOf(resumed)).toEqual(lossesOf(whole).slice(from))
})
