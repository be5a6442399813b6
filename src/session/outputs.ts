import type { Value } from '../graph/graph.ts'
import type { HeadOutput, OutputRows } from '../heads/head.ts'
import type { Tensor } from '../tensor.ts'
import type { RaggedBatch } from './batch.ts'
import type { RecordedStep } from './plans.ts'
import type { ModelRuntime } from './runtime.ts'

export interface Observations {
  /** With outputHiddenStates: the embeddings' output and each layer's. */
  hiddenStates?: Tensor[]
  /** With outputAttentions: [batch, A, S, S] a layer for padded input, one [A, L, L] per sequence for ragged input. */
  attentions?: (Tensor | Tensor[])[]
}

export interface CrossObservations extends Observations {
  /** With outputAttentions and an encoder's states: [batch, A, S, keys] a layer, or one [A, L, keys] per sequence. */
  crossAttentions?: (Tensor | Tensor[])[]
}

export interface Loss {
  /** null without labels; 0 where every label is -100. */
  loss: number | null
}

/** Everything that a forward gave, copied out of the model's memory. */
export interface StepOutputs {
  readonly loss: number | null
  readonly tensors: Readonly<Record<string, Tensor>>
  readonly hiddenStates: Tensor[] | undefined
  /** One tensor [batch, A, S, S] a layer for padded input; one [A, L, L] per sequence for ragged input. */
  readonly attentions: (Tensor | Tensor[])[] | undefined
  /** The same over the encoder's rows: [batch, A, S, keys] or [A, L, keys]. */
  readonly crossAttentions: (Tensor | Tensor[])[] | undefined
}

/**
 * Reads the kept values of the last run. Token rows take the shape of a padded input, else they stay one after another;
 * `labelledRows`: how many outputs of tokens have, where those are of the labelled tokens alone.
 */
export function readOutputs(
  runtime: ModelRuntime,
  step: RecordedStep,
  batch: RaggedBatch,
  labelledRows: number | undefined,
  outputRows: Readonly<Record<string, OutputRows>>,
  heads: number,
): StepOutputs {
  const { sequences, cuSeqlens, cuChoices, encoder } = batch
  const tokenShape = batch.padded ?? [batch.tokens]
  const tokenTensor = (value: Value): Tensor => ({
    data: runtime.readOutput(value, batch.tokens * value.width),
    shape: [...tokenShape, value.width],
  })
  /** [examples, choices], or one row after another where examples differ in their number of choices. */
  const choiceShape = (): number[] => {
    const counts = Array.from(cuChoices!.subarray(1), (end, i) => end - cuChoices![i])
    return counts.every((count) => count === counts[0]) ? [counts.length, counts[0]] : [sequences]
  }
  const output = (name: string, given: HeadOutput): Tensor => {
    const rows = outputRows[name]
    const value = 'column' in given ? given.value : given
    const { data, shape } =
      rows === 'tokens'
        ? labelledRows === undefined
          ? tokenTensor(value)
          : labelledTensor(value, labelledRows)
        : {
            data: runtime.readOutput(value, sequences * value.width),
            shape: rows === 'choices' ? choiceShape() : [sequences, value.width],
          }
    if (!('column' in given)) return { data, shape }
    return { data: data.filter((_, i) => i % value.width === given.column), shape: shape.slice(0, -1) }
  }
  const labelledTensor = (value: Value, rows: number): Tensor => ({
    data: runtime.readOutput(value, rows * value.width),
    shape: [rows, value.width],
  })
  const probabilities = (value: Value, cuKeys: Int32Array, paddedKeys: number | undefined): Tensor | Tensor[] => {
    const sizes = Array.from({ length: sequences }, (_, b) => [
      cuSeqlens[b + 1] - cuSeqlens[b],
      cuKeys[b + 1] - cuKeys[b],
    ])
    const data = runtime.readOutput(value, heads * sizes.reduce((sum, [queries, keys]) => sum + queries * keys, 0))
    if (batch.padded && paddedKeys !== undefined)
      return { data, shape: [sequences, heads, batch.padded[1], paddedKeys] }
    let at = 0
    return sizes.map(([queries, keys]) => {
      const start = at
      at += heads * queries * keys
      return { data: data.slice(start, at), shape: [heads, queries, keys] }
    })
  }
  const { hiddenStates, attentions, crossAttentions } = step
  return {
    loss: step.loss ? runtime.readOutput(step.loss, 1)[0] : null,
    tensors: Object.fromEntries(Object.entries(step.outputs).map(([name, given]) => [name, output(name, given)])),
    hiddenStates: hiddenStates.length ? hiddenStates.map(tokenTensor) : undefined,
    attentions: attentions.length
      ? attentions.map((value) => probabilities(value, cuSeqlens, batch.padded?.[1]))
      : undefined,
    crossAttentions: crossAttentions.length
      ? crossAttentions.map((value) => probabilities(value, encoder!.cuKeys, encoder!.padded?.[1]))
      : undefined,
  }
}
