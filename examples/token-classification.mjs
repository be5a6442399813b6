// BertForTokenClassification: names in a sentence. Words become several tokens; the first one carries the label, the others -100.
//   node examples/token-classification.mjs FOLDER
import { AdamW, BertForTokenClassification, BertTokenizer } from 'bertkit'

const [folder] = process.argv.slice(2)
const TAGS = ['O', 'PERSON', 'PLACE']
const SENTENCES = [
  ['angela met barack in berlin', 'PERSON O PERSON O PLACE'],
  ['barack flew from chicago to berlin', 'PERSON O O PLACE O PLACE'],
  ['the river in chicago is green', 'O O O PLACE O O'],
].map(([text, tags]) => [text.split(' '), tags.split(' ')])

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForTokenClassification.fromPretrained(folder, { id2label: { ...TAGS } })
const isFirst = ({ wordIds }, t) => wordIds[t] !== null && wordIds[t] !== wordIds[t - 1]
const encoded = SENTENCES.map(([words]) => tokenizer.encode(words))
const inputIds = encoded.map((each) => each.inputIds)
const labels = encoded.map((each, b) =>
  each.wordIds.map((word, t) => (isFirst(each, t) ? TAGS.indexOf(SENTENCES[b][1][word]) : -100)),
)
const optimizer = new AdamW(model.train(), { lr: 2e-4 })
for (let step = 0; step < 15; step++) await optimizer.step({ inputIds, labels })

const words = 'angela walked through berlin'.split(' ')
const one = tokenizer.encode(words)
const { data } = (await model.eval().forward({ inputIds: [one.inputIds] })).logits
for (const [t, word] of one.wordIds.entries()) {
  const scores = data.subarray(t * TAGS.length, (t + 1) * TAGS.length)
  if (isFirst(one, t)) console.log(words[word], model.config.id2label[scores.indexOf(Math.max(...scores))])
}
model.dispose()
