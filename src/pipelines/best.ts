import { Heap } from '../heap.ts'
import type { Pause } from './task.ts'

interface Entry<Item> {
  readonly score: number
  readonly item: Item
  /** How many were kept before it. */
  readonly order: number
}

const isWorse = <Item>(a: Entry<Item>, b: Entry<Item>): boolean =>
  a.score < b.score || (a.score === b.score && a.order > b.order)

/** The `limit` highest that it was given; of equal scores those that came first. */
export class Best<Item> {
  readonly #limit: number
  /** The worst on top. */
  readonly #heap = new Heap<Entry<Item>>(isWorse)
  #order = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whether an item with this score would be kept. */
  takes(score: number): boolean {
    return this.#heap.size < this.#limit || score > this.#heap.top!.score
  }

  add(score: number, item: Item): void {
    if (!this.takes(score)) return
    const entry = { score, item, order: this.#order++ }
    if (this.#heap.size === this.#limit) this.#heap.replaceTop(entry)
    else this.#heap.push(entry)
  }

  /** Takes them all out, highest first. */
  async ranked(pause: Pause): Promise<{ readonly score: number; readonly item: Item }[]> {
    const ranked: Entry<Item>[] = []
    for (let worst = this.#heap.pop(); worst !== undefined; worst = this.#heap.pop()) {
      ranked.push(worst)
      await pause()
    }
    return ranked.reverse()
  }
}
