import type { Graph, Value } from '../graph/graph.ts'
import type { BatchValues, Observed } from '../model/bert.ts'
import type { BertConfig } from '../model/config.ts'
import type { ParameterScope } from '../model/parameters.ts'
import type { Tensor } from '../tensor.ts'

/** Labels of a head as users give them. */
export type Labels = readonly number[] | readonly (readonly number[])[] | Tensor<ArrayLike<number>>

/** Labels turned into what the recorded loss reads. */
export interface PreparedLabels {
  /** Distinguishes losses that need different plans, such as 'cross_entropy'. */
  readonly kind: string
  /** One row per sequence; float32 or int32 as the kind wants. */
  readonly data: Float32Array | Int32Array
  /** Elements per sequence. */
  readonly width: number
  /** What each loss term's sum is divided by, counted over this batch; an update adds them up over its micro-batches. */
  readonly denominators: readonly number[]
}

/** Values of one recorded forward, by the output's name in camelCase. */
export interface HeadValues {
  readonly outputs: Readonly<Record<string, Value>>
  /** One number, present when labels are. */
  readonly loss?: Value
}

/** A model class: what its parameters are, what its labels mean, and how it is computed from a batch. One head, one file. */
export interface Head {
  /** What outputs have for rows, for their shapes. */
  readonly outputRows: Readonly<Record<string, 'tokens' | 'sequences'>>
  /** Checks and converts labels; a typed error names the first bad one. Undefined: the class has no loss. */
  prepareLabels?(labels: Labels, sequences: number): PreparedLabels
  record(
    graph: Graph,
    batch: BatchValues,
    labels: { readonly kind: string; readonly value: Value } | undefined,
    observed: Observed,
  ): HeadValues
}

/** Builds a head, declaring its parameters. */
export type HeadConstructor = new (scope: ParameterScope, config: BertConfig) => Head
