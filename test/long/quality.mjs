#!/usr/bin/env node
// Fine-tunes MiniLM on real tasks through the command line, with the recipe of peer/finetune.py, and compares the last
// evaluation with PyTorch's (peer/results.json), where that has the task. Resumable: start it again and it continues where it was stopped.
//   BERTKIT_REFERENCE_DIR=… node test/long/quality.mjs [--tasks sst2,mrpc] [--seeds 42,43,44] [--work DIR] [--peer FILE.jsonl]
// Of squad, half of whose articles are learnt and half asked about, and of resume_ner_zh, a small model with new weights, PyTorch's results
// are what finetune_pytorch.py has written to --peer. Its command is printed where there are none.
// --model FOLDER fine-tunes another model, of which there is nothing to compare with, and with --new-weights one of its shape and vocabulary;
// --learning-rate and --epochs are others than the recipe's; --dtype bfloat16 is compared with float32 by running both.
import { spawn } from 'node:child_process'
import { createWriteStream, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ALLOWED_LOSS = 0.01
const MINILM = 'all-MiniLM-L6-v2'
const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
const reference = process.env.BERTKIT_REFERENCE_DIR
if (reference === undefined) {
  console.error('BERTKIT_REFERENCE_DIR is not set: the data sets and PyTorch’s results are there')
  process.exit(2)
}
const data = (...parts) => path.join(reference, 'data', ...parts)

/** Writes files into a folder. */
function writeFiles(folder, files) {
  mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text)
}

/** Every second article of SQuAD's file is learnt, the others are asked about. */
function halveSquad(folder) {
  const { data: articles, version } = JSON.parse(readFileSync(data('squad', 'cs224n-dev-v2.0.json'), 'utf8'))
  const half = (rest) => JSON.stringify({ version, data: articles.filter((_, i) => i % 2 === rest) })
  writeFiles(folder, { 'train.json': half(0), 'eval.json': half(1) })
}

/** Labels as the numbers that peer/finetune.py gives them, so that a row of the head, which begins alike, is for the same class. */
function numberCategories(folder) {
  const names = JSON.parse(readFileSync(data('banking77', 'categories.json'), 'utf8'))
  const numbered = (file) =>
    readFileSync(data('banking77', file), 'utf8').replace(/,(\w+\??)(\r?\n|$)/g, (all, name, end) =>
      names.includes(name) ? `,${names.indexOf(name)}${end}` : all,
    )
  writeFiles(folder, { 'train.csv': numbered('train.csv'), 'test.csv': numbered('test.csv') })
}

/** A model of the size of google-research/bert's mini with the Chinese vocabulary; both sides give it new weights. */
function describeChinese(folder) {
  const config = {
    vocab_size: 21128,
    hidden_size: 256,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    intermediate_size: 1024,
  }
  writeFiles(folder, {
    'config.json': JSON.stringify({ model_type: 'bert', ...config }),
    'tokenizer.json': readFileSync(data('vocab', 'bert-base-chinese', 'tokenizer.json')),
    'tokenizer_config.json': JSON.stringify({ tokenizer_class: 'BertTokenizer', do_lower_case: true }),
  })
}

