// The models, texts and options that test/pipelines compares with Transformers: the same ones for both sides, made from seeds.
//   node test/pipelines/cases.mjs FOLDER     writes models and cases.json, for make_pipelines.py; needs a build
import fs from 'node:fs'
import path from 'node:path'

/** Seeded random numbers (mulberry32). */
function randomNumbers(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit) => Math.floor(next() * limit)
  /** Near enough to N(0, 1), and the same bits everywhere. */
  const normal = () =>
    next() + next() + next() + next() + next() + next() - next() - next() - next() - next() - next() - next()
  return { next, below, normal, pick: (list) => list[below(list.length)] }
}

const WORDS =
  'the a of to and in is was film music city london paris berlin anna peter maria new york river north good bad very play time water day night house work run go see hello world cafe 北京 上海 中国 大学 人民'.split(
    ' ',
  )
const PIECES = 'ing ed er ly ton burg son ville ness est land able re un micro soft'.split(' ')
const SIGNS = [...'.,!?-()\'"$%&:;/']
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz0123456789']
const CHARACTERS = [...'北京上海中国大学人民好𠀀']
const CASED = ['London', 'Paris', 'Anna', 'Peter', 'New', 'York', 'é', 'ö', '##é', 'É', 'İ', '😀', '##😀']

/** A few hundred tokens: words, pieces, letters alone and inside of words, ideographs, an emoji. */
export const VOCABULARY = [
  ...new Set([
    ...['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'],
    ...SIGNS,
    ...LETTERS,
    ...LETTERS.map((letter) => `##${letter}`),
    ...WORDS.filter((word) => word.charCodeAt(0) < 128),
    ...PIECES,
    ...PIECES.map((piece) => `##${piece}`),
    ...CHARACTERS,
    ...CASED,
  ]),
]

const STRANGE = [
  'ж',
  '😎',
  'naïve',
  'Café',
  'İzmir',
  'e\u0301t\u00e9',
  'zo\u0308e',
  '👩‍👩‍👧',
  '𠀀𠀀',
  'hi😀there',
  'ﬁne',
  '\u200b',
  '№',
  '"quoted"',
]

function makeWord({ next, pick, below }) {
  const chance = next()
  if (chance < 0.5) return pick(WORDS)
  if (chance < 0.65) return pick(WORDS) + pick(PIECES)
  if (chance < 0.72) return pick(CASED).replace('##', '')
  if (chance < 0.8) return pick(STRANGE)
  if (chance < 0.86) return pick(SIGNS)
  if (chance < 0.9) return `${pick(WORDS)}${pick(SIGNS)}`
  const word = Array.from({ length: 1 + below(7) }, () => pick(LETTERS)).join('')
  return chance < 0.95 ? word[0].toUpperCase() + word.slice(1) : word
}

const makeWords = (random, most) => Array.from({ length: 1 + random.below(most) }, () => makeWord(random))
const makeText = (random, most = 12) => makeWords(random, most).join(random.next() < 0.1 ? '  ' : ' ')
const FIRST = ['', '   ', '😀', 'é', '[SEP] the [CLS]', 'good '.repeat(40), '北京 is in 中国, 人民!']

/** `count` texts, the first of which are odd ones. */
const texts = (seed, count, most) => {
  const random = randomNumbers(seed)
  return Array.from({ length: count }, (_, i) => FIRST[i] ?? makeText(random, most))
}
const wordLists = (seed, count) => {
  const random = randomNumbers(seed)
  return Array.from({ length: count }, () => makeWords(random, 12))
}
const filled = (list, random) => list.map((text) => (text.trim() === '' ? makeText(random, 6) : text))

/** Texts with one mask or several. */
function masked(seed, count, most) {
  const random = randomNumbers(seed)
  return texts(seed + 1, count, most).map((text) => {
    const words = text.split(' ')
    for (let masks = random.next() < 0.7 ? 1 : 1 + random.below(3); masks > 0; masks--)
      words.splice(random.below(words.length + 1), 0, '[MASK]')
    return words.join(' ')
  })
}

