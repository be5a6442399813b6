import { encodeTokens, encodeWords } from '../../data/features/tokens.ts'
import { idsOfLabels, type LabelSet, sortLabels } from '../../data/label-names.ts'
import { type TokenExample, tokenRows } from '../../data/token-classification.ts'
import type { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import { DataError } from '../../errors.ts'
import { quote } from '../../json.ts'
import { argmax, softmax } from '../../scores.ts'
import { BertForTokenClassification } from '../../session/models.ts'
import { entitiesOf, joinWords, type WordsOfText } from '../entities.ts'
import { haveSpans } from '../metrics/spans.ts'
import { TokenClassificationEvaluation } from '../metrics/token-classification.ts'
import { labelsFor, rowOf, windowOutputs, withOneLabel } from './shared.ts'
import type { Task } from './task.ts'

/** Tokens that neighbouring windows of a long sentence share in prediction. */
const STRIDE = 32

/** A sentence to predict; `text` where it was given as one. */
interface Sentence extends TokenExample {
  readonly text?: string
}

/** A word of a row whose first piece is a token of a window. */
interface PlacedWord {
  readonly row: number
  readonly word: number
  readonly token: number
}

interface ScoredWord {
  readonly offset: readonly [number, number]
  readonly tag: string
  readonly score: number
}

/** A tag for each word: names, parts of speech, … */
export function tokenClassification(): Task<Sentence> {
  return {
    name: 'token-classification',
    model: BertForTokenClassification,
    files: '.conll, .conllu, .jsonl, .json or .parquet',
    bestMetric: 'f1',
    // which is of spans
    bestMetricOf: ({ names }) => (haveSpans(names) ? 'f1' : 'accuracy'),
    metrics: ['f1', 'precision', 'recall', 'accuracy'],
    rowsAreExamples: true,
    rows: (source, settings, purpose) => tokenRows(source, { ...withOneLabel(settings), labels: labelsFor(purpose) }),
    collectLabels: () => {
      const names = new Set<string>()
      return {
        names,
        add: ({ tags = [] }) => {
          for (const tag of tags) names.add(tag)
        },
        finish(file) {
          if (names.size < 2)
            throw new DataError(
              `expected at least two different tags, but found ${names.size === 0 ? 'none' : `only ${quote([...names][0])}`}; of .conll the tag is the last column, unless --columns says otherwise`,
              file,
            )
          return { problemType: 'single_label_classification', names: sortLabels(names) }
        },
      }
    },
    labelsOf: (config) => ({ names: config.labels, problemType: 'single_label_classification' }),
    modelFields: (labels) =>
      labels ? { numLabels: labels.names.length, id2label: { ...labels.names }, problemType: null } : {},
    async *examples(rows, { file, labels, maxLength, onFault, tokenizer }) {
      const idOf = idsOfLabels(labels?.names ?? [], onFault)
      const onCut = (): void =>
        onFault?.(`sentences are longer than ${maxLength} tokens; words beyond are neither learnt nor scored`)
      for await (const { file: own = file, line, tags = [], tokens } of rows) {
        const labelId = (tag: string): number => idOf(tag) ?? unknownTag(tag, labels, own, line)
        yield encodeTokens({ tokens, tags }, tokenizer, { maxLength, labelId, onCut })
      }
    },
    evaluation: (_, { labels }) => new TokenClassificationEvaluation(labels?.names ?? []),
    rowOf: (text, line) => ({ text, tokens: [], line }),
    async predict(model, rows, { maxLength, signal, tokenizer }) {
      const sentences = rows.map((row) => wordsOf(row, tokenizer))
      const encoded = sentences.map(({ words }) =>
        encodeWords(words, tokenizer, { maxLength, stride: Math.min(STRIDE, Math.floor((maxLength - 2) / 4)) }),
      )
      const windows = encoded.flatMap((sentence) =>
        sentence.windows.map(({ inputIds }) => ({ inputIds, words: [] as PlacedWord[] })),
      )
      let firstWindow = 0
      for (const [row, sentence] of encoded.entries()) {
        // a word that the tokenizer drops has no piece to be scored
        for (const [word, at] of sentence.words.entries())
          if (at !== null) windows[firstWindow + at.window].words.push({ row, word, token: at.token })
        firstWindow += sentence.windows.length
      }
      const { labels } = model.config
      const scored = sentences.map(({ words }) => new Array<ScoredWord | undefined>(words.length).fill(undefined))
      for await (const { first, outputs, window } of windowOutputs(model, windows, { rows: rows.length, signal }))
        for (const { row, token, word } of window.words) {
          const scores = softmax(rowOf(outputs.logits, first + token))
          const best = argmax(scores)
          scored[row][word] = { offset: sentences[row].place.offsets[word], tag: labels[best], score: scores[best] }
        }
      return sentences.map(({ place, words }, row) => {
        // a word without a piece does not end an entity either
        const seen = scored[row].filter((word) => word !== undefined)
        const entities = entitiesOf(
          { text: place.text, offsets: seen.map(({ offset }) => offset) },
          seen.map(({ tag }) => tag),
          seen.map(({ score }) => score),
        )
        return { entities, tokens: words, tags: scored[row].map((word) => word?.tag ?? outside(labels)) }
      })
    },
  }
}

const outside = (names: readonly string[]): string => (names.includes('O') ? 'O' : names[0])

function unknownTag(tag: string, labels: LabelSet | undefined, file: string, line: number): never {
  const known = (labels?.names ?? []).slice(0, 20).map((name) => quote(name, 30))
  throw new DataError(
    `the tag ${quote(tag)} of this sentence is not one of the model's: ${known.join(', ')}`,
    file,
    line,
  )
}

/** The words to tag, and where they are: given, or those that the tokenizer sees in a text. */
function wordsOf(
  { text, tokens }: Sentence,
  tokenizer: BertTokenizer,
): { words: readonly string[]; place: WordsOfText } {
  if (text === undefined) return { words: tokens, place: joinWords(tokens) }
  const whole = { addSpecialTokens: false, truncation: false, returnOffsets: true }
  const { offsets = [], wordIds } = tokenizer.encode(text, whole)
  const places: [number, number][] = []
  wordIds.forEach((word, i) => {
    if (i > 0 && word === wordIds[i - 1]) places[places.length - 1][1] = offsets[i][1]
    else places.push([offsets[i][0], offsets[i][1]])
  })
  return { words: places.map(([start, end]) => text.slice(start, end)), place: { text, offsets: places } }
}