/** Task of the command line, metric, files to learn from and to evaluate on; what differs from peer/finetune.py's recipe. */
const TASKS = {
  sst2: {
    metric: 'accuracy',
    epochs: 1,
    files: [data('sst2', 'train.tsv.gz'), data('sst2', 'dev_first436.tsv')],
    flags: ['--text-column', 'sentence'],
  },
  mrpc: {
    metric: 'accuracy',
    epochs: 4,
    files: [data('mrpc', 'msr_paraphrase_train.txt'), data('mrpc', 'msr_paraphrase_test.txt')],
    flags: [
      '--file-format',
      'tsv',
      '--text-column',
      '#1 String',
      '--text-pair-column',
      '#2 String',
      '--label-column',
      'Quality',
    ],
  },
  stsb: {
    metric: 'pearson',
    epochs: 4,
    files: [data('stsb', 'sts-train.csv'), data('stsb', 'sts-dev.csv')],
    flags: [
      '--file-format',
      'tsv',
      '--no-header',
      '--columns',
      '_,_,_,_,label,text,text_pair',
      '--problem-type',
      'regression',
    ],
  },
  banking77: {
    metric: 'accuracy',
    epochs: 8,
    prepare: numberCategories,
    files: ['train.csv', 'test.csv'],
    flags: ['--label-column', 'category'],
  },
  cola: {
    metric: 'matthews',
    epochs: 4,
    files: [data('cola', 'train.tsv'), data('cola', 'dev.tsv')],
    flags: ['--no-header', '--columns', '_,label,_,text'],
  },
  rte: {
    metric: 'accuracy',
    epochs: 4,
    files: [data('rte', 'train.tsv'), data('rte', 'dev.tsv')],
    flags: ['--text-column', 'sentence1', '--text-pair-column', 'sentence2'],
  },
  goemotions: {
    metric: 'f1_micro',
    epochs: 3,
    files: [data('goemotions', 'train.tsv.gz'), data('goemotions', 'dev.tsv')],
    flags: ['--no-header', '--columns', 'text,label,_', '--problem-type', 'multi_label_classification'],
  },
  wnut17: {
    task: 'token-classification',
    metric: 'f1',
    epochs: 8,
    files: [data('wnut17', 'wnut17train.conll'), data('wnut17', 'emerging.dev.conll')],
    flags: [],
  },
  squad: {
    task: 'question-answering',
    metric: 'f1',
    epochs: 4,
    prepare: halveSquad,
    files: ['train.json', 'eval.json'],
    flags: ['--version-2-with-negative', '--doc-stride', 128],
    maxLength: 384,
  },
  resume_ner_zh: {
    task: 'token-classification',
    metric: 'f1',
    epochs: 8,
    learningRate: '5e-4',
    prepare: describeChinese,
    newModel: true,
    files: [data('resume_ner_zh', 'train.char.bmes'), data('resume_ner_zh', 'dev.char.bmes')],
    flags: ['--file-format', 'conll'],
  },
}

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: Object.keys(TASKS).join(',') },
    seeds: { type: 'string', default: '42,43,44' },
    work: { type: 'string', default: path.join(os.tmpdir(), 'bertkit-quality') },
    model: { type: 'string', default: data('weights', MINILM) },
    'new-weights': { type: 'boolean', default: false },
    'learning-rate': { type: 'string' },
    epochs: { type: 'string' },
    dtype: { type: 'string', default: 'float32' },
    peer: { type: 'string' },
  },
})
const hasPeer = values.model === data('weights', MINILM) && !values['new-weights'] && values.epochs === undefined
const work = path.resolve(values.work)
mkdirSync(work, { recursive: true })

/** The folder that a task's `prepare` writes its files to. */
const folderOf = (task) => path.join(work, task)

/** The files, rate and model of a task, which are the same on both sides. */
function inputsOf(task) {
  const { files, learningRate = '5e-5', newModel } = TASKS[task]
  const folder = folderOf(task)
  return {
    files: files.map((file) => path.resolve(folder, file)),
    learningRate: values['learning-rate'] ?? learningRate,
    model: newModel ? folder : values.model,
  }
}

function commandFor(task, seed, outputDir) {
  const { epochs, flags, maxLength = 128, newModel, task: name = 'sequence-classification' } = TASKS[task]
  const { files, learningRate, model } = inputsOf(task)
  const [trainFile, evalFile] = files
  const start =
    newModel || values['new-weights']
      ? ['--config', path.join(model, 'config.json'), '--vocab', model]
      : ['--model', model]
  const resumes = existsSync(outputDir) && readdirSync(outputDir).some((name) => /^checkpoint-\d+$/.test(name))
  return [
    path.join(root, 'dist', 'cli', 'main.js'),
    'train',
    ...['--task', name, ...start],
    ...['--train-file', trainFile, '--eval-file', evalFile, '--output-dir', outputDir, ...flags],
    ...[
      '--num-train-epochs',
      values.epochs ?? epochs,
      '--per-device-train-batch-size',
      32,
      '--per-device-eval-batch-size',
      64,
    ],
    ...['--learning-rate', learningRate, '--weight-decay', 0.01, '--warmup-ratio', 0.1],
    ...['--max-length', maxLength, '--seed', seed, '--dtype', values.dtype],
    ...[
      '--logging-steps',
      50,
      '--eval-strategy',
      'epoch',
      '--save-strategy',
      'epoch',
      '--save-total-limit',
      1,
      '--load-best-model-at-end', // as the peer, which has the weights of the last update
      'false',
      '--json',
    ],
    ...(resumes ? ['--resume-from-checkpoint'] : []),
  ].map(String)
}

