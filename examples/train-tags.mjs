// Fine-tunes a BERT folder on tagged words, and uses the result. Usage: node train-tags.mjs FOLDER TRAIN.conll EVAL.conll
import { BertForTokenClassification, BertTokenizer, pipeline, readTaskData, Trainer } from 'bertkit'

const [folder, trainFile, evalFile] = process.argv.slice(2) // a BERT folder, and two files of tagged words (.conll)
const train = await readTaskData('token-classification', trainFile)
const test = await readTaskData('token-classification', evalFile, { labels: train.labels, purpose: 'evaluate' })
const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForTokenClassification.fromPretrained(folder, train.modelFields)
const [trainDataset, evalDataset] = [await train.encode(tokenizer), await test.encode(tokenizer)]
const args = { outputDir: 'names', learningRate: 5e-5, evalStrategy: 'epoch', saveStrategy: 'no', numTrainEpochs: 3 }
const trainer = new Trainer({ model, args, trainDataset, evalDataset, tokenizer })
for await (const event of trainer.train()) if (event.type === 'evaluate') console.log(event.metrics)

const tag = await pipeline('token-classification', model, { tokenizer, aggregationStrategy: 'simple' })
console.log(await tag('Ada Lovelace was born in London.'))
model.dispose()
