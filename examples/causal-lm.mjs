// BertLMHeadModel: trains a decoder on a few lines, with the embeddings frozen, and lets it continue the first words of one.
//   node examples/causal-lm.mjs FOLDER
import { AdamW, BertLMHeadModel, BertTokenizer } from 'bertkit'

const [folder] = process.argv.slice(2)
const LINES = ['the quick brown fox jumps over the lazy dog', 'a stitch in time saves nine']

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertLMHeadModel.fromPretrained(folder, { isDecoder: true })
model.freeze('embeddings').train()
const inputIds = LINES.map((line) => tokenizer.encode(line).inputIds)
const optimizer = new AdamW(model, { lr: 5e-4 })
// labels are the words themselves: the loss compares each with what the words before it predict
for (let step = 0; step < 40; step++) {
  const { loss } = await optimizer.step({ inputIds, labels: inputIds }, { maxGradNorm: 1 })
  if (step % 10 === 0) console.log(`step ${step + 1}: loss ${loss.toFixed(3)}`)
}
const { sequences } = await model
  .eval()
  .generate(
    { inputIds: inputIds.map((ids) => ids.slice(0, 3)) },
    { maxNewTokens: 12, eosTokenId: tokenizer.sepTokenId },
  )
for (const ids of sequences) console.log(tokenizer.decode(ids, { skipSpecialTokens: true }))
model.dispose()