/** Runs one training; the JSON lines also go to a log file. Returns the last evaluation and the mean of the rates. */
async function train(task, seed) {
  const name = values.dtype === 'float32' ? `${task}-${seed}` : `${task}-${seed}-${values.dtype}`
  const resultFile = path.join(work, `${name}.json`)
  if (existsSync(resultFile)) return JSON.parse(readFileSync(resultFile, 'utf8'))
  const outputDir = path.join(work, name)
  const child = spawn(process.execPath, commandFor(task, seed, outputDir), { stdio: ['ignore', 'pipe', 'inherit'] })
  const log = createWriteStream(path.join(work, `${name}.jsonl`), { flags: 'a' })
  const evaluations = []
  const rates = []
  for await (const line of readline.createInterface({ input: child.stdout })) {
    log.write(`${line}\n`)
    const record = JSON.parse(line)
    if (record.tokens_per_second !== undefined) rates.push(record.tokens_per_second)
    if (record.eval_loss === undefined) continue
    evaluations.push(record[`eval_${TASKS[task].metric}`])
    console.error(`${name}: epoch ${record.epoch}, ${TASKS[task].metric} ${evaluations.at(-1).toFixed(4)}`)
  }
  log.end()
  const code = child.exitCode ?? (await new Promise((resolve) => child.on('exit', resolve)))
  if (code !== 0) {
    console.error(`${name}: bertkit ended with ${code}; start this program again to continue`)
    process.exit(1)
  }
  const result = {
    task,
    seed,
    last: evaluations.at(-1),
    best: Math.max(...evaluations),
    tokensPerSecond: Math.round(rates.reduce((sum, rate) => sum + rate, 0) / rates.length),
  }
  writeFileSync(resultFile, JSON.stringify(result))
  // The trained model stays, for checks in Transformers; what only resuming needs goes.
  for (const entry of readdirSync(outputDir)) {
    if (/^checkpoint-\d+$/.test(entry)) rmSync(path.join(outputDir, entry), { recursive: true })
  }
  return result
}

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const lines = (text) => text.split('\n').filter((line) => line.trim() !== '')

/** PyTorch's runs with the same recipe on the whole training set: the median of its seeds, and its tokens a second. */
function peerOf(task) {
  const { epochs, metric } = TASKS[task]
  const { fine_tuning: stored } = JSON.parse(readFileSync(path.join(reference, 'peer', 'results.json'), 'utf8'))
  const own = values.peer === undefined ? [] : lines(readFileSync(values.peer, 'utf8')).map((line) => JSON.parse(line))
  const runs = [...stored, ...own].filter(
    (run) => run.task === task && (run.model ?? MINILM) === MINILM && run.dtype === 'fp32' && run.epochs === epochs,
  )
  const steps = Math.max(...runs.map((run) => run.steps))
  const whole = runs.filter((run) => run.steps === steps)
  if (whole.length === 0) return undefined
  return {
    score: median(whole.map((run) => run[metric])),
    seeds: whole.length,
    tokensPerSecond: median(whole.map((run) => run.real_tokens_per_second)),
  }
}

/** What makes PyTorch's runs of a task that nobody has stored. */
function peerCommand(task) {
  const { epochs } = TASKS[task]
  const { files, learningRate, model } = inputsOf(task)
  const given = ['--train', files[0], '--eval', files[1], '--model', model, '--epochs', epochs, '--lr', learningRate]
  return `python ${path.join(import.meta.dirname, 'finetune_pytorch.py')} ${task} ${given.join(' ')} --seed ${values.seeds.split(',')[0]} >> PEER.jsonl`
}

const rows = []
for (const task of values.tasks.split(',')) {
  TASKS[task].prepare?.(folderOf(task))
  const runs = []
  for (const seed of values.seeds.split(',')) runs.push(await train(task, Number(seed)))
  const { metric } = TASKS[task]
  const peer = hasPeer ? peerOf(task) : undefined
  if (hasPeer && !peer && TASKS[task].prepare) console.log(`PyTorch: ${peerCommand(task)}`)
  const ours = median(runs.map((run) => run.last))
  rows.push({
    task,
    metric,
    dtype: values.dtype,
    PyTorch: peer && `${peer.score.toFixed(4)} (${peer.seeds})`,
    'bertkit (median)': Number(ours.toFixed(4)),
    'each seed': runs.map((run) => run.last.toFixed(4)).join(' '),
    difference: peer && Number((ours - peer.score).toFixed(4)),
    'tokens/s': runs.map((run) => run.tokensPerSecond).join(' '),
    'PyTorch tokens/s': peer?.tokensPerSecond,
    passed: peer ? ours >= peer.score - ALLOWED_LOSS : 'nothing to compare with',
  })
}
console.table(rows)
const failed = rows.filter((row) => row.passed === false).length
console.log(`${rows.filter((row) => row.passed === true).length} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
