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
export async function readOutputs(
  runtime: ModelRuntime,
  step: RecordedStep,
  batch: RaggedBatch,
  labelledRows: number | undefined,
  outputRows: Readonly<Record<string, OutputRows>>,
  heads: number,
): Promise<StepOutputs> {
  const { sequences, cuSeqlens, cuChoices, encoder } = batch
  const tokenShape = batch.padded ?? [batch.tokens]
  const read = async (value: Value, rows: number, shape: readonly number[]): Promise<Tensor> => ({
    data: await runtime.readOutput(value, rows * value.width),
    shape: [...shape, value.width],
  })
  const tokenTensor = (value: Value): Promise<Tensor> => read(value, batch.tokens, tokenShape)
  /** [examples, choices], or one row after another where examples differ in their number of choices. */
  const choiceShape = (): number[] => {
    const counts = Array.from(cuChoices!.subarray(1), (end, i) => end - cuChoices![i])
    return counts.every((count) => count === counts[0]) ? [counts.length, counts[0]] : [sequences]
  }
  const rowTensor = async (value: Value, rows: OutputRows): Promise<Tensor> => {
    if (rows === 'tokens')
      return labelledRows === undefined ? tokenTensor(value) : read(value, labelledRows, [labelledRows])
    const tensor = await read(value, sequences, [sequences])
    return rows === 'choices' ? { ...tensor, shape: choiceShape() } : tensor
  }
  const output = async (name: string, given: HeadOutput): Promise<Tensor> => {
    if (!('column' in given)) return rowTensor(given, outputRows[name])
    const { data, shape } = await rowTensor(given.value, outputRows[name])
    return { data: data.filter((_, i) => i % given.value.width === given.column), shape: shape.slice(0, -1) }
  }
  const probabilities = async (
    value: Value,
    cuKeys: Int32Array,
    paddedKeys: number | undefined,
  ): Promise<Tensor | Tensor[]> => {
    const sizes = Array.from({ length: sequences }, (_, b) => [
      cuSeqlens[b + 1] - cuSeqlens[b],
      cuKeys[b + 1] - cuKeys[b],
    ])
    const elements = heads * sizes.reduce((sum, [queries, keys]) => sum + queries * keys, 0)
    const data = await runtime.readOutput(value, elements)
    if (batch.padded && paddedKeys !== undefined)
      return { data, shape: [sequences, heads, batch.padded[1], paddedKeys] }
    let at = 0
    return sizes.map(([queries, keys]) => {
      const start = at
      at += heads * queries * keys
      return { data: data.slice(start, at), shape: [heads, queries, keys] }
    })
  }
  // asked for all at once: a worker answers them one after another
  const all = <Result>(values: readonly Value[], each: (value: Value) => Promise<Result>) =>
    values.length > 0 ? Promise.all(values.map(each)) : undefined
  const [loss, tensors, hiddenStates, attentions, crossAttentions] = await Promise.all([
    step.loss && runtime.readOutput(step.loss, 1),
    Promise.all(Object.entries(step.outputs).map(async ([name, given]) => [name, await output(name, given)] as const)),
    all(step.hiddenStates, tokenTensor),
    all(step.attentions, (value) => probabilities(value, cuSeqlens, batch.padded?.[1])),
    all(step.crossAttentions, (value) => probabilities(value, encoder!.cuKeys, encoder!.padded?.[1])),
  ])
  return {
    loss: loss ? loss[0] : null,
    tensors: Object.fromEntries(tensors),
    hiddenStates,
    attentions,
    crossAttentions,
  }
}
