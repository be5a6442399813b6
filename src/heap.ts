/** A binary heap: on its top is an item that comes before all others. Putting one in and taking one out take log(size) steps. */
export class Heap<Item> {
  readonly #items: Item[] = []
  readonly #isBefore: (a: Item, b: Item) => boolean

  constructor(isBefore: (a: Item, b: Item) => boolean) {
    this.#isBefore = isBefore
  }

  get size(): number {
    return this.#items.length
  }

  /** Undefined in an empty heap. */
  get top(): Item | undefined {
    return this.#items[0]
  }

  push(item: Item): void {
    const items = this.#items
    let at = items.length
    items.push(item)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!this.#isBefore(item, items[above])) break
      items[at] = items[above]
      at = above
    }
    items[at] = item
  }

  /** Takes the top out; undefined from an empty heap. */
  pop(): Item | undefined {
    const { top } = this
    const last = this.#items.pop()
    if (last === undefined || this.size === 0) return last
    this.replaceTop(last)
    return top
  }

  /** Puts an item in the place of the top. */
  replaceTop(item: Item): void {
    const items = this.#items
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= items.length) break
      if (below + 1 < items.length && this.#isBefore(items[below + 1], items[below])) below++
      if (!this.#isBefore(items[below], item)) break
      items[at] = items[below]
      at = below
    }
    items[at] = item
  }
}