function pairs(seed, count) {
  const [one, two] = [texts(seed, count, 10), texts(seed + 1, count, 10).reverse()]
  return one.map((text, i) => ({ text, textPair: two[i] }))
}

function questions(seed, count, most) {
  const random = randomNumbers(seed)
  return Array.from({ length: count }, () => ({
    question: `${makeText(random, 6)}?`,
    context: ` ${makeText(random, most)} ${random.pick(WORDS)}`,
  }))
}

function similarities(seed, count) {
  const random = randomNumbers(seed)
  return texts(seed + 1, count, 12).map((sourceSentence) => ({
    sourceSentence,
    sentences: Array.from({ length: random.below(4) }, () => makeText(random, 12)),
  }))
}

const LABELS = ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC', 'MISC', 'I-X-Y']
const NLI = ['neutral', 'contradiction', 'Entailment']

/** Class, and how its config differs. */
export const MODELS = {
  'masked-lm': ['BertForMaskedLM', {}],
  classes: ['BertForSequenceClassification', { id2label: { 0: 'bad', 1: 'good', 2: 'so so', 3: '__proto__' } }],
  several: ['BertForSequenceClassification', { numLabels: 3, problemType: 'multi_label_classification' }],
  one: ['BertForSequenceClassification', { numLabels: 1 }],
  regression: ['BertForSequenceClassification', { numLabels: 2, problemType: 'regression' }],
  inference: ['BertForSequenceClassification', { id2label: { ...NLI } }],
  'inference-first': ['BertForSequenceClassification', { id2label: { 0: 'ENTAILMENT', 1: 'x', 2: 'contradiction' } }],
  tokens: ['BertForTokenClassification', { id2label: { ...LABELS } }],
  'tokens-uncased': ['BertForTokenClassification', { id2label: { ...LABELS } }],
  answers: ['BertForQuestionAnswering', {}],
  features: ['BertModel', { hiddenSize: 16 }],
  sentences: ['BertModel', {}],
}

const labels = ['good', 'bad', 'a 北京 film', 'time to go']
const fromWords = { isSplitIntoWords: true, aggregationStrategy: 'first' }
const allAnswers = { topK: 4, handleImpossibleAnswer: true, maxAnswerLen: 5 }

