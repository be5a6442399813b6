import { describe, expect, test } from 'vitest'
import { bertkit } from './io.ts'

const train = (...flags: string[]) =>
  bertkit([
    'train',
    '--model',
    './no-such-model',
    '--train-file',
    'no-such-file.csv',
    '--output-dir',
    'no-such-output',
    ...flags,
  ])

describe('bad usage exits with 2 and one line that says what is wrong', () => {
  const cases: [string[], RegExp][] = [
    [['--no-such-flag'], /unknown option '--no-such-flag'/],
    [['--learning-rat', '1e-4'], /unknown option '--learning-rat'[\s\S]*--learning-rate/],
    [['--fp16'], /--fp16 is not available: .*bfloat16/],
    [['--fp16', 'true'], /--fp16 is not available/],
    [['--tf32'], /--tf32 is not available/],
    [['--torch-compile'], /--torch-compile is not available/],
    [['--push-to-hub'], /--push-to-hub is not available/],
    [['--bf16', '--dtype', 'float32'], /Expected --bf16 or --dtype float32 but received both/],
    [['--dtype', 'float16'], /Expected --dtype to be one of float32, bfloat16, auto but received 'float16'/],
    [['--dtype', 'int8'], /int8 is for predict, evaluate, generate and fill-mask, whole numbers cannot be trained/],
    [['--dtype', 'float8'], /--dtype to be one of .*but received 'float8'/],
    [['--backend', 'gpu'], /Expected --backend to be one of auto, cpu, cuda, wasm but received 'gpu'/],
    [['--task', 'poetry'], /--task to be one of .*but received 'poetry'/],
    [['--problem-type', 'poetry'], /--problem-type to be one of .*but received 'poetry'/],
    [['--learning-rate', 'fast'], /--learning-rate to be a number of at least 0 but received 'fast'/],
    [['--learning-rate', ''], /--learning-rate to be/],
    [['--num-train-epochs', '0'], /--num-train-epochs to be a number above 0/],
    [['--per-device-train-batch-size', '2.5'], /--per-device-train-batch-size to be an integer/],
    [['--max-length', '1'], /--max-length to be an integer of at least/],
    [['--threads', '0'], /--threads to be an integer from 1 to 256 but received '0'/],
    [['--threads', '300'], /--threads to be an integer from 1 to 256 but received '300'/],
    [['--lr-scheduler-type', 'lineer'], /--lr-scheduler-type to be one of linear/],
    [['--warmup-ratio', '1.5'], /--warmup-ratio to be a number from 0 to below 1/],
    [['--warmup-ratio', 'abc'], /--warmup-ratio to be a number from 0 to below 1 but received 'abc'/],
    [['--warmup-ratio', ''], /--warmup-ratio to be a number from 0 to below 1 but received ''/],
    [['--lr-scheduler-kwargs', '{"foo":1}'], /Schedule linear: there is no option 'foo'/],
    [['--lr-scheduler-kwargs', '{"num_cycles":1}'], /Schedule linear: there is no option 'numCycles'/],
    [
      ['--label-smoothing-factor', '0.1', '--problem-type', 'regression'],
      /Expected --label-smoothing-factor with labels of one class each but --problem-type is regression\n/,
    ],
    [
      ['--label-smoothing-factor', '0.1', '--problem-type', 'multi_label_classification'],
      /each but --problem-type is multi_label_classification\n/,
    ],
    [['--label-smoothing-factor', '0.1', '--task', 'question-answering'], /each but the task is question-answering\n/],
    [['--lr-scheduler-type', 'cosine_with_min_lr'], /Schedule cosine_with_min_lr: one of minLr and minLrRate/],
    [
      ['--save-strategy', 'epoch', '--save-steps', '2'],
      /Expected --save-strategy steps with --save-steps but received/,
    ],
    [['--save-strategy', 'no', '--save-steps', '2'], /steps with --save-steps but received --save-strategy no/],
    [
      ['--eval-strategy', 'epoch', '--eval-steps', '2', '--eval-file', 'e.csv'],
      /--eval-strategy steps with --eval-steps/,
    ],
    [['--eval-steps', '2'], /Expected --eval-file because of --eval-steps but received none/],
    [
      ['--prediction-loss-only', '--metric-for-best-model', 'f1', '--eval-file', 'e.csv'],
      /--metric-for-best-model to be one of loss but received 'f1'/,
    ],
    [
      ['--doc-stride', '7'],
      /Expected --doc-stride with question-answering only but the task is sequence-classification\n/,
    ],
    [['--version-2-with-negative'], /Expected --version-2-with-negative with question-answering only/],
    [['--mlm-probability', '0.5'], /Expected --mlm-probability with masked-lm or pretraining only but/],
    [['--task', 'causal-lm', '--problem-type', 'regression'], /--problem-type with sequence-classification only/],
    [['--eval-strategy', 'epoch'], /--eval-file/],
    [['--load-best-model-at-end'], /--eval-strategy/],
    [['--config', 'config.json'], /--model, or --config and --vocab/],
    [['superfluous'], /too many arguments/],
  ]
  test.each(cases)('train %j', async (flags, message) => {
    const { code, stderr, stdout } = await train(...flags)
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/^bertkit: /)
    expect(code).toBe(2)
    expect(stdout).toBe('')
  })

  test.each([
    [['train'], /required option '--/],
    [['evaluate', '--model', 'm'], /required option '--eval-file/],
    [['predict'], /required option '--model/],
    [['export', '--model', 'm', '--output', 'o'], /required option '--format/],
    [['poem'], /unknown command 'poem'/],
    [['train', '--train-file', 'a.csv', '--output-dir', 'o'], /--model, or --config and --vocab/],
    [['train', '--train-file', 'a.csv', '--output-dir', 'o', '--config', 'c'], /--model, or --config and --vocab/],
    [['pretrain', '--hidden-dropout-prob', '1'], /--hidden-dropout-prob to be a number of at least 0 and below 1/],
    [
      ['pretrain', '--train-file', 'a.txt', '--output-dir', 'o', '--model', 'm', '--attention-probs-dropout-prob', '0'],
      /--model or --attention-probs-dropout-prob but received both/,
    ],
    [
      ['pretrain', '--train-file', 'a.txt', '--output-dir', 'o', '--model', 'm', '--limit-alphabet', '9'],
      /--model or --limit-alphabet but received both/,
    ],
    [
      ['predict', '--model', 'm', '--input-file', 'a.csv', '--columns', 'text'],
      /Expected --no-header or --header beside --columns, because a csv file may begin with names or with data/,
    ],
    [
      ['predict', '--model', 'm', '--file-format', 'tsv', '--columns', 'text'],
      /Expected --no-header or --header beside --columns/,
    ],
    [
      ['evaluate', '--model', 'm', '--eval-file', 'a.tsv.gz', '--columns', 'text,label'],
      /Expected --no-header or --header beside --columns/,
    ],
    [
      ['predict', '--model', 'm', '--null-score-diff-threshold', '1'],
      /Expected --version-2-with-negative because of --null-score-diff-threshold but received none/,
    ],
  ])('%j', async (argv, message) => {
    const { code, stderr } = await bertkit(argv)
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  })

  test('no command prints the help', async () => {
    const { code, stderr } = await bertkit([])
    expect(stderr).toMatch(/Usage: bertkit/)
    expect(code).toBe(2)
  })
})

test('help and version exit with 0', async () => {
  const help = await bertkit(['train', '--help'])
  expect(help.code).toBe(0)
  for (const flag of ['--num-train-epochs', '--warmup-steps', '--resume-from-checkpoint', '--label-column']) {
    expect(help.stdout).toContain(flag)
  }
  expect(help.stdout).not.toContain('--fp16')
  // of defaults the command's own only
  expect(help.stdout.replaceAll(/\s+/g, ' ')).toContain(
    'between evaluations (default: --save-steps where only that asks for steps, else --logging',
  )
  const version = await bertkit(['--version'])
  expect(version.code).toBe(0)
  expect(version.stdout).toMatch(/^\d+\.\d+\.\d+/)
})

test.each([
  ['train'],
  ['pretrain'],
  ['evaluate'],
  ['predict'],
  ['tokenizer train'],
  ['export'],
  ['demo'],
  ['build-native'],
  [''],
])('the help of bertkit %s fits into 80 columns, with descriptions below what is wide', async (command) => {
  const { stdout } = await bertkit([...command.split(' ').filter(Boolean), '--help'])
  expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  if (command !== 'train') return
  expect(stdout).toMatch(/^ {2}--per-device-eval-batch-size <\w+>\n {6}\S.*$/m)
  expect(stdout).toMatch(/\nData files\. sequence-classification: /)
})

test('predict neither shows nor takes what is for labels and for making examples; evaluate does', async () => {
  const flags = ['--label-column', '--mlm-probability', '--whole-word-mask', '--line-by-line', '--short-seq-prob']
  const { stdout } = await bertkit(['predict', '--help'])
  expect(stdout).toContain('--text-column')
  expect(flags.filter((flag) => stdout.includes(flag))).toEqual([])
  const evaluate = await bertkit(['evaluate', '--help'])
  expect(flags.filter((flag) => !evaluate.stdout.includes(flag))).toEqual([])
  const refused = await bertkit(['predict', '--model', 'm', '--label-column', 'label'])
  expect(refused.stderr).toMatch(/unknown option '--label-column'/)
  expect(refused.code).toBe(2)
})

describe('what fails exits with 1 and one line without a stack', () => {
  test.each([
    [['train', '--model', './no-such-model', '--train-file', 'no-such-file.csv', '--output-dir', 'o'], /no such f/],
    [['evaluate', '--model', './no-such-model', '--eval-file', 'no-such-file.csv'], /no-such-model: no such folder/],
    [['predict', '--model', './no-such-model'], /Cannot open \.\/no-such-model: no such folder/],
    [
      ['predict', '--model', './package.json'],
      /Cannot open \.\/package\.json: expected the folder of a model, but it is a/,
    ],
    [['info', '--model', './no-such-model'], /no-such-model: no such folder/],
    [['info', '--model', './package.json'], /package\.json: expected the folder of a model, but it is a file/],
    [['export', '--format', 'onnx', '--model', './no-such-model', '--output', 'no-such-output'], /no such folder/],
  ])('%j', async (argv, message) => {
    const { code, stderr, stdout } = await bertkit(argv)
    expect(stderr).toMatch(/^bertkit: [^\n]*\n$/)
    expect(stderr).toMatch(message)
    expect(code).toBe(1)
    expect(stdout).toBe('')
  })
})
