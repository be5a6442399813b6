// What the command line and the API know of a task: its model, its data, its metrics, and what it predicts. One task, one file.

import type { LabelColumn } from '../../data/label-columns.ts'
import type { ClassificationProblem, LabelSet } from '../../data/label-names.ts'
import type { NamedBytes, RowFormat } from '../../data/readers/rows.ts'
import type { TextLayout } from '../../data/readers/text.ts'
import type { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import type { BertConfig, BertConfigFields } from '../../model/config.ts'
import type { RandomStream } from '../../random.ts'
import type { FromPretrainedOptions, ModelOptions } from '../../session/options.ts'
import type { StepInputs } from '../../session/prepare.ts'
import type { PreTrainedModel } from '../../session/pretrained.ts'
import type { DataCollator, Evaluation, Example } from '../types.ts'

export const TASK_NAMES = [
  'sequence-classification',
  'token-classification',
  'question-answering',
  'multiple-choice',
  'masked-lm',
  'causal-lm',
  'next-sentence',
  'pretraining',
] as const
export type TaskName = (typeof TASK_NAMES)[number]

/** One raw example: a row of a table, a sentence, a question, a passage. */
export interface TaskRow {
  /** Where it begins in its file, 1-based. */
  readonly line: number
  /** Its file, where there are several. */
  readonly file?: string
}

/** What rows are read for. */
export type Purpose = 'train' | 'evaluate' | 'predict'

/** How a data file is read. */
export interface ReadSettings {
  /** Default: by the name of the file. */
  readonly format?: RowFormat
  /** Names of the columns of a table or of .conll, from the left; `_` skips one. A table needs `header`. */
  readonly columns?: readonly string[]
  readonly header?: boolean
  readonly textColumn?: string
  readonly textPairColumn?: string
  /**
   * Of sequence classification also several columns, a name for each label (whose cells are 0 and 1) or, with problemType 'regression', for
   * each number: a list of names, or with commas between them.
   */
  readonly labelColumn?: LabelColumn
  /** Of Parquet: see `ReadOptions.classNames`. */
  readonly classNames?: readonly string[]
  /** Of plain text: a passage on each line, or paragraphs of several lines; default: lines. */
  readonly textLayout?: TextLayout
  /** Called for a row that is not as the file says, but can be used or left out; `what` tells which kind. */
  readonly onFault?: (what: string) => void
}

/** What a task's own options are; each task reads those that mean something to it. */
export interface TaskOptions {
  /** Of sequence classification: what a label is. Default: one name. */
  readonly problemType?: ClassificationProblem
  /** Of question answering: tokens that neighbouring windows of a long context share; 128, less in short windows. */
  readonly docStride?: number
  /** Of question answering: 30. */
  readonly maxAnswerLength?: number
  /** Of question answering: 20. */
  readonly nBestSize?: number
  /** Of question answering: questions may have no answer (SQuAD 2.0). */
  readonly version2WithNegative?: boolean
  readonly nullScoreDiffThreshold?: number
  /** Of masked language models and pre-training: share of tokens that are predicted; 0.15. */
  readonly mlmProbability?: number
  readonly wholeWordMask?: boolean
  /** Of language models: each passage is a sequence of its own; else passages of a document are joined to full sequences. */
  readonly lineByLine?: boolean
  /** Of next sentence and pre-training: share of pairs with a random, shorter length; 0.1. */
  readonly shortSeqProb?: number
}

/** What turning rows into examples needs. */
export interface EncodeSettings {
  readonly tokenizer: BertTokenizer
  /** In tokens, special ones included. */
  readonly maxLength: number
  /** Of tasks with labels. */
  readonly labels: LabelSet | undefined
  /** Names the data in errors. */
  readonly file: string
  readonly purpose: Purpose
  /** Of tasks that make their examples by chance. */
  readonly random: RandomStream
  /** Called for a row that an example does not have the whole of; `what` tells which kind. Not of streams, which are encoded again. */
  readonly onFault?: (what: string) => void
}

/** What predicting needs besides the model. */
export interface PredictSettings {
  readonly tokenizer: BertTokenizer
  readonly maxLength: number
  readonly signal?: AbortSignal
}

/** Finds the labels of a data set, row by row. */
export interface LabelCollector<Row> {
  add(row: Row): void
  /** Those found so far; none of regression. */
  readonly names: ReadonlySet<string>
  /** Throws DataError where there are too few to learn. */
  finish(file: string): LabelSet
}

/** A model of a class of src/session/models.ts that has a loss. */
export type TaskModel = PreTrainedModel<StepInputs, { readonly loss?: number | null }>

/** Such a class. */
export interface TaskModelClass {
  readonly name: string
  readonly architecture: string
  new (config: BertConfig, options?: ModelOptions): TaskModel
  fromPretrained(nameOrFolder: string, options?: FromPretrainedOptions): Promise<TaskModel>
}

export interface Task<Row extends TaskRow = TaskRow> {
  readonly name: TaskName
  readonly model: TaskModelClass
  /** What a file of it may be called, for messages: '.csv, .tsv or .jsonl'. */
  readonly files: string
  /** The metric that says which evaluation is best, without eval_. */
  readonly bestMetric: string
  /** The same where the labels of the data are known, and it depends on them. */
  bestMetricOf?(labels: LabelSet): string
  /** Names of what is measured, without eval_ and the loss. */
  readonly metrics: readonly string[]
  /** The least `maxLength` that it can use, where that is more than a token between [CLS] and [SEP]. */
  readonly leastLength?: number
  /** Each row is one example: rows can be counted instead of examples, and shuffled before they are tokenised. */
  readonly rowsAreExamples: boolean
  /** Examples are made by chance: others, and not as many, in each epoch. */
  readonly madeByChance?: boolean
  /** The rows of a file, one after another; to predict, without labels. Throws DataError. */
  rows(source: string | NamedBytes, settings: ReadSettings, purpose: Purpose): AsyncIterable<Row>
  /** Of tasks whose labels have names. */
  collectLabels?(): LabelCollector<Row>
  /** The labels of a fine-tuned model. */
  labelsOf?(config: BertConfig): LabelSet
  /** Fields of the config of a model for the task. */
  modelFields(labels: LabelSet | undefined): Partial<Omit<BertConfigFields, 'dtype'>>
  /** Tokenises rows. */
  examples(rows: AsyncIterable<Row>, settings: EncodeSettings): AsyncIterable<Example>
  /** Makes batches where the fields side by side are not enough. */
  collator?(settings: EncodeSettings): DataCollator
  /** The metrics of one evaluation of `examples`, which `examples()` has made. */
  evaluation(examples: readonly Example[], settings: EncodeSettings): Evaluation
  /** A row of a plain text, for prediction; undefined: the task needs more than a text. */
  rowOf?(text: string, line: number): Row
  /** What `predict` writes for each of some rows; undefined: nothing can be predicted. */
  predict?(model: TaskModel, rows: readonly Row[], settings: PredictSettings): Promise<object[]>
}
