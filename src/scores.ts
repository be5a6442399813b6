// From logits to probabilities and the best of them.

/** Probabilities of classes that exclude one another. */
export function softmax(logits: ArrayLike<number>): number[] {
  // loops, and one list: it is called for each token of a text
  let highest = Number.NEGATIVE_INFINITY
  for (let i = 0; i < logits.length; i++) highest = Math.max(highest, logits[i])
  const powers = new Array<number>(logits.length)
  let total = 0
  for (let i = 0; i < logits.length; i++) {
    powers[i] = Math.exp(logits[i] - highest)
    total += powers[i]
  }
  for (let i = 0; i < powers.length; i++) powers[i] /= total
  return powers
}

/** Probabilities of classes that do not exclude one another. */
export const sigmoid = (logits: ArrayLike<number>): number[] =>
  Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)))

/** Where the greatest of `width` values from `start` on is, counted from there; of equal ones the first. torch.argmax. */
export function argmax(values: ArrayLike<number>, start = 0, width = values.length): number {
  let best = 0
  for (let i = 1; i < width; i++) if (values[start + i] > values[start + best]) best = i
  return best
}
