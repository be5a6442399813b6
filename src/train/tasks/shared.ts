// What several tasks do alike.
import { createMasking } from '../../data/collators/masked-lm.ts'
import type { SequenceExample } from '../../data/features/example.ts'
import type { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import type { Tensor } from '../../tensor.ts'
import { collate } from '../dataset.ts'
import type { DataCollator } from '../types.ts'
import type { PredictSettings, Purpose, TaskModel, TaskOptions } from './task.ts'

/** Whether the readers need labels. */
export const labelsFor = (purpose: Purpose): 'required' | 'ignored' => (purpose === 'predict' ? 'ignored' : 'required')

/** Row i of a [rows, columns] tensor. */
export const rowOf = ({ data, shape }: Tensor, row: number): Float32Array =>
  data.subarray(row * shape[1], (row + 1) * shape[1])

/** The logits [rows, labels] of texts, or of pairs of them, cut to `maxLength` tokens. */
export async function logitsOfPairs(
  model: TaskModel,
  rows: readonly { readonly text: string; readonly textPair?: string }[],
  { maxLength, signal, tokenizer }: PredictSettings,
): Promise<Tensor> {
  const encodings = rows.map(({ text, textPair }) => tokenizer.encode(text, textPair, { truncation: true, maxLength }))
  const inputIds = encodings.map((encoding) => encoding.inputIds)
  const tokenTypeIds = encodings.map((encoding) => encoding.tokenTypeIds)
  const { logits } = (await model.forward({ inputIds, tokenTypeIds }, { signal })) as { logits: Tensor }
  return logits
}

/** Masks words anew in every batch. */
export function maskingCollator(
  tokenizer: BertTokenizer,
  { mlmProbability, wholeWordMask }: Pick<TaskOptions, 'mlmProbability' | 'wholeWordMask'>,
): DataCollator {
  const mask = createMasking(tokenizer, { mlmProbability, wholeWordMask })
  return (examples, randoms) => collate(examples.map((example, i) => mask(example as SequenceExample, randoms[i])))
}
