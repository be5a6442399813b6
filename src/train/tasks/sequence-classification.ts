import {
  type ClassificationExample,
  classificationRows,
  FlagColumn,
  FlagPairs,
  labelCollector,
  labelEncoder,
} from '../../data/classification.ts'
import { labelColumnsOf } from '../../data/label-columns.ts'
import type { ClassificationProblem, LabelSet } from '../../data/label-names.ts'
import { ConfigError } from '../../errors.ts'
import { quote } from '../../json.ts'
import type { BertConfig } from '../../model/config.ts'
import { argmax, sigmoid, softmax } from '../../scores.ts'
import { BertForSequenceClassification } from '../../session/models.ts'
import type { Tensor } from '../../tensor.ts'
import { SequenceClassificationEvaluation } from '../metrics/sequence-classification.ts'
import { labelsFor, logitsOfPairs, rowOf } from './shared.ts'
import type { ReadSettings, Task, TaskOptions } from './task.ts'

/** What the labels of a saved model mean, also where its config does not say. */
export const problemTypeOf = ({ numLabels, problemType }: BertConfig): ClassificationProblem =>
  problemType ?? (numLabels === 1 ? 'regression' : 'single_label_classification')

/**
 * The names of a model's labels. Throws ConfigError where two are the same: a score by name could not say which of them it is of, nor a
 * labelled file which is meant, and only the probabilities of classes that exclude one another could be added up.
 */
function distinctLabels({ labels }: BertConfig): string[] {
  const ids = new Map<string, number>()
  for (const [id, name] of labels.entries()) {
    const first = ids.get(name)
    if (first !== undefined)
      throw new ConfigError(
        `Expected the labels in id2label of the model's config to have names of their own but ${first} and ${id} are both called ${quote(name)}`,
      )
    ids.set(name, id)
  }
  return labels
}

/** The first is the one that says which evaluation is best. */
const METRICS: Readonly<Record<ClassificationProblem, readonly [string, ...string[]]>> = {
  single_label_classification: ['accuracy', 'f1', 'matthews'],
  multi_label_classification: ['f1_micro', 'f1_macro', 'accuracy'],
  regression: ['pearson', 'spearman', 'mse'],
}

/** One or several labels, or numbers, for a text or a pair of texts. */
export function sequenceClassification({
  labelColumn = 'label',
  problemType: given,
}: TaskOptions & Pick<ReadSettings, 'labelColumn'>): Task<ClassificationExample> {
  const areSeveral = labelColumnsOf(labelColumn, given).names.length > 1
  // until data is read, of which one column may be called as several are written
  const problemType = given ?? (areSeveral ? 'multi_label_classification' : 'single_label_classification')
  const problem = (labels: LabelSet | undefined): ClassificationProblem => labels?.problemType ?? problemType
  return {
    name: 'sequence-classification',
    model: BertForSequenceClassification,
    files: '.csv, .tsv, .jsonl, .json or .parquet',
    bestMetric: METRICS[problemType][0],
    bestMetricOf: (labels) => METRICS[labels.problemType][0],
    metrics: METRICS[problemType],
    rowsAreExamples: true,
    rows: (source, settings, purpose) =>
      classificationRows(source, { ...settings, problemType: given, labels: labelsFor(purpose) }),
    collectLabels: () => labelCollector(given),
    labelsOf: (config) => ({ names: distinctLabels(config), problemType: problemTypeOf(config) }),
    modelFields: (labels) => ({
      ...(labels && { numLabels: labels.names.length, id2label: { ...labels.names } }),
      problemType: problem(labels),
    }),
    async *examples(rows, { file, labels, maxLength, onFault, tokenizer }) {
      const encodeLabel = labels && labelEncoder(labels, file, onFault)
      const pairs = new FlagPairs()
      const column = new FlagColumn()
      for await (const row of rows) {
        pairs.add(row)
        column.add(row)
        const { inputIds, tokenTypeIds } = tokenizer.encode(row.text, row.textPair, { truncation: true, maxLength })
        yield { inputIds, tokenTypeIds, ...(encodeLabel && { labels: encodeLabel(row) }) }
      }
      // of a model of two labels, whose ids such flags may be as well
      const isOfTwo = labels?.problemType === 'multi_label_classification' && labels.names.length === 2
      if (isOfTwo && pairs.areAll({ falling: true })) throw pairs.error(file)
      if (labels?.problemType === 'multi_label_classification' && column.isOneOf(labels.names))
        throw column.error(labels.names, file)
    },
    evaluation: (_, { labels }) => new SequenceClassificationEvaluation(problem(labels)),
    rowOf: (text, line) => ({ text, line }),
    async predict(model, rows, settings) {
      distinctLabels(model.config)
      const logits = await logitsOfPairs(model, rows, settings)
      return rows.map((_, row) => predictionOf(logits, row, model.config))
    },
  }
}

/** What is predicted for one input. */
export type ClassificationPrediction =
  | { readonly label: string; readonly score: number; readonly scores: Record<string, number> }
  | { readonly labels: string[]; readonly scores: Record<string, number> }
  | { readonly score: number }
  | { readonly scores: Record<string, number> }

/** Labels may be called anything, "__proto__" too, which only entries keep as a name. */
const named = (labels: readonly string[], values: readonly number[]): Record<string, number> =>
  Object.fromEntries(labels.map((label, id) => [label, values[id]]))

/** Turns row `row` of the logits [sequences, labels] into labels and scores, as the model's problem type wants. */
export function predictionOf(logits: Tensor, row: number, config: BertConfig): ClassificationPrediction {
  const values = rowOf(logits, row)
  const { labels } = config
  if (config.problemType === 'regression' || config.numLabels === 1) {
    return config.numLabels === 1 ? { score: values[0] } : { scores: named(labels, Array.from(values)) }
  }
  if (config.problemType === 'multi_label_classification') {
    const scores = sigmoid(values)
    return { labels: labels.filter((_, id) => scores[id] > 0.5), scores: named(labels, scores) }
  }
  const scores = softmax(values)
  const best = argmax(scores)
  return { label: labels[best], score: scores[best], scores: named(labels, scores) }
}
