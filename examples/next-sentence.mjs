// BertForNextSentencePrediction: does the second sentence follow the first? Trains on pairs and asks about them.
//   node examples/next-sentence.mjs FOLDER
import { AdamW, BertForNextSentencePrediction, BertTokenizer } from 'bertkit'

const [folder] = process.argv.slice(2)
const PAIRS = [
  ['it started to rain', 'we opened our umbrellas', 0],
  ['the oven was hot', 'she put the bread in', 0],
  ['it started to rain', 'the bank raised its rates', 1],
  ['the oven was hot', 'his bicycle has two wheels', 1],
]

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForNextSentencePrediction.fromPretrained(folder)
const encoded = PAIRS.map(([first, second]) => tokenizer.encode(first, second))
const inputs = {
  inputIds: encoded.map((each) => each.inputIds),
  tokenTypeIds: encoded.map((each) => each.tokenTypeIds),
}
const optimizer = new AdamW(model.train(), { lr: 1e-4 })
for (let step = 0; step < 15; step++) await optimizer.step({ ...inputs, labels: PAIRS.map(([, , label]) => label) })

const { logits } = await model.eval().forward(inputs)
for (const [i, [first, second]] of PAIRS.entries()) {
  const follows = 1 / (1 + Math.exp(logits.data[2 * i + 1] - logits.data[2 * i]))
  console.log(`${(100 * follows).toFixed(0)} % ${first} -> ${second}`)
}
model.dispose()
