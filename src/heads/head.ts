import type { Graph, Value } from '../graph/graph.ts'
import type { BatchValues, Observed } from '../model/batch.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import type { InputTensor } from '../tensor.ts'

/** Labels as users give them: one or several numbers per sequence, or one per token; in a tensor 64-bit integers, too. */
export type Labels = readonly number[] | readonly (readonly number[])[] | InputTensor

/** Inputs that are labels, by the names of Transformers in camelCase; each class knows its own. */
export interface LabelInputs {
  readonly labels?: Labels
  /** BertForPreTraining: 0, the second segment follows the first; 1, it is a random one. [batch] */
  readonly nextSentenceLabel?: Labels
  /** BertForQuestionAnswering: the answer's first and last token, [batch]. */
  readonly startPositions?: Labels
  readonly endPositions?: Labels
}

/** The sequences of an input as they were given, padding included. */
export interface GivenShape {
  readonly sequences: number
  /** Where each sequence starts among all tokens, [sequences + 1]. */
  readonly starts: Int32Array
  /** [batch, length] of a padded input. */
  readonly padded: readonly [number, number] | undefined
  /** In multiple choice: borders of each example's choices among the sequences, [examples + 1]. */
  readonly cuChoices: Int32Array | undefined
}

/** One label input turned into what a recorded loss reads. */
export interface LabelTerm {
  /** sequences: one row each. tokens: one number per given token, -100 for none. examples: one number per example of choices. */
  readonly rows: 'sequences' | 'tokens' | 'examples'
  /** float32 or int32 as the loss wants. */
  readonly data: Float32Array | Int32Array
  /** Elements per row. */
  readonly width: number
}

export interface PreparedLabels {
  /** Distinguishes losses that need different plans, such as 'regression'. */
  readonly kind: string
  /** By the name of the input. */
  readonly terms: Readonly<Record<string, LabelTerm>>
  /** What each loss term's sum is divided by, counted over this batch; an update adds them up over its micro-batches. */
  readonly denominators: readonly number[]
}

/** The labels of a recorded step: values by the name of the input. */
export interface LabelValues {
  readonly kind: string
  readonly values: Readonly<Record<string, Value>>
}

/** An output: all of a value, or one column of it. */
export type HeadOutput = Value | { readonly value: Value; readonly column: number }

/** Values of one recorded forward, by the output's name in camelCase. */
export interface HeadValues {
  readonly outputs: Readonly<Record<string, HeadOutput>>
  /** One number, present when labels are. */
  readonly loss?: Value
}

/** What outputs have for rows, for their shapes; choices: [examples, choices] from a row per sequence. */
export type OutputRows = 'tokens' | 'sequences' | 'choices'

/** Rows of the last hidden state that a loss reads. */
export interface ReadRows {
  /** The first token of each sequence. */
  readonly first?: boolean
  /** Tokens with a label. */
  readonly labelled?: boolean
  /** Every token, also of padding. */
  readonly all?: boolean
}

/** A model class: what its parameters are, what its labels mean, and how it is computed from a batch. One head, one file. */
export interface Head {
  readonly outputRows: Readonly<Record<string, OutputRows>>
  readonly reads: ReadRows
  /** Its last layer can compute some rows alone (`Bert`'s option): not with a causal mask. */
  readonly selective: boolean
  /** Inputs are lists of choices: number[][][], or [batch, choices, length]. */
  readonly takesChoices?: boolean
  /** Names of its label inputs; empty: the class has no loss. */
  readonly labelNames: readonly (keyof LabelInputs)[]
  /** Checks and converts labels; a typed error names the first bad one. Undefined: what was given makes no loss. */
  prepareLabels(labels: LabelInputs, shape: GivenShape): PreparedLabels | undefined
  record(graph: Graph, batch: BatchValues, labels: LabelValues | undefined, observed: Observed): HeadValues
  /** Other names under which a folder may have a parameter, as for tied weights. */
  readonly aliases?: Readonly<Record<string, readonly string[]>>
}

/** Builds a head, declaring its parameters. */
export type HeadConstructor = new (scope: ParameterScope, config: BertConfig) => Head
