#!/usr/bin/env node
// Fine-tunes MiniLM on real tasks through the command line, with the recipe of peer/finetune.py, and compares the last
// evaluation with PyTorch's (peer/results.json), where that has the task. Resumable: start it again and it continues where it was stopped.
//   BERTKIT_REFERENCE_DIR=… node test/long/quality.mjs [--tasks sst2,mrpc] [--seeds 42,43,44] [--work DIR]
// --model FOLDER fine-tunes another model, of which there is nothing to compare with, and with --new-weights one of its shape and vocabulary;
// --learning-rate is another than the recipe's.
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
    files: [data('banking77', 'train.csv'), data('banking77', 'test.csv')],
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
}

const { values } = parseArgs({
  options: {
    tasks: { type: 'string', default: Object.keys(TASKS).join(',') },
    seeds: { type: 'string', default: '42,43,44' },
    work: { type: 'string', default: path.join(os.tmpdir(), 'bertkit-quality') },
    model: { type: 'string', default: data('weights', MINILM) },
    'new-weights': { type: 'boolean', default: false },
    'learning-rate': { type: 'string', default: '5e-5' },
  },
})
const hasPeer = values.model === data('weights', MINILM) && !values['new-weights']
const work = path.resolve(values.work)
mkdirSync(work, { recursive: true })

function commandFor(task, seed, outputDir) {
  const { epochs, files, flags, task: name = 'sequence-classification' } = TASKS[task]
  const [trainFile, evalFile] = files
  const { model } = values
  const start = values['new-weights']
    ? ['--config', path.join(model, 'config.json'), '--vocab', path.join(model, 'vocab.txt')]
    : ['--model', model]
  const resumes = existsSync(outputDir) && readdirSync(outputDir).some((name) => /^checkpoint-\d+$/.test(name))
  return [
    path.join(root, 'dist', 'cli', 'main.js'),
    'train',
    ...['--task', name, ...start],
    ...['--train-file', trainFile, '--eval-file', evalFile, '--output-dir', outputDir, ...flags],
    ...['--num-train-epochs', epochs, '--per-device-train-batch-size', 32, '--per-device-eval-batch-size', 64],
    ...['--learning-rate', values['learning-rate'], '--weight-decay', 0.01, '--warmup-ratio', 0.1],
    ...['--max-length', 128, '--seed', seed],
    ...[
      '--logging-steps',
      50,
      '--eval-strategy',
      'epoch',
      '--save-strategy',
      'epoch',
      '--save-total-limit',
      1,
      '--json',
    ],
    ...(resumes ? ['--resume-from-checkpoint'] : []),
  ].map(String)
}

/** Runs one training; the JSON lines also go to a log file. Returns the last evaluation and the mean of the rates. */
async function train(task, seed) {
  const name = `${task}-${seed}`
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

/** PyTorch's run on the whole training set. */
function peerOf(task) {
  const { fine_tuning: runs } = JSON.parse(readFileSync(path.join(reference, 'peer', 'results.json'), 'utf8'))
  const matching = runs.filter(
    (run) => run.task === task && run.model === MINILM && run.dtype === 'fp32' && run.epochs === TASKS[task].epochs,
  )
  return matching.sort((a, b) => b.train - a.train)[0]
}

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const rows = []
for (const task of values.tasks.split(',')) {
  const runs = []
  for (const seed of values.seeds.split(',')) runs.push(await train(task, Number(seed)))
  const { metric } = TASKS[task]
  const peer = hasPeer ? peerOf(task) : undefined
  const ours = median(runs.map((run) => run.last))
  rows.push({
    task,
    metric,
    PyTorch: peer?.[metric],
    'bertkit (median)': Number(ours.toFixed(4)),
    'each seed': runs.map((run) => run.last.toFixed(4)).join(' '),
    difference: peer && Number((ours - peer[metric]).toFixed(4)),
    'tokens/s': runs.map((run) => run.tokensPerSecond).join(' '),
    'PyTorch tokens/s': peer?.real_tokens_per_second,
    passed: peer ? ours >= peer[metric] - ALLOWED_LOSS : 'nothing to compare with',
  })
}
console.table(rows)
const failed = rows.filter((row) => row.passed === false).length
console.log(`${rows.filter((row) => row.passed === true).length} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
