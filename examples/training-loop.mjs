// The same without the Trainer: an optimiser, a schedule, and gradient accumulation by hand.
//   node examples/training-loop.mjs path/to/all-MiniLM-L6-v2
import { AdamW, BertForSequenceClassification, BertTokenizer, getLinearScheduleWithWarmup } from 'bertkit'

const [folder] = process.argv.slice(2)
const STEPS = 10

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForSequenceClassification.fromPretrained(folder, { numLabels: 2, seed: 1 })
const ids = (text) => tokenizer.encode(text).inputIds

// A batch is ragged: sequences of any lengths, no padding. A list of batches makes one update, exactly as one large batch would.
const batches = [
  { inputIds: [ids('the acting is superb'), ids('flat jokes and wooden dialogue')], labels: [1, 0] },
  { inputIds: [ids('a warm and honest film')], labels: [1] },
]

const optimizer = new AdamW(model, { lr: 5e-5, weightDecay: 0.01 })
const scheduler = getLinearScheduleWithWarmup(optimizer, 1, STEPS)
model.train()
for (let step = 0; step < STEPS; step++) {
  const { loss, gradNorm } = await optimizer.step(batches, { maxGradNorm: 1 })
  console.log({ step, loss, gradNorm, learningRate: scheduler.getLastLr()[0] })
  scheduler.step()
}
model.dispose()
