// From logits to probabilities and the best of them.

/** Probabilities of classes that exclude one another. */
export function softmax(logits: ArrayLike<number>): number[] {
  const powers = Array.from(logits)
  const highest = powers.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  for (const [i, logit] of powers.entries()) powers[i] = Math.exp(logit - highest)
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / total)
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

/** The `limit` highest that it was given, highest first; of equal scores the one that came first. For small limits. */
export class Best<Item> {
  readonly #limit: number
  readonly #ranked: { readonly score: number; readonly item: Item }[] = []

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whether an item with this score would be kept. */
  takes(score: number): boolean {
    return this.#ranked.length < this.#limit || score > this.#ranked[this.#limit - 1].score
  }

  add(score: number, item: Item): void {
    if (!this.takes(score)) return
    let [low, high] = [0, this.#ranked.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#ranked[middle].score >= score) low = middle + 1
      else high = middle
    }
    this.#ranked.splice(low, 0, { score, item })
    if (this.#ranked.length > this.#limit) this.#ranked.pop()
  }

  get ranked(): readonly { readonly score: number; readonly item: Item }[] {
    return this.#ranked
  }
}
