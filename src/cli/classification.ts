// Between data files and a sequence classifier: what train, evaluate and predict share.
import {
  type ClassificationExample,
  type ClassificationExamples,
  type ClassificationProblem,
  encodeLabels,
  type LabelSet,
  readClassificationExamples,
} from '../data/classification.ts'
import type { NamedBytes } from '../data/readers/rows.ts'
import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { UsageError, WeightsError } from '../errors.ts'
import type { BertConfig } from '../model/config.ts'
import { BertForSequenceClassification } from '../session/models.ts'
import { classificationMetrics } from '../train/metrics.ts'
import { mapInSlices } from '../train/slices.ts'
import type { ComputeMetrics, Example } from '../train/types.ts'
import { hubOptions } from './hub.ts'
import type { Io } from './io.ts'
import type { DataOptions, ModelOptions } from './options.ts'

/** The metric that says which evaluation is best, without the eval_ prefix; greater is better for each. */
export const HEADLINE_METRIC = {
  single_label_classification: 'accuracy',
  multi_label_classification: 'f1_micro',
  regression: 'pearson',
} as const satisfies Record<ClassificationProblem, string>

/** What the labels of a saved model mean, also where its config does not say. */
export const problemTypeOf = ({ numLabels, problemType }: BertConfig): ClassificationProblem =>
  problemType ?? (numLabels === 1 ? 'regression' : 'single_label_classification')

export const labelSetOf = (config: BertConfig): LabelSet => ({
  names: config.labels,
  problemType: problemTypeOf(config),
})

export const metricsFor =
  (problemType: ClassificationProblem): ComputeMetrics =>
  ({ labels, logits }) =>
    classificationMetrics(problemType, logits, labels.flat())

/** Reads a data file as the command line says. `labels`: whether a label column is needed. */
export function readData(
  source: string | NamedBytes,
  options: DataOptions,
  labels: 'required' | 'ignored',
  problemType?: ClassificationProblem,
): Promise<ClassificationExamples> {
  const columns = options.columns?.split(',').map((name) => name.trim())
  return readClassificationExamples(source, {
    format: options.fileFormat,
    columns,
    header: columns === undefined ? undefined : options.header,
    textColumn: options.textColumn,
    textPairColumn: options.textPairColumn,
    labelColumn: options.labelColumn,
    problemType,
    labels,
  })
}

/** The longest sequence to feed to a model, in tokens. Throws UsageError where more is asked for than it has positions. */
export function maxLengthOf({ maxLength }: DataOptions, { maxPositionEmbeddings }: BertConfig): number {
  if (maxLength === undefined || maxLength <= maxPositionEmbeddings) return maxLength ?? maxPositionEmbeddings
  throw new UsageError(
    `Expected --max-length to be at most ${maxPositionEmbeddings}, the model's, but received ${maxLength}`,
  )
}

/** Tokenises texts, cut to `maxLength` tokens, without holding the event loop. */
export function encodeTexts(
  texts: readonly ClassificationExample[],
  tokenizer: BertTokenizer,
  maxLength: number,
  signal?: AbortSignal,
): Promise<Example[]> {
  return mapInSlices(
    texts,
    ({ text, textPair }) => {
      const { inputIds, tokenTypeIds } = tokenizer.encode(text, textPair, { truncation: true, maxLength })
      return { inputIds, tokenTypeIds }
    },
    signal,
  )
}

/** Tokenises texts and turns their labels into ids or numbers. Throws DataError, with its line, for an unknown label. */
export async function encodeLabelled(
  data: ClassificationExamples,
  labelSet: LabelSet,
  tokenizer: BertTokenizer,
  maxLength: number,
  signal?: AbortSignal,
): Promise<Example[]> {
  const labels = encodeLabels(data, labelSet)
  const examples = await encodeTexts(data.examples, tokenizer, maxLength, signal)
  return examples.map((example, row) => ({ ...example, labels: labels[row] }))
}

export interface Classifier {
  readonly model: BertForSequenceClassification
  readonly tokenizer: BertTokenizer
}

/** Opens a fine-tuned model: a folder or a Hub id. */
export async function openClassifier(nameOrFolder: string, options: ModelOptions, io: Io): Promise<Classifier> {
  const { backend, dtype, threads } = options
  const hub = hubOptions(options, io)
  const model = await BertForSequenceClassification.fromPretrained(nameOrFolder, { ...hub, backend, dtype, threads })
  const { missing = [] } = model.loadReport ?? {}
  if (missing.length > 0) {
    model.dispose()
    throw new WeightsError(
      `${nameOrFolder}: expected a fine-tuned BertForSequenceClassification but it has no ${missing[0]}: train one with bertkit train --model ${nameOrFolder}`,
    )
  }
  return { model, tokenizer: await BertTokenizer.fromPretrained(nameOrFolder, hub) }
}
