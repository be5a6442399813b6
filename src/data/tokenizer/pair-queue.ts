import { Heap } from '../../heap.ts'

/** Two symbols that stand side by side in words. */
export interface Pair {
  readonly left: number
  readonly right: number
  /** How often, over all words. */
  count: number
  /** Its count when it was queued: the count itself may have fallen since. */
  priority: number
  /** Where it stands, or stood. */
  words: number[]
}

/** The more frequent pair first; of equally frequent ones the one with smaller ids, whose symbols are older. */
function isBefore(a: Pair, b: Pair): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority
  return a.left === b.left ? a.right < b.right : a.left < b.left
}

/** The order of pairs is total: it does not matter in which order they went in. */
export class PairQueue {
  readonly #heap = new Heap(isBefore)

  push(pair: Pair): void {
    pair.priority = pair.count
    this.#heap.push(pair)
  }

  /** Takes the most frequent pair out; undefined if there is none. */
  pop(): Pair | undefined {
    for (let top = this.#heap.pop(); top !== undefined; top = this.#heap.pop()) {
      if (top.count === top.priority) return top
      if (top.count > 0) this.push(top)
    }
    return undefined
  }
}
