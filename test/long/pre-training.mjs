#!/usr/bin/env node
// Pre-trains a small BERT (4 x 256, 8,000 tokens) on WikiText-2 and ten novels for half an hour, as many updates as a first short run shows to
// fit, and says what to run to see whether it is worth more than the same model with new weights. Resumable: start it again and it
// continues where it was stopped.
//   BERTKIT_REFERENCE_DIR=… node test/long/pre-training.mjs [--minutes 30] [--dtype auto] [--work DIR]
// What each choice gained is in docs/quality.md.
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'

/** One article and one chapter in so many is held out. */
const HELD_OUT = 20
/** Updates that are timed. */
const TIMED_STEPS = 400
const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..')
const reference = process.env.BERTKIT_REFERENCE_DIR
if (reference === undefined) {
  console.error('BERTKIT_REFERENCE_DIR is not set: the texts are there')
  process.exit(2)
}
const data = (...parts) => path.join(reference, 'data', ...parts)
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    dtype: { type: 'string', default: 'auto' },
    work: { type: 'string', default: path.join(os.tmpdir(), 'bertkit-pre-training') },
  },
})
const work = path.resolve(values.work)
fs.mkdirSync(work, { recursive: true })

/** The articles of WikiText-2: a line is a paragraph, a heading of the first level begins an article. */
function articlesOf(text) {
  const articles = []
  for (const line of text.split(/\r?\n/)) {
    const paragraph = line.trim()
    if (paragraph === '') continue
    if (/^= [^=].* =$/.test(paragraph) || articles.length === 0) articles.push([])
    articles.at(-1).push(paragraph)
  }
  return articles.map((article) => article.join('\n\n'))
}

/** The chapters of a novel: there is more than one blank line between them. */
const chaptersOf = (text) => text.split(/\n(?:[^\S\n]*\n){2,}/)

const articles = ['valid.txt', 'wiki.test.raw'].flatMap((name) =>
  articlesOf(fs.readFileSync(data('wikitext2', name), 'utf8')),
)
const chapters = fs
  .readdirSync(data('gutenberg_en'))
  .filter((name) => name.endsWith('.txt.gz'))
  .sort()
  .flatMap((name) => chaptersOf(gunzipSync(fs.readFileSync(data('gutenberg_en', name))).toString('utf8')))
/** Laid out as novels are. */
const write = (name, documents) => {
  const file = path.join(work, name)
  fs.writeFileSync(file, documents.join('\n\n\n'))
  return file
}
const isHeldOut = (_, i) => i % HELD_OUT === HELD_OUT - 1
const documents = [...articles, ...chapters]
const heldOut = write('held-out.txt', documents.filter(isHeldOut))
const learnt = write(
  'learnt.txt',
  documents.filter((...document) => !isHeldOut(...document)),
)
const model = path.join(work, 'pretrained')
const begun = fs.existsSync(model) && fs.readdirSync(model).some((name) => /^checkpoint-\d+$/.test(name))

/** Runs `bertkit pretrain`, the same but for `flags`; returns what it prints where that is not shown. */
function pretrain(outputDir, steps, flags, stdout = 'inherit') {
  const { status, stdout: printed } = spawnSync(
    process.execPath,
    [
      path.join(root, 'dist', 'cli', 'main.js'),
      'pretrain',
      ...['--train-file', learnt, '--text-layout', 'paragraphs', '--output-dir', outputDir],
      ...['--vocab-size', '8000', '--hidden-size', '256', '--num-hidden-layers', '4', '--dtype', values.dtype],
      ...['--hidden-dropout-prob', '0', '--attention-probs-dropout-prob', '0', '--mlm-probability', '0.3'],
      ...['--max-length', '64', '--per-device-train-batch-size', '8', '--max-steps', String(steps)],
      ...['--learning-rate', '5e-4', '--warmup-steps', '0.1', '--weight-decay', '0.01'],
      ...flags,
    ],
    { stdio: ['ignore', stdout, 'inherit'], encoding: 'utf8' },
  )
  if (status !== 0) process.exit(status ?? 1)
  return printed
}

/** Updates that fit into the time; a run that goes on keeps to those that it began with. */
function stepsThatFit() {
  const file = path.join(work, 'steps.json')
  if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file, 'utf8')).steps
  const timed = pretrain(path.join(work, 'timed'), TIMED_STEPS, ['--save-strategy', 'no', '--json'], 'pipe')
  const { train_steps_per_second: perSecond } = JSON.parse(timed.trimEnd().split('\n').at(-1))
  const steps = Math.floor(Number(values.minutes) * 60 * perSecond)
  fs.writeFileSync(file, JSON.stringify({ steps, perSecond }))
  console.log(`${perSecond} updates a second: ${steps} in ${values.minutes} minutes`)
  return steps
}

const steps = stepsThatFit()
const every = String(Math.max(1, Math.floor(steps / 10)))
pretrain(model, steps, [
  ...['--eval-file', heldOut, '--per-device-eval-batch-size', '64', '--metric-for-best-model', 'mlm_loss'],
  ...['--logging-steps', '50', '--eval-steps', every, '--save-steps', every],
  ...(begun ? ['--resume-from-checkpoint'] : []),
])
console.log(`
The loss of hidden words is plotted in ${path.join(model, 'report.html')}. To compare it with new weights:
${['banking77 --epochs 3', 'sst2']
  .flatMap((task) => [
    `  node test/long/quality.mjs --learning-rate 3e-4 --tasks ${task} --model ${model} --work ${path.join(work, 'tuned')}`,
    `  node test/long/quality.mjs --learning-rate 3e-4 --tasks ${task} --model ${model} --new-weights --work ${path.join(work, 'scratch')}`,
  ])
  .join('\n')}`)
