import { IGNORE_INDEX } from '../../labels.ts'
import type { StepInputs } from '../../session/prepare.ts'
import type { Tensor } from '../../tensor.ts'
import type { ModelBatch } from '../types.ts'

type Rows = readonly (readonly number[])[]

/** [sequences, length of the longest], filled up with `value`. */
function pad(rows: Rows, value: number, batch: readonly number[]): Tensor<Int32Array> {
  const length = rows.reduce((most, row) => Math.max(most, row.length), 0)
  const data = new Int32Array(rows.length * length).fill(value)
  for (const [i, row] of rows.entries()) data.set(row, i * length)
  return { data, shape: [...batch, length] }
}

const isNested = (rows: Rows | readonly Rows[]): rows is readonly Rows[] => Array.isArray(rows[0]?.[0])

/**
 * A batch as Transformers' DataCollatorWithPadding and its kin pad it: to the longest, on the right; token types with 0, labels of
 * tokens with -100. Choices become [examples, choices, length].
 */
export function padBatch(
  { attentionMask, inputIds, labels, positionIds, tokenTypeIds, ...positions }: ModelBatch,
  padTokenId: number,
  labelsOfTokens: boolean,
): StepInputs {
  const shape = isNested(inputIds) ? [inputIds.length, inputIds[0].length] : [inputIds.length]
  const rowsOf = (field: Rows | readonly Rows[]): Rows => (isNested(field) ? field.flat() : field)
  const ids = rowsOf(inputIds)
  const seen = attentionMask ? rowsOf(attentionMask) : ids.map((row) => row.map(() => 1))
  return {
    ...positions,
    inputIds: pad(ids, padTokenId, shape) as StepInputs['inputIds'],
    attentionMask: pad(seen, 0, shape) as StepInputs['attentionMask'],
    positionIds: positionIds && (pad(rowsOf(positionIds), 0, shape) as StepInputs['positionIds']),
    tokenTypeIds: tokenTypeIds && (pad(rowsOf(tokenTypeIds), 0, shape) as StepInputs['tokenTypeIds']),
    labels: labels && labelsOfTokens ? pad(labels as Rows, IGNORE_INDEX, shape) : labels,
  }
}
