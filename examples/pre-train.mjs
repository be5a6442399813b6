// BertForPreTraining: masked words and next sentences together, on pairs from a few lines of text.
//   node examples/pre-train.mjs FOLDER
import { AdamW, BertForPreTraining, BertTokenizer, getLinearScheduleWithWarmup } from 'bertkit'

const [folder] = process.argv.slice(2)
const LINES = [
  'rain fell on the hills all night',
  'in the morning the river had left its bed',
  'she opened the shop at eight',
  'the first customer wanted bread',
]
const STEPS = 12

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForPreTraining.fromPretrained(folder)
const pair = (a, b) => tokenizer.encode(LINES[a], LINES[b])
const pairs = [pair(0, 1), pair(2, 3), pair(0, 3), pair(2, 1)]
const nextSentenceLabel = [0, 0, 1, 1] // 0: the second follows the first; 1: it is from elsewhere

const optimizer = new AdamW(model.train(), { lr: 1e-4, weightDecay: 0.01 })
const scheduler = getLinearScheduleWithWarmup(optimizer, 2, STEPS)
for (let step = 0; step < STEPS; step++) {
  const isMasked = ({ specialTokensMask }, t) => specialTokensMask[t] === 0 && (t * 5 + step) % 7 === 0
  const batch = {
    inputIds: pairs.map((each) => each.inputIds.map((id, t) => (isMasked(each, t) ? tokenizer.maskTokenId : id))),
    tokenTypeIds: pairs.map((each) => each.tokenTypeIds),
    labels: pairs.map((each) => each.inputIds.map((id, t) => (isMasked(each, t) ? id : -100))),
    nextSentenceLabel,
  }
  const { loss } = await optimizer.step(batch, { maxGradNorm: 1 })
  scheduler.step()
  console.log(`step ${step + 1}: loss ${loss.toFixed(3)}`)
}
model.dispose()
