// Continues a text with a BERT that was trained as a decoder: greedy search, tokens as they come, and the best beams.
//   node examples/generate.mjs FOLDER "the first words"
// Any BERT folder loads, but one that was trained to see both sides of a token, such as bert-base-uncased, writes no sense.
import { BertLMHeadModel, BertTokenizer } from 'bertkit'

const [folder, text = 'once upon a time'] = process.argv.slice(2)
const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertLMHeadModel.fromPretrained(folder, { isDecoder: true })

// [CLS] and the text, without the [SEP] that would end it; the [SEP] that the model writes ends the continuation
const ids = tokenizer.encode(text).inputIds
const [prompt, eosTokenId] = [ids.slice(0, -1), ids.at(-1)]
const inputs = { inputIds: [prompt] }
const continuation = (sequence) => tokenizer.decode(sequence.slice(prompt.length), { skipSpecialTokens: true })

const { sequences } = await model.generate(inputs, { maxNewTokens: 20, eosTokenId })
console.log('greedy:', continuation(sequences[0]))

// the same seed draws the same tokens again
const sampling = { maxNewTokens: 20, eosTokenId, doSample: true, temperature: 0.8, topP: 0.9, seed: 1 }
for await (const { token } of model.generate(inputs, sampling)) console.log('drawn:', tokenizer.decode([token]))

const beams = { maxNewTokens: 20, eosTokenId, numBeams: 4, numReturnSequences: 2, earlyStopping: true }
const best = await model.generate(inputs, beams)
for (const [i, sequence] of best.sequences.entries())
  console.log(`beam, score ${best.sequencesScores[i].toFixed(3)}:`, continuation(sequence))
model.dispose()
