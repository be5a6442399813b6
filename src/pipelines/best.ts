import type { Pause } from './task.ts'

interface Entry<Item> {
  readonly score: number
  readonly item: Item
  /** How many were kept before it. */
  readonly order: number
}

const isWorse = <Item>(a: Entry<Item>, b: Entry<Item>): boolean =>
  a.score < b.score || (a.score === b.score && a.order > b.order)

/** The `limit` highest that it was given; of equal scores those that came first. Takes log(limit) steps each: a heap, the worst on top. */
export class Best<Item> {
  readonly #limit: number
  readonly #heap: Entry<Item>[] = []
  #order = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whether an item with this score would be kept. */
  takes(score: number): boolean {
    return this.#heap.length < this.#limit || score > this.#heap[0].score
  }

  add(score: number, item: Item): void {
    if (!this.takes(score)) return
    const heap = this.#heap
    const entry = { score, item, order: this.#order++ }
    if (heap.length === this.#limit) {
      this.#sink(entry)
      return
    }
    let at = heap.push(entry) - 1
    for (let above = (at - 1) >> 1; at > 0 && isWorse(entry, heap[above]); above = (at - 1) >> 1) {
      heap[at] = heap[above]
      at = above
    }
    heap[at] = entry
  }

  /** Takes them all out, highest first. */
  async ranked(pause: Pause): Promise<{ readonly score: number; readonly item: Item }[]> {
    const ranked: Entry<Item>[] = new Array(this.#heap.length)
    for (let rank = ranked.length - 1; rank >= 0; rank--) {
      ranked[rank] = this.#heap[0]
      const last = this.#heap.pop()!
      if (rank > 0) this.#sink(last)
      await pause()
    }
    return ranked
  }

  /** Puts an entry in the place of the worst one. */
  #sink(entry: Entry<Item>): void {
    const heap = this.#heap
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && isWorse(heap[below + 1], heap[below])) below++
      if (!isWorse(heap[below], entry)) break
      heap[at] = heap[below]
      at = below
    }
    heap[at] = entry
  }
}
