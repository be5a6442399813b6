import { ArgumentError } from '../errors.ts'
import type { Example, ModelBatch } from './types.ts'

/** Throws ArgumentError, naming the row, where the examples do not agree on having labels and token types. */
export function checkExamples(name: string, examples: readonly Example[]): void {
  const first = examples[0]
  if (first === undefined) throw new ArgumentError(`Expected ${name} to hold at least one example but it is empty`)
  for (const field of ['labels', 'tokenTypeIds'] as const) {
    const expected = first[field] !== undefined
    const odd = examples.findIndex((example) => (example[field] !== undefined) !== expected)
    if (odd === -1) continue
    const [having, lacking] = expected ? [0, odd] : [odd, 0]
    throw new ArgumentError(
      `Expected every or no example of ${name} to have ${field} but example ${having} has them and example ${lacking} does not`,
    )
  }
}

const isVector = (labels: readonly (number | number[])[]): labels is number[][] => Array.isArray(labels[0])

/** The labels of all examples, or undefined where they have none. */
export function labelsOf(examples: readonly Example[]): number[] | number[][] | undefined {
  if (examples[0]?.labels === undefined) return undefined
  const labels = examples.map((example) => example.labels ?? Number.NaN)
  return isVector(labels) ? labels : (labels as number[])
}

/** Puts examples into one ragged batch, in their order. */
export function collate(examples: readonly Example[]): ModelBatch {
  const batch: ModelBatch = { inputIds: examples.map((example) => example.inputIds) }
  if (examples[0]?.tokenTypeIds !== undefined)
    batch.tokenTypeIds = examples.map((example) => example.tokenTypeIds ?? [])
  const labels = labelsOf(examples)
  if (labels !== undefined) batch.labels = labels
  return batch
}

/** Tokens of each example. */
export const lengthsOf = (examples: readonly Example[]): Uint32Array =>
  Uint32Array.from(examples, ({ inputIds }) => inputIds.length)

/** Real tokens of a batch; there is no padding to leave out. */
export const countTokens = (batch: ModelBatch): number => batch.inputIds.reduce((sum, row) => sum + row.length, 0)

/** Consecutive ragged batches of `size` examples; the last may be shorter. */
export function* batches(examples: readonly Example[], size: number): Generator<ModelBatch> {
  for (let start = 0; start < examples.length; start += size) yield collate(examples.slice(start, start + size))
}