/** Each: a task, a model of MODELS, options of the call, inputs. */
export const CASES = [
  ['fill-mask', 'masked-lm', { topK: 2 }, masked(11, 150, 10)],
  ['fill-mask', 'masked-lm', {}, masked(13, 20, 10)],
  ['fill-mask', 'masked-lm', { targets: ['good', 'London', 'watering', '[UNK]', 'bad'] }, masked(15, 30, 8)],
  [
    'fill-mask',
    'masked-lm',
    { topK: 2, tokenizerKwargs: { truncation: true } },
    masked(17, 10, 100).map((text) => `[MASK] ${text}`),
  ],
  ['text-classification', 'classes', {}, texts(21, 100)],
  ['text-classification', 'classes', { topK: 2 }, pairs(23, 40)],
  ['text-classification', 'classes', { topK: null, truncation: true }, texts(25, 40, 90)],
  ['text-classification', 'classes', { truncation: true, maxLength: 12 }, pairs(27, 20)],
  ['text-classification', 'classes', { functionToApply: 'none', topK: null }, texts(29, 10)],
  ['text-classification', 'several', {}, texts(31, 20)],
  ['text-classification', 'several', { topK: 5 }, texts(33, 20)],
  ['text-classification', 'one', {}, texts(35, 20)],
  ['text-classification', 'regression', { topK: null }, texts(37, 20)],
  ['token-classification', 'tokens', {}, texts(41, 60)],
  ['token-classification', 'tokens', { aggregationStrategy: 'simple' }, texts(43, 60)],
  ['token-classification', 'tokens', { aggregationStrategy: 'first' }, texts(45, 60)],
  ['token-classification', 'tokens-uncased', { aggregationStrategy: 'average', ignoreLabels: [] }, texts(47, 50)],
  [
    'token-classification',
    'tokens-uncased',
    { aggregationStrategy: 'max', ignoreLabels: ['O', 'PER', 'MISC'] },
    texts(49, 60),
  ],
  ['token-classification', 'tokens', { aggregationStrategy: 'simple', stride: 10 }, texts(51, 20, 120)],
  ['token-classification', 'tokens', { aggregationStrategy: 'max', stride: 0 }, texts(53, 10, 120)],
  ['token-classification', 'tokens', fromWords, wordLists(55, 30)],
  ['token-classification', 'tokens', { isSplitIntoWords: true, delimiter: '' }, wordLists(57, 15)],
  [
    'token-classification',
    'tokens',
    { ...fromWords, aggregationStrategy: 'average', stride: 5 },
    wordLists(58, 10).map((words) => Array(8).fill(words).flat()),
  ],
  ['question-answering', 'answers', {}, questions(61, 100, 20)],
  ['question-answering', 'answers', allAnswers, questions(63, 40, 90)],
  ['question-answering', 'answers', { alignToWords: false, topK: 3 }, questions(65, 30, 40)],
  ['question-answering', 'answers', { handleImpossibleAnswer: true }, questions(67, 20, 10)],
  ['question-answering', 'answers', { maxSeqLen: 40, docStride: 6, maxQuestionLen: 4 }, questions(69, 30, 80)],
  ['feature-extraction', 'features', {}, texts(71, 200, 6).map((text) => text.slice(0, 60))],
  ['feature-extraction', 'features', { truncation: true }, texts(73, 6, 100)],
  ['sentence-similarity', 'sentences', {}, similarities(81, 200)],
  ['zero-shot-classification', 'inference', { candidateLabels: labels }, filled(texts(91, 100), randomNumbers(92))],
  [
    'zero-shot-classification',
    'inference',
    { candidateLabels: labels, multiLabel: true },
    filled(texts(93, 60), randomNumbers(94)),
  ],
  [
    'zero-shot-classification',
    'inference-first',
    { candidateLabels: 'a, b,,north', multiLabel: true },
    filled(texts(95, 30), randomNumbers(96)),
  ],
  [
    'zero-shot-classification',
    'inference-first',
    { candidateLabels: ['film'], hypothesisTemplate: 'is it {}?' },
    filled(texts(97, 20), randomNumbers(98)),
  ],
  ['zero-shot-classification', 'classes', { candidateLabels: labels }, filled(texts(99, 20, 100), randomNumbers(100))],
]

/** A value for each parameter: matrices that make scores far from uniform, and biases and scales that matter. */
function weights(state, seed) {
  const random = randomNumbers(seed)
  for (const [name, { data }] of state) {
    const [scale, shift] = /LayerNorm\.weight$/.test(name) ? [0.1, 1] : [/bias$/.test(name) ? 0.1 : 0.35, 0]
    for (let i = 0; i < data.length; i++) data[i] = shift + scale * random.normal()
  }
  return state
}

/** Writes the folder of each of MODELS. `bertkit`: the library. */
export async function writeModels({ BertConfig, BertTokenizer, ...classes }, folder) {
  for (const [i, [name, [className, fields]]] of Object.entries(MODELS).entries()) {
    const config = new BertConfig({
      vocabSize: VOCABULARY.length,
      hiddenSize: 32,
      numHiddenLayers: 2,
      numAttentionHeads: 4,
      intermediateSize: 48,
      maxPositionEmbeddings: 64,
      ...fields,
    })
    const model = new classes[className](config)
    await model.loadStateDict(weights(await model.stateDict(), 1000 + i))
    await model.savePretrained(path.join(folder, name))
    model.dispose()
    const doLowerCase = name === 'tokens-uncased'
    const tokenizer = BertTokenizer.fromVocab(VOCABULARY, { doLowerCase, modelMaxLength: 64 })
    await tokenizer.savePretrained(path.join(folder, name))
  }
}

if (process.argv[1] === import.meta.filename) {
  const folder = process.argv[2]
  await writeModels(await import('bertkit'), folder)
  fs.writeFileSync(path.join(folder, 'cases.json'), JSON.stringify(CASES))
}
