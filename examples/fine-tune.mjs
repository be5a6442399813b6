// Fine-tunes a checkpoint on a few sentences with the Trainer and classifies a new one.
//   node examples/fine-tune.mjs path/to/all-MiniLM-L6-v2 [output folder]
import { BertForSequenceClassification, BertTokenizer, Trainer } from 'bertkit'

const [folder, outputDir = 'trainer_output'] = process.argv.slice(2)
const SENTENCES = [
  ['the acting is superb and the story moves', 1],
  ['a warm, funny and honest film', 1],
  ['i would gladly see it again', 1],
  ['two hours that i will never get back', 0],
  ['flat jokes and wooden dialogue', 0],
  ['the plot collapses halfway through', 0],
]

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForSequenceClassification.fromPretrained(folder, { id2label: { 0: 'negative', 1: 'positive' } })
const trainDataset = SENTENCES.map(([text, labels]) => {
  const { inputIds, tokenTypeIds } = tokenizer.encode(text, { truncation: true, maxLength: 128 })
  return { inputIds, tokenTypeIds, labels }
})

const args = { outputDir, numTrainEpochs: 8, perDeviceTrainBatchSize: 3, learningRate: 5e-5, saveStrategy: 'no' }
const trainer = new Trainer({ model, args, trainDataset, tokenizer })
for await (const event of trainer.train()) {
  if (event.type === 'step') console.log(`step ${event.step} of ${event.maxSteps}: loss ${event.loss.toFixed(3)}`)
}

model.eval()
const { inputIds } = tokenizer.encode('what a lovely surprise')
const { logits } = await model.forward({ inputIds: [inputIds] })
console.log(model.config.id2label[logits.data.indexOf(Math.max(...logits.data))], [...logits.data])
await model.savePretrained(outputDir)
await tokenizer.savePretrained(outputDir)
model.dispose()
