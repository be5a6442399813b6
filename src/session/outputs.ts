import type { Value } from '../graph/graph.ts'
import type { Tensor } from '../tensor.ts'
import type { RaggedBatch } from './batch.ts'
import type { RecordedStep } from './plans.ts'
import type { ModelRuntime } from './runtime.ts'

/** Everything that a forward gave, copied out of the model's memory. */
export interface StepOutputs {
  readonly loss: number | null
  readonly tensors: Readonly<Record<string, Tensor>>
  readonly hiddenStates: Tensor[] | undefined
  /** One tensor [batch, A, S, S] a layer for padded input; one [A, L, L] per sequence for ragged input. */
  readonly attentions: (Tensor | Tensor[])[] | undefined
}

/** Reads the kept values of the last run. Token rows take the shape of a padded input, else they stay one after another. */
export function readOutputs(
  runtime: ModelRuntime,
  step: RecordedStep,
  batch: RaggedBatch,
  outputRows: Readonly<Record<string, 'tokens' | 'sequences'>>,
  heads: number,
): StepOutputs {
  const tokenTensor = (value: Value): Tensor => ({
    data: runtime.readOutput(value, batch.tokens * value.width),
    shape: [...(batch.padded ?? [batch.tokens]), value.width],
  })
  const sequenceTensor = (value: Value): Tensor => ({
    data: runtime.readOutput(value, batch.sequences * value.width),
    shape: [batch.sequences, value.width],
  })
  const attention = (value: Value): Tensor | Tensor[] => {
    const data = runtime.readOutput(value, batch.pairs * heads)
    if (batch.padded) return { data, shape: [batch.padded[0], heads, batch.padded[1], batch.padded[1]] }
    let at = 0
    return Array.from({ length: batch.sequences }, (_, b) => {
      const length = batch.cuSeqlens[b + 1] - batch.cuSeqlens[b]
      const start = at
      at += heads * length * length
      return { data: data.slice(start, at), shape: [heads, length, length] }
    })
  }
  return {
    loss: step.loss ? runtime.readOutput(step.loss, 1)[0] : null,
    tensors: Object.fromEntries(
      Object.entries(step.outputs).map(([name, value]) => [
        name,
        outputRows[name] === 'tokens' ? tokenTensor(value) : sequenceTensor(value),
      ]),
    ),
    hiddenStates: step.hiddenStates.length ? step.hiddenStates.map(tokenTensor) : undefined,
    attentions: step.attentions.length ? step.attentions.map(attention) : undefined,
  }
}
