// What the experiments share: one small BERT trained from scratch on ten questions of each of BANKING77's 77 intents, and a file of
// results to which every finished run is appended, so that the same command continues where it was stopped.
import fs from 'node:fs'
import os from 'node:os'
import { AdamW, BertConfig, BertForSequenceClassification, BertTokenizer, describeBackend, Trainer } from 'bertkit'
import { readDemoData } from '../../dist/cli/demo-data.js'

export const SEEDS = [1, 2, 3]

const PER_INTENT = 10
const BATCH = 32
const EPOCHS = 30
/** Mean losses are of this many updates; the test set is asked about as often where a curve needs it. */
const WINDOW = 25
const SHAPE = {
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  intermediateSize: 256,
  maxPositionEmbeddings: 64,
}
/** 0.02, the default, is made for 768 columns; weights of 64 start larger. */
const INITIALIZER_RANGE = 0.1

const rounded = (value) => Number(value.toPrecision(4))

/** The first PER_INTENT questions of each intent, in the order of the data. */
function fewOfEach(examples) {
  const taken = new Map()
  return examples.filter(([, label]) => {
    taken.set(label, (taken.get(label) ?? 0) + 1)
    return taken.get(label) <= PER_INTENT
  })
}

async function readData() {
  const { labels, vocabulary, train, test } = await readDemoData()
  const tokenizer = BertTokenizer.fromVocab(vocabulary)
  const encode = ([text, label]) => {
    const { inputIds } = tokenizer.encode(text, undefined, { truncation: true, maxLength: SHAPE.maxPositionEmbeddings })
    return { inputIds, labels: label }
  }
  const config = {
    ...SHAPE,
    vocabSize: vocabulary.length,
    id2label: { ...labels },
    initializerRange: INITIALIZER_RANGE,
  }
  return { config, train: fewOfEach(train).map(encode), test: test.map(encode) }
}

function accuracyOf({ logits, labels }) {
  const [examples, classes] = logits.shape
  let right = 0
  for (let i = 0; i < examples; i++) {
    const row = logits.data.subarray(i * classes, (i + 1) * classes)
    if (row.indexOf(Math.max(...row)) === labels[i]) right++
  }
  return { accuracy: right / examples }
}

/** The mean of each WINDOW of values, with the step that ends it. */
function windows(values) {
  const means = []
  for (let end = WINDOW; end <= values.length; end += WINDOW) {
    const window = values.slice(end - WINDOW, end)
    means.push([end, rounded(window.reduce((sum, value) => sum + value, 0) / WINDOW)])
  }
  return means
}

/**
 * Trains once. `setting`: { lr, seed }, the Trainer's lrSchedulerType, lrSchedulerKwargs and warmupSteps, and AdamW's weightDecay and
 * decoupledWeightDecay. `evalSteps` asks for the test accuracy on the way, `rates` for the learning rate of
 * every fifth update.
 */
async function train({ config, train, test }, setting, { evalSteps, rates = false }) {
  const { lr, seed, weightDecay = 0, decoupledWeightDecay = true, ...schedule } = setting
  const model = new BertForSequenceClassification(new BertConfig(config), { seed })
  const trainer = new Trainer({
    model,
    optimizer: new AdamW(model, { lr, weightDecay, decoupledWeightDecay }),
    trainDataset: train,
    evalDataset: test,
    computeMetrics: accuracyOf,
    args: {
      ...schedule,
      perDeviceTrainBatchSize: BATCH,
      perDeviceEvalBatchSize: 64,
      learningRate: lr,
      numTrainEpochs: EPOCHS,
      maxGradNorm: 1,
      seed,
      saveStrategy: 'no',
      loggingStrategy: 'no',
      ...(evalSteps && { evalStrategy: 'steps', evalSteps }),
    },
  })
  const started = performance.now()
  const [losses, learningRates, accuracies] = [[], [], []]
  for await (const event of trainer.train()) {
    if (event.type === 'step') {
      losses.push(event.loss)
      if (event.step % 5 === 1) learningRates.push([event.step, rounded(event.learningRate)])
    } else if (event.type === 'evaluate') accuracies.push([event.step, rounded(event.metrics.eval_accuracy)])
  }
  const { eval_accuracy, eval_loss } = await trainer.evaluate()
  model.dispose()
  return {
    accuracy: rounded(eval_accuracy),
    testLoss: rounded(eval_loss),
    losses: windows(losses),
    ...(evalSteps && { accuracies }),
    ...(rates && { learningRates }),
    seconds: rounded((performance.now() - started) / 1000),
  }
}

async function provenance() {
  const { cpu, isa } = await describeBackend()
  const machine = `${cpu}, ${os.cpus().length} CPUs, ${isa}`
  return { machine, date: new Date().toISOString().slice(0, 10) }
}

/** One line for each finished run: { setting, result, machine, date }. */
const readRuns = (file) =>
  fs.existsSync(file)
    ? fs
        .readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line))
    : []

/** Trains what results/<name>.jsonl lacks, and gives the result of each setting, in their order. */
export async function runAll(name, settings, curves = {}) {
  const file = new URL(`results/${name}.jsonl`, import.meta.url)
  const keyOf = (setting) => JSON.stringify(setting)
  const results = new Map(readRuns(file).map(({ setting, result }) => [keyOf(setting), result]))
  const missing = settings.filter((setting) => !results.has(keyOf(setting)))
  const data = await readData()
  const from = await provenance()
  for (const [i, setting] of missing.entries()) {
    const result = await train(data, setting, curves)
    results.set(keyOf(setting), result)
    fs.appendFileSync(file, `${JSON.stringify({ setting, result, ...from })}\n`)
    const accuracy = (100 * result.accuracy).toFixed(1)
    console.log(`${i + 1}/${missing.length} ${keyOf(setting)}: ${accuracy} % right, ${result.seconds.toFixed(1)} s`)
  }
  return settings.map((setting) => results.get(keyOf(setting)))
}

/** Median, least and most of the runs of one setting. */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], least: sorted[0], most: sorted[sorted.length - 1] }
}

/** Of curves [[x, y], …] with the same x: [[x, median, least, most], …]. */
export const medianCurve = (curves) =>
  curves[0].map(([x], i) => {
    const { median, least, most } = summary(curves.map((curve) => curve[i][1]))
    return [x, median, least, most]
  })

export function writeFigure(name, svg) {
  const file = new URL(`figures/${name}.svg`, import.meta.url)
  fs.mkdirSync(new URL('.', file), { recursive: true })
  fs.writeFileSync(file, svg)
  console.log(`wrote docs/experiments/figures/${name}.svg`)
}
