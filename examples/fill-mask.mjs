// BertForMaskedLM: the most likely words for [MASK]. A folder without a masked-language-model head is trained on the sentences first.
//   node examples/fill-mask.mjs FOLDER "the capital of france is [MASK] ."
import { AdamW, BertForMaskedLM, BertTokenizer } from 'bertkit'

const [folder, text = 'the capital of france is [MASK] .'] = process.argv.slice(2)
const SENTENCES = [
  'the capital of france is paris .',
  'the capital of italy is rome .',
  'the capital of spain is madrid .',
]

const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForMaskedLM.fromPretrained(folder)
if (model.loadReport.missing.length > 0) {
  const optimizer = new AdamW(model.train(), { lr: 2e-4 })
  const sentences = SENTENCES.map((sentence) => tokenizer.encode(sentence).inputIds)
  for (let step = 0; step < 30; step++) {
    // one word of each sentence is hidden, another one in each step; the loss is that of the hidden words
    const hidden = sentences.map((ids) => 1 + (step % (ids.length - 2)))
    const inputIds = sentences.map((ids, b) => ids.map((id, t) => (t === hidden[b] ? tokenizer.maskTokenId : id)))
    const labels = sentences.map((ids, b) => ids.map((id, t) => (t === hidden[b] ? id : -100)))
    await optimizer.step({ inputIds, labels }, { maxGradNorm: 1 })
  }
}

const { inputIds } = tokenizer.encode(text)
const { logits } = await model.eval().forward({ inputIds: [inputIds] })
const [, words] = logits.shape
const scores = [...logits.data.subarray(words * inputIds.indexOf(tokenizer.maskTokenId)).subarray(0, words)]
const best = scores.map((score, id) => ({ score, id })).sort((a, b) => b.score - a.score)
for (const { score, id } of best.slice(0, 3)) console.log(score.toFixed(2), tokenizer.convertIdsToTokens([id])[0])
model.dispose()
