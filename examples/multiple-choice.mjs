// BertForMultipleChoice: which ending fits? Each choice is a sequence of its own, and examples may differ in how many they have.
//   node examples/multiple-choice.mjs FOLDER
import { AdamW, BertForMultipleChoice, BertTokenizer } from 'bertkit'

const [folder] = process.argv.slice(2)
const QUESTIONS = [
  ['he was thirsty , so he', ['drank some water', 'read the newspaper', 'closed the window'], 0],
  ['it was dark , so she', ['ate an apple', 'turned on the light'], 1],
]

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForMultipleChoice.fromPretrained(folder)
const encoded = QUESTIONS.map(([start, endings]) => endings.map((ending) => tokenizer.encode(start, ending)))
const inputs = {
  inputIds: encoded.map((choices) => choices.map((choice) => choice.inputIds)),
  tokenTypeIds: encoded.map((choices) => choices.map((choice) => choice.tokenTypeIds)),
}
const optimizer = new AdamW(model.train(), { lr: 1e-4 })
for (let step = 0; step < 15; step++) await optimizer.step({ ...inputs, labels: QUESTIONS.map(([, , label]) => label) })

// one score after another, those of the first question first
const { logits } = await model.eval().forward(inputs)
let at = 0
for (const [start, endings] of QUESTIONS) {
  const scores = [...logits.data.subarray(at, at + endings.length)]
  at += endings.length
  console.log(start, endings[scores.indexOf(Math.max(...scores))])
}
model.dispose()
