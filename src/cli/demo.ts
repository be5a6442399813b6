import type { Command } from 'commander'
import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { AbortedError } from '../errors.ts'
import { BertConfig } from '../model/config.ts'
import { BertForSequenceClassification } from '../session/models.ts'
import { SequenceClassificationEvaluation } from '../train/metrics/sequence-classification.ts'
import { mapInSlices } from '../train/slices.ts'
import { predictionOf } from '../train/tasks/sequence-classification.ts'
import { Trainer } from '../train/trainer.ts'
import type { Example } from '../train/types.ts'
import { type DemoData, type LabelledText, readDemoData } from './demo-data.ts'
import { grouped, type Io, writeJsonLine } from './io.ts'
import { addModelOptions, integerOption, type ModelOptions } from './options.ts'
import { createProgress } from './progress.ts'

const MAX_LENGTH = 64
const BATCH = 32
const LEARNING_RATE = 1e-3
const SHAPE = { hiddenSize: 128, numHiddenLayers: 2, numAttentionHeads: 2, intermediateSize: 512 }

/** Written for the demo; they are in neither half of the data. */
const QUESTIONS = [
  'My card was swallowed by the cash machine, what now?',
  'Someone charged my card twice for one coffee',
  'How can I get my money to my friend in Spain?',
  'the app will not accept my fingerprint or my code',
  'Do you give out cards to teenagers?',
]

interface DemoOptions extends ModelOptions {
  readonly numTrainEpochs: number
  readonly seed: number
  readonly outputDir?: string
}

const encode = (tokenizer: BertTokenizer, texts: readonly LabelledText[], signal?: AbortSignal): Promise<Example[]> =>
  mapInSlices(
    texts,
    ([text, labels]) => {
      const { inputIds, tokenTypeIds } = tokenizer.encode(text, undefined, { truncation: true, maxLength: MAX_LENGTH })
      return { inputIds, tokenTypeIds, labels }
    },
    signal,
  )

function createModel({ labels, vocabulary }: DemoData, options: DemoOptions): BertForSequenceClassification {
  const config = new BertConfig({
    ...SHAPE,
    vocabSize: vocabulary.length,
    maxPositionEmbeddings: MAX_LENGTH,
    id2label: { ...labels },
    problemType: 'single_label_classification',
  })
  const { backend, dtype, seed, threads } = options
  return new BertForSequenceClassification(config, { backend, dtype, seed, threads })
}

/** Trains until the end, or throws AbortedError after the step during which Ctrl-C came. Nothing is saved on the way. */
async function train(trainer: Trainer, io: Io, quiet: boolean): Promise<void> {
  const progress = createProgress(io, { quiet })
  try {
    for await (const event of trainer.train()) {
      progress.show(event)
      if (io.signal?.aborted) throw new AbortedError('The demo was stopped')
    }
  } finally {
    progress.stop()
  }
}

/** The three most probable labels, a line each. */
function bars(scores: Record<string, number>): string {
  const best = Object.entries(scores)
    .sort(([, a], [, b]) => b - a)
    .slice(0, 3)
  const lines = best.map(([label, score]) => {
    const bar = '█'.repeat(Math.round(score * 20)).padEnd(20, '·')
    return `    ${bar} ${score.toFixed(2)} ${label.replaceAll('_', ' ')}\n`
  })
  return lines.join('')
}

async function showQuestions(model: BertForSequenceClassification, tokenizer: BertTokenizer, io: Io, json: boolean) {
  const encoded = QUESTIONS.map((text) =>
    tokenizer.encode(text, undefined, { truncation: true, maxLength: MAX_LENGTH }),
  )
  const { logits } = await model.forward({ inputIds: encoded.map((each) => each.inputIds) })
  for (const [row, text] of QUESTIONS.entries()) {
    const prediction = predictionOf(logits, row, model.config)
    if (json) writeJsonLine(io.stdout, { text, ...prediction })
    else if ('label' in prediction) io.stdout.write(`\n  ${text}\n${bars(prediction.scores)}`)
  }
}

async function demo(options: DemoOptions, io: Io): Promise<void> {
  const json = options.json === true
  const say = (text: string): void => {
    if (!json) io.stdout.write(`${text}\n`)
  }
  const started = performance.now()
  const data = await readDemoData()
  const { labels, vocabulary } = data
  const tokenizer = BertTokenizer.fromVocab(vocabulary)
  const [trainDataset, evalDataset] = [
    await encode(tokenizer, data.train, io.signal),
    await encode(tokenizer, data.test, io.signal),
  ]
  using model = createModel(data, options)
  say('bertkit demo: a BERT learns what customers ask their bank (BANKING77, CC BY 4.0)')
  say(
    `${grouped(trainDataset.length)} questions to learn from, ${grouped(evalDataset.length)} to be tested on, ${labels.length} kinds of question`,
  )
  say(
    `${SHAPE.numHiddenLayers} layers of ${SHAPE.hiddenSize}, ${grouped(vocabulary.length)} tokens, random weights; ${options.numTrainEpochs} ${options.numTrainEpochs === 1 ? 'pass' : 'passes'} over the data\n`,
  )
  const trainer = new Trainer({
    model,
    trainDataset,
    evalDataset: {
      data: evalDataset,
      evaluation: () => new SequenceClassificationEvaluation('single_label_classification'),
    },
    args: {
      perDeviceTrainBatchSize: BATCH,
      perDeviceEvalBatchSize: 2 * BATCH,
      learningRate: LEARNING_RATE,
      weightDecay: 0.01,
      warmupSteps: 0.1,
      numTrainEpochs: options.numTrainEpochs,
      seed: options.seed,
      saveStrategy: 'no',
      loggingStrategy: 'epoch',
    },
  })
  await train(trainer, io, json)
  const metrics = await trainer.evaluate()
  const seconds = (performance.now() - started) / 1000
  if (json) writeJsonLine(io.stdout, { ...metrics, seconds })
  say(
    `\nTested on ${grouped(evalDataset.length)} questions it has never seen: ${(100 * metrics.eval_accuracy).toFixed(1)} % right, ${seconds.toFixed(0)} seconds in all.`,
  )
  say(`(Guessing is right in ${(100 / labels.length).toFixed(1)} %.)`)
  await showQuestions(model, tokenizer, io, json)
  if (options.outputDir === undefined) return
  await model.savePretrained(options.outputDir)
  await tokenizer.savePretrained(options.outputDir)
  say(`\nSaved to ${options.outputDir}; try: bertkit predict --model ${options.outputDir}`)
}

export function addDemo(program: Command, io: Io): void {
  const command = program
    .command('demo')
    .description('train a small BERT from scratch on data that comes with bertkit, test it, and show it at work')
    .option('--num-train-epochs <integer>', 'passes over the data', integerOption('--num-train-epochs', 1), 12)
    .option('--seed <integer>', 'seed of weights, dropout and order', integerOption('--seed', 0), 42)
    .option('--output-dir <folder>', 'keep the trained model there')
  addModelOptions(command, { trains: true }).action((options: DemoOptions) => demo(options, io))
}
