// Tasks on pairs of texts of which the second follows the first or is a random one: next sentence, and pre-training.
import { classificationRows } from '../../data/classification.ts'
import { nextSentencePairs } from '../../data/collators/next-sentence.ts'
import { tokenizedDocuments } from '../../data/features/passages.ts'
import { type Passage, passageRows } from '../../data/passages.ts'
import { formatOfName, type NamedBytes } from '../../data/readers/rows.ts'
import { DataError } from '../../errors.ts'
import { quote } from '../../json.ts'
import { argmax, softmax } from '../../scores.ts'
import { BertForNextSentencePrediction, BertForPreTraining } from '../../session/models.ts'
import { NextSentenceEvaluation, PreTrainingEvaluation } from '../metrics/pre-training.ts'
import type { Example } from '../types.ts'
import { labelsFor, logitsOfPairs, maskingCollator, rowOf, withOneLabel } from './shared.ts'
import type { EncodeSettings, Purpose, ReadSettings, Task, TaskOptions, TaskRow } from './task.ts'

/** A pair that a file has, or a passage that pairs are made of. */
interface PairRow extends TaskRow {
  readonly text: string
  readonly textPair?: string
  readonly label?: number
  readonly document?: number
}

const isPlain = (source: string | NamedBytes, { format }: ReadSettings): boolean =>
  format === 'txt' ||
  (format === undefined && formatOfName(typeof source === 'string' ? source : source.name) === 'txt')

async function* pairRows(
  source: string | NamedBytes,
  settings: ReadSettings,
  purpose: Purpose,
): AsyncGenerator<PairRow> {
  if (isPlain(source, settings)) return yield* passageRows(source, settings)
  const file = typeof source === 'string' ? source : source.name
  const labels = labelsFor(purpose)
  const textPairColumn = settings.textPairColumn ?? 'text_pair'
  for await (const { label, line, text, textPair } of classificationRows(source, {
    ...withOneLabel(settings),
    problemType: 'single_label_classification',
    textPairColumn,
    labels,
  })) {
    if (purpose === 'predict') yield { text, textPair, line }
    else if (label === '0' || label === '1') yield { text, textPair, label: Number(label), line }
    else
      throw new DataError(
        `expected the label to be 0 (it follows) or 1 (a random one) but received ${quote(label)}`,
        file,
        line,
      )
  }
}

/** `first`, and then what is left of an iterator. */
async function* withRest<Item>(first: Item, rest: AsyncIterator<Item>): AsyncGenerator<Item> {
  yield first
  for (let item = await rest.next(); !item.done; item = await rest.next()) yield item.value
}

/** One kind of rows, or a DataError: pairs cannot be made of files that have some. */
async function* ofOneKind(rows: AsyncIterable<PairRow>, file: string): AsyncGenerator<PairRow> {
  let made: boolean | undefined
  for await (const row of rows) {
    made ??= row.document !== undefined
    if (made !== (row.document !== undefined))
      throw new DataError(
        `expected files of one kind, but some have passages (.txt) and others pairs (text, text_pair)`,
        row.file ?? file,
        row.line,
      )
    yield row
  }
}

/** Pairs as the file has them, or made of its passages, by what the first row is. */
async function* pairExamples(
  rows: AsyncIterable<PairRow>,
  { file, maxLength, random, tokenizer }: EncodeSettings,
  shortSeqProb: number | undefined,
): AsyncGenerator<Example> {
  const iterator = ofOneKind(rows, file)[Symbol.asyncIterator]()
  try {
    for (let item = await iterator.next(); !item.done; item = await iterator.next()) {
      const { document, label, text, textPair } = item.value
      if (document !== undefined) {
        const passages = withRest(item.value, iterator) as AsyncIterable<Passage>
        const pairs = nextSentencePairs(tokenizedDocuments(passages, tokenizer), tokenizer, random, {
          maxLength,
          shortSeqProb,
        })
        for await (const { nextSentenceLabel, ...pair } of pairs) yield { ...pair, labels: nextSentenceLabel }
        return
      }
      const { inputIds, tokenTypeIds } = tokenizer.encode(text, textPair, { truncation: true, maxLength })
      yield { inputIds, tokenTypeIds, labels: label }
    }
  } finally {
    await iterator.return(undefined)
  }
}

/** Whether the second text follows the first: label 0, or is a random one: 1. */
export function nextSentence({ shortSeqProb }: TaskOptions): Task<PairRow> {
  return {
    name: 'next-sentence',
    model: BertForNextSentencePrediction,
    files: '.txt, .jsonl, .json, .csv, .tsv or .parquet',
    bestMetric: 'accuracy',
    metrics: ['accuracy'],
    rowsAreExamples: false,
    madeByChance: true,
    rows: pairRows,
    modelFields: () => ({}),
    examples: (rows, settings) => pairExamples(rows, settings, shortSeqProb),
    evaluation: () => new NextSentenceEvaluation(),
    async predict(model, rows, settings) {
      const logits = await logitsOfPairs(model, rows, settings)
      return rows.map((_, row) => {
        const scores = softmax(rowOf(logits, row))
        const label = argmax(scores)
        return { label, score: scores[label] }
      })
    },
  }
}

/** Masked words and next sentence together, as BERT was made. */
export function preTraining(options: TaskOptions): Task<Passage> {
  const { shortSeqProb } = options
  return {
    name: 'pretraining',
    model: BertForPreTraining,
    files: '.txt, .jsonl, .json, .csv, .tsv or .parquet',
    bestMetric: 'loss',
    metrics: ['mlm_accuracy', 'mlm_loss', 'nsp_accuracy', 'nsp_loss'],
    rowsAreExamples: false,
    madeByChance: true,
    rows: (source, settings) => passageRows(source, settings),
    modelFields: () => ({}),
    examples: (rows, { maxLength, random, tokenizer }) =>
      nextSentencePairs(tokenizedDocuments(rows, tokenizer), tokenizer, random, { maxLength, shortSeqProb }),
    collator: ({ tokenizer }) => maskingCollator(tokenizer, options),
    evaluation: () => new PreTrainingEvaluation(),
  }
}
