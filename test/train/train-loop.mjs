// Trains a tiny model, saving a checkpoint after each step and saying so on standard output; continues from the newest one that it
// finds. Somebody kills it. At the end it prints `done` and the SHA-256 of weights, moments and log. Usage: node train-loop.mjs FOLDER
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { BertConfig, BertForSequenceClassification, Trainer } from '../../dist/index.js'

const [outputDir] = process.argv.slice(2)
const config = new BertConfig({
  vocabSize: 30,
  hiddenSize: 64,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  intermediateSize: 128,
  maxPositionEmbeddings: 16,
  numLabels: 2,
})
const trainDataset = Array.from({ length: 60 }, (_, i) => ({
  inputIds: Array.from({ length: 3 + (i % 9) }, (_, j) => 1 + ((i * 7 + j * 3) % 29)),
  labels: i % 2,
}))
const saved = existsSync(outputDir) && readdirSync(outputDir).some((name) => /^checkpoint-\d+(\.old)?$/.test(name))
const model = new BertForSequenceClassification(config, { seed: 3 })
const trainer = new Trainer({
  model,
  trainDataset,
  args: {
    outputDir,
    perDeviceTrainBatchSize: 4,
    numTrainEpochs: 4,
    learningRate: 1e-3,
    saveSteps: 1,
    saveTotalLimit: 2,
    loggingSteps: 3,
    resumeFromCheckpoint: saved,
  },
})
let last = ''
for await (const event of trainer.train()) {
  if (event.type !== 'save') continue
  last = event.checkpoint
  writeSync(1, `saved ${event.step}\n`)
}
// resumed from the last step, nothing is saved again
if (last === '') {
  const steps = readdirSync(outputDir).flatMap((name) => /^checkpoint-(\d+)$/.exec(name)?.[1] ?? [])
  last = path.join(outputDir, `checkpoint-${Math.max(...steps.map(Number))}`)
}
const hash = createHash('sha256')
for (const name of ['model.safetensors', 'optimizer.safetensors']) hash.update(readFileSync(path.join(last, name)))
const { log_history: log } = JSON.parse(readFileSync(path.join(last, 'trainer_state.json'), 'utf8'))
hash.update(JSON.stringify(log.map(({ tokens_per_second: _, ...line }) => line)))
writeSync(1, `done ${hash.digest('hex')}\n`)
