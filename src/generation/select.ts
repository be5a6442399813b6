import { Heap } from '../heap.ts'

/**
 * Indices of the `count` largest values, largest first; of equal values the lower index first. (torch.topk leaves the order of equal
 * values open.) `count` is at most the number of values, of which none is NaN.
 */
export function topIndices(values: Float32Array | readonly number[], count: number): number[] {
  // the worst of those kept is on top: worse is smaller, or of equal ones the higher index
  const heap = new Heap<number>((a, b) => values[a] < values[b] || (values[a] === values[b] && a > b))
  for (let i = 0; i < values.length; i++) {
    if (heap.size < count) heap.push(i)
    else if (values[i] > values[heap.top!]) heap.replaceTop(i)
  }
  return Array.from({ length: count }, () => heap.pop()!).reverse()
}

/** Largest value and the sum of exp(value - largest), in float64. Loops by index: an iterator takes several times as long. */
function exponentials(values: Float32Array): { largest: number; sum: number } {
  let largest = Number.NEGATIVE_INFINITY
  for (let i = 0; i < values.length; i++) if (values[i] > largest) largest = values[i]
  let sum = 0
  for (let i = 0; i < values.length; i++)
    if (values[i] !== Number.NEGATIVE_INFINITY) sum += Math.exp(values[i] - largest)
  return { largest, sum }
}

/** Replaces logits by their log-probabilities, rounded to float32; torch.nn.functional.log_softmax. */
export function logSoftmax(values: Float32Array): void {
  const { largest, sum } = exponentials(values)
  const shift = largest + Math.log(sum)
  for (let i = 0; i < values.length; i++) values[i] -= shift
}

/** The index that a uniform number in [0, 1) selects from softmax(values), by the inverse of the cumulative distribution. */
export function sampleSoftmax(values: Float32Array, uniform: number): number {
  const { largest, sum } = exponentials(values)
  const target = uniform * sum
  let cumulated = 0
  let last = 0
  for (let i = 0; i < values.length; i++) {
    if (values[i] === Number.NEGATIVE_INFINITY) continue
    const weight = Math.exp(values[i] - largest)
    if (weight === 0) continue
    cumulated += weight
    last = i
    if (cumulated > target) return i
  }
  // rounding alone leads here
  return last
}
