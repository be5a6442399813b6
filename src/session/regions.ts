import { roundUp } from '../graph/graph.ts'

/** Stretches of an arena that several owners share: each at the lowest offset that is free. In bytes. */
export class Regions {
  private taken: { readonly offset: number; readonly bytes: number }[] = []

  take(bytes: number): number {
    const size = roundUp(bytes)
    let offset = 0
    let at = 0
    for (; at < this.taken.length; at++) {
      const next = this.taken[at]
      if (offset + size <= next.offset) break
      offset = next.offset + next.bytes
    }
    this.taken.splice(at, 0, { offset, bytes: size })
    return offset
  }

  get empty(): boolean {
    return this.taken.length === 0
  }

  free(offset: number): void {
    this.taken = this.taken.filter((region) => region.offset !== offset)
  }
}
