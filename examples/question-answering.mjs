// BertForQuestionAnswering: the words of a text that answer a question. Offsets turn characters into tokens and back.
//   node examples/question-answering.mjs FOLDER
import { AdamW, BertForQuestionAnswering, BertTokenizer } from 'bertkit'

const [folder] = process.argv.slice(2)
const CONTEXT = 'the bridge was built in 1932 by the city of sydney and painted grey'
const QUESTIONS = [
  ['when was the bridge built ?', '1932'],
  ['who built the bridge ?', 'the city of sydney'],
  ['which colour has the bridge ?', 'grey'],
]

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForQuestionAnswering.fromPretrained(folder, { numLabels: 2 })
const encoded = QUESTIONS.map(([question]) => tokenizer.encode(question, CONTEXT, { returnOffsets: true }))
const inputs = {
  inputIds: encoded.map((each) => each.inputIds),
  tokenTypeIds: encoded.map((each) => each.tokenTypeIds),
}
/** The token of the context that has a character. */
const tokenAt = ({ offsets, sequenceIds }, at) =>
  offsets.findIndex(([start, end], t) => sequenceIds[t] === 1 && start <= at && at < end)
const starts = QUESTIONS.map(([, answer]) => CONTEXT.indexOf(answer))
const startPositions = encoded.map((each, i) => tokenAt(each, starts[i]))
const endPositions = encoded.map((each, i) => tokenAt(each, starts[i] + QUESTIONS[i][1].length - 1))
const optimizer = new AdamW(model.train(), { lr: 2e-4 })
for (let step = 0; step < 40; step++) await optimizer.step({ ...inputs, startPositions, endPositions })

const { startLogits, endLogits } = await model.eval().forward(inputs)
let row = 0
for (const [i, { offsets }] of encoded.entries()) {
  const best = ({ data }) =>
    data.subarray(row, row + offsets.length).reduce((top, z, t, all) => (z > all[top] ? t : top), 0)
  const answer = CONTEXT.slice(offsets[best(startLogits)][0], offsets[best(endLogits)][1])
  row += offsets.length
  console.log(QUESTIONS[i][0], answer)
}
model.dispose()
