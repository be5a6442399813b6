// What several tasks do alike.
import { createMasking } from '../../data/collators/masked-lm.ts'
import type { SequenceExample } from '../../data/features/example.ts'
import { labelColumnOf } from '../../data/label-columns.ts'
import type { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import type { Tensor } from '../../tensor.ts'
import { slices } from '../../turns.ts'
import { collate } from '../dataset.ts'
import type { DataCollator } from '../types.ts'
import type { PredictSettings, Purpose, ReadSettings, TaskModel, TaskOptions } from './task.ts'

/** Whether the readers need labels. */
export const labelsFor = (purpose: Purpose): 'required' | 'ignored' => (purpose === 'predict' ? 'ignored' : 'required')

/** The settings of a task whose examples have one label. Throws ArgumentError where several columns of labels are named. */
export const withOneLabel = ({ labelColumn, ...settings }: ReadSettings) => ({
  ...settings,
  labelColumn: labelColumnOf(labelColumn),
})

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

/** Windows of one forward pass: a long text has many, whose activations together would fill the memory. */
const WINDOWS_AT_ONCE = 16

/** What the model gives for one window. */
interface WindowOutput<Window> {
  readonly window: Window
  /** By name, of several windows: a row for each of their tokens. */
  readonly outputs: Readonly<Record<string, Tensor>>
  /** The rows of this window are [first, end). */
  readonly first: number
  readonly end: number
}

/**
 * Runs the model over windows, as many at a time as there are `rows` in a batch, or 16, and gives what it says of each, in their order.
 * Take from the outputs what is needed: the next windows have others.
 */
export async function* windowOutputs<Window extends Pick<SequenceExample, 'inputIds' | 'tokenTypeIds'>>(
  model: TaskModel,
  windows: readonly Window[],
  { rows = 1, signal }: { readonly rows?: number; readonly signal?: AbortSignal },
): AsyncGenerator<WindowOutput<Window>> {
  const turn = slices()
  const atOnce = Math.max(rows, WINDOWS_AT_ONCE)
  for (let start = 0; start < windows.length; start += atOnce) {
    const some = windows.slice(start, start + atOnce)
    const inputIds = some.map((window) => window.inputIds)
    const tokenTypeIds = some[0].tokenTypeIds && some.map((window) => window.tokenTypeIds ?? [])
    const outputs = (await model.forward({ inputIds, tokenTypeIds }, { signal })) as Record<string, Tensor>
    let first = 0
    for (const window of some) {
      const end = first + window.inputIds.length
      yield { window, outputs, first, end }
      first = end
    }
    await turn()
  }
}

/** Masks words anew in every batch. */
export function maskingCollator(
  tokenizer: BertTokenizer,
  { mlmProbability, wholeWordMask }: Pick<TaskOptions, 'mlmProbability' | 'wholeWordMask'>,
): DataCollator {
  const mask = createMasking(tokenizer, { mlmProbability, wholeWordMask })
  return (examples, randoms) => collate(examples.map((example, i) => mask(example as SequenceExample, randoms[i])))
}
