import { AdamW, BertForSequenceClassification, BertTokenizer } from 'bertkit'

const folder = process.argv[2] // a folder of a BERT model from Hugging Face, such as all-MiniLM-L6-v2
const tokenizer = await BertTokenizer.fromPretrained(folder)
const model = await BertForSequenceClassification.fromPretrained(folder, { numLabels: 2 })
const encode = (...texts) => texts.map((text) => tokenizer.encode(text).inputIds)
const batch = { inputIds: encode('a warm and honest film', 'two hours that i will never get back'), labels: [1, 0] }
const optimizer = new AdamW(model.train(), { lr: 1e-4 })
for (let step = 0; step < 10; step++) console.log(await optimizer.step(batch, { maxGradNorm: 1 }))
console.log((await model.eval().forward({ inputIds: encode('i would gladly see it again') })).logits)
model.dispose()
