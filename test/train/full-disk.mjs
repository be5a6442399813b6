// Trains onto a disk that has room for one checkpoint, and prints what came of it. Needs `npm run build`. Usage: node full-disk.mjs FOLDER
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { BertConfig, BertForSequenceClassification, Trainer } from '../../dist/index.js'

const [folder] = process.argv.slice(2)
const config = new BertConfig({
  vocabSize: 1000,
  hiddenSize: 128,
  numHiddenLayers: 1,
  numAttentionHeads: 2,
  intermediateSize: 128,
  maxPositionEmbeddings: 16,
})
const trainDataset = Array.from({ length: 8 }, (_, i) => ({ inputIds: [1, 2 + i, 3], labels: i % 2 }))
const model = new BertForSequenceClassification(config, { seed: 3 })
const args = { outputDir: folder, perDeviceTrainBatchSize: 4, maxSteps: 4, saveSteps: 1, learningRate: 1e-3 }
const saved = []
let error
try {
  for await (const event of new Trainer({ model, trainDataset, args }).train())
    if (event.type === 'save') saved.push(path.basename(event.checkpoint))
} catch (reason) {
  error = { name: reason.name, errno: reason.errno }
}
const left = readdirSync(folder).sort()
const resumed = new Trainer({ model, trainDataset, args: { ...args, saveStrategy: 'no', resumeFromCheckpoint: true } })
const { globalStep } = await resumed.train()
console.log(JSON.stringify({ error, saved, left, globalStep }))
