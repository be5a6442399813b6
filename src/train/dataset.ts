import { AbortedError, ArgumentError } from '../errors.ts'
import type { Example, ModelBatch } from './types.ts'

/** Longest time that preparing data may keep the event loop, in milliseconds; half of what is promised. */
const SLICE = 5

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Maps `items` to an array, giving the event loop a turn every few milliseconds.
 * Throws AbortedError when `signal` fires between two items.
 */
export async function mapInSlices<Item, Result>(
  items: Iterable<Item>,
  convert: (item: Item, index: number) => Result,
  signal?: AbortSignal,
): Promise<Result[]> {
  const results: Result[] = []
  let sliceEnd = performance.now() + SLICE
  for (const item of items) {
    results.push(convert(item, results.length))
    if (performance.now() < sliceEnd) continue
    await nextTurn()
    if (signal?.aborted) throw new AbortedError('The preparation of data was aborted by its signal')
    sliceEnd = performance.now() + SLICE
  }
  return results
}

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

/** Real tokens of a batch; there is no padding to leave out. */
export const countTokens = (batch: ModelBatch): number => batch.inputIds.reduce((sum, row) => sum + row.length, 0)

/** Consecutive ragged batches of `size` examples; the last may be shorter. */
export function* batches(examples: readonly Example[], size: number): Generator<ModelBatch> {
  for (let start = 0; start < examples.length; start += size) yield collate(examples.slice(start, start + size))
}
