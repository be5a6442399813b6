// BertModel: sentence vectors as the mean of the token vectors, and how alike sentences are.
//   node examples/embed.mjs FOLDER
import { BertModel, BertTokenizer } from 'bertkit'

const [folder] = process.argv.slice(2)
const SENTENCES = ['a cat sits on the sofa', 'a kitten lies on the couch', 'the stock market fell today']

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertModel.fromPretrained(folder)
const inputIds = SENTENCES.map((text) => tokenizer.encode(text).inputIds)
const { lastHiddenState } = await model.forward({ inputIds })

// the rows of all sentences lie one after another: no padding to leave out of the mean
const [, width] = lastHiddenState.shape
let row = 0
const vectors = inputIds.map(({ length }) => {
  const rows = Array.from({ length }, () => lastHiddenState.data.subarray(row * width, ++row * width))
  const sum = Array.from({ length: width }, (_, i) => rows.reduce((total, token) => total + token[i], 0))
  return sum.map((value) => value / Math.hypot(...sum))
})
const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)
for (const b of [1, 2]) console.log(cosine(vectors[0], vectors[b]).toFixed(2), SENTENCES[0], '|', SENTENCES[b])
model.dispose()
