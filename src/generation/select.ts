/**
 * Indices of the `count` largest values, largest first; of equal values the lower index first. (torch.topk leaves the order of equal
 * values open.) `count` is at most the number of values, of which none is NaN.
 */
export function topIndices(values: Float32Array | readonly number[], count: number): number[] {
  // a heap whose root is the worst of those kept: worse is smaller, or of equal ones the higher index
  const worse = (a: number, b: number) => values[a] < values[b] || (values[a] === values[b] && a > b)
  const heap = Array.from({ length: count }, (_, i) => i)
  const sink = (from: number) => {
    let at = from
    for (;;) {
      let child = 2 * at + 1
      if (child >= count) return
      if (child + 1 < count && worse(heap[child + 1], heap[child])) child++
      if (!worse(heap[child], heap[at])) return
      const moved = heap[at]
      heap[at] = heap[child]
      heap[child] = moved
      at = child
    }
  }
  for (let at = (count >> 1) - 1; at >= 0; at--) sink(at)
  for (let i = count; i < values.length; i++) {
    if (values[i] <= values[heap[0]]) continue
    heap[0] = i
    sink(0)
  }
  return heap.sort((a, b) => (worse(a, b) ? 1 : -1))
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
