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

/** A binary heap. The order of pairs is total: it does not matter in which order they went in. */
export class PairQueue {
  readonly #heap: Pair[] = []

  push(pair: Pair): void {
    pair.priority = pair.count
    const heap = this.#heap
    let at = heap.length
    heap.push(pair)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(pair, heap[parent])) break
      heap[at] = heap[parent]
      at = parent
    }
    heap[at] = pair
  }

  /** Takes the most frequent pair out; undefined if there is none. */
  pop(): Pair | undefined {
    for (let top = this.#takeTop(); top !== undefined; top = this.#takeTop()) {
      if (top.count === top.priority) return top
      if (top.count > 0) this.push(top)
    }
    return undefined
  }

  #takeTop(): Pair | undefined {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return last
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++
      if (!isBefore(heap[child], last)) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = last
    return top
  }
}
