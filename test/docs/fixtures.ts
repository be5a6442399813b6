// What the programs and commands of the pages find in their folder: models and data files, small enough to train in a second.
import fs from 'node:fs'
import path from 'node:path'
import * as bertkit from '../../src/index.ts'

const lines = (...all: readonly string[]): string => `${all.join('\n')}\n`
const times = <Item>(count: number, items: readonly Item[]): Item[] => Array.from({ length: count }, () => items).flat()

const GOOD = [
  'a warm and honest film',
  'i would gladly see it again',
  'the acting is superb',
  'funny from start to end',
]
const BAD = [
  'two hours that i will never get back',
  'flat jokes and wooden dialogue',
  'the plot collapses',
  'dull and long',
]
const REVIEWS = [...GOOD.map((text) => [text, 'positive']), ...BAD.map((text) => [text, 'negative'])]
const TAGGED = [
  ['Ada O Lovelace O was O born O in O London B-LOC', 'B-PER I-PER'],
  ['Alan O Turing O worked O in O Manchester B-LOC', 'B-PER I-PER'],
].map(([sentence, names]) => {
  const words = sentence.split(' ')
  const pairs = words.flatMap((word, i) => (i % 2 === 0 ? [[word, words[i + 1]]] : []))
  return pairs.map(([word, tag], i) => `${word}\t${names.split(' ')[i] ?? tag}`).join('\n')
})
const CONTEXT = 'The bridge was built in 1932 by the city of Sydney and painted grey.'
const question = (id: string, text: string, answer: string) => ({
  id,
  question: text,
  answers: answer === '' ? [] : [{ text: answer, answer_start: CONTEXT.indexOf(answer) }],
  ...(answer === '' && { is_impossible: true }),
})
const squad = (...questions: object[]): string =>
  JSON.stringify({ version: 'v2.0', data: [{ title: 'bridges', paragraphs: [{ context: CONTEXT, qas: questions }] }] })
const WHEN = question('1', 'When was the bridge built?', '1932')
const WHO = question('2', 'Who built the bridge?', 'the city of Sydney')
const COLOURS = { context: 'He was thirsty.', question: 'So he', choices: ['drank water', 'read a book'], label: 0 }
const CORPUS = times(6, [
  lines('rain fell on the hills all night', 'in the morning the river had left its bed', 'the road was under water'),
  lines('she opened the shop at eight', 'the first customer wanted bread', 'by nine there was none left'),
]).join('\n')

const FILES: Readonly<Record<string, string>> = {
  'train.csv': lines('text,label', ...times(2, REVIEWS).map(String)),
  'dev.csv': lines('text,label', ...REVIEWS.map(String)),
  'test.csv': lines('text,label', ...REVIEWS.map(String)),
  'new.csv': lines('text', 'what a lovely surprise'),
  'pairs.csv': lines(
    'text,text_pair,label',
    ...times(4, ['a cat sleeps,an animal rests,same', 'a cat sleeps,it rains,other']),
  ),
  'ratings.csv': lines('text,label', ...REVIEWS.map(([text, label]) => `${text},${label === 'positive' ? 4.5 : 1}`)),
  'topics.csv': lines('text,label', ...times(4, ['"the striker was hurt","sport,health"', 'rates rise again,economy'])),
  'train.conll': `${times(4, TAGGED).join('\n\n')}\n`,
  'dev.conll': `${TAGGED.join('\n\n')}\n`,
  'new.txt': lines('Ada Lovelace was born in London.'),
  'train-v1.1.json': squad(WHEN, WHO),
  'dev-v1.1.json': squad(WHEN),
  'train-v2.0.json': squad(WHEN, WHO, question('3', 'Who painted the moon?', '')),
  'dev-v2.0.json': squad(WHEN, question('3', 'Who painted the moon?', '')),
  'questions.jsonl': lines(JSON.stringify({ question: WHEN.question, context: CONTEXT })),
  'choices.jsonl': lines(...times(8, [JSON.stringify(COLOURS)])),
  'sentence-pairs.jsonl': lines(
    ...times(4, [
      JSON.stringify({ text: 'it rained', text_pair: 'we opened our umbrellas', label: 0 }),
      JSON.stringify({ text: 'it rained', text_pair: 'the bank raised its rates', label: 1 }),
    ]),
  ),
  'corpus.txt': CORPUS,
  'held-out.txt': CORPUS,
  'book.txt': CORPUS.replaceAll('\n\n', '\n\n\n').replaceAll(' the ', '\nthe '),
}

/** What every class of models has of this. */
type Model = Pick<bertkit.BertModel, 'dispose' | 'savePretrained'>

/** Small models with the vocabulary of MiniLM, a folder for each, named as the pages name them. */
export async function makeModels(folder: string, vocabulary: string): Promise<void> {
  const tokenizer = await bertkit.BertTokenizer.fromPretrained(vocabulary)
  const size = { vocabSize: tokenizer.vocabSize, hiddenSize: 16, numHiddenLayers: 2, numAttentionHeads: 2 }
  const config = new bertkit.BertConfig({ ...size, intermediateSize: 32, maxPositionEmbeddings: 128 })
  const save = async (name: string, model: Model) => {
    await model.savePretrained(path.join(folder, name))
    await tokenizer.savePretrained(path.join(folder, name))
    model.dispose()
  }
  await save('bert', new bertkit.BertForPreTraining(config))
  const labelled = (...labels: string[]) => config.with({ id2label: { ...labels } })
  await save('reviews-model', new bertkit.BertForSequenceClassification(labelled('negative', 'positive')))
  await save('nli-model', new bertkit.BertForSequenceClassification(labelled('entailment', 'neutral', 'contradiction')))
  await save('names-model', new bertkit.BertForTokenClassification(labelled('O', 'B-PER', 'I-PER', 'B-LOC')))
  await save('qa-model', new bertkit.BertForQuestionAnswering(config))
  await save('words-model', new bertkit.BertForMaskedLM(config))
  await save('decoder', new bertkit.BertLMHeadModel(config.with({ isDecoder: true })))
}

/** A folder for the blocks of a page: the data files, and the models of `models` under their names. */
export function makeFolder(folder: string, models: Readonly<Record<string, string>>): void {
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { recursive: true })
  for (const [name, text] of Object.entries(FILES)) fs.writeFileSync(path.join(folder, name), text)
  for (const [name, target] of Object.entries(models)) fs.symlinkSync(target, path.join(folder, name), 'junction')
}
