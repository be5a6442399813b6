import { type Graph, roundUp, type Value } from './graph.ts'
import { Arena } from './op-table.ts'

interface Lifetime {
  readonly value: Value
  readonly bytes: number
  first: number
  last: number
}

/**
 * Gives every activation an offset so that values alive at the same time never overlap: largest first, each at the lowest place
 * that is free for its whole lifetime (first-fit decreasing, as in Pisarchyk and Lee, "Efficient Memory Management for Deep Neural
 * Net Inference", 2020). Kept values live to the end. Returns the bytes of the arena.
 */
export function planActivations(graph: Graph): number {
  const lifetimes = new Map<Value, Lifetime>()
  const end = graph.records.length
  graph.records.forEach(({ operands }, at) => {
    for (const value of operands) {
      if (!value || value.arena !== Arena.activations) continue
      const known = lifetimes.get(value)
      if (known) known.last = at
      else lifetimes.set(value, { value, bytes: roundUp(graph.bytes(value)), first: at, last: at })
    }
  })
  for (const value of graph.kept) {
    const known = lifetimes.get(value)
    if (known) known.last = end
  }
  const placed: Lifetime[] = []
  let total = 0
  for (const life of [...lifetimes.values()].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    let offset = 0
    for (const other of placed) {
      // `placed` is ordered by offset: the first gap that is large enough is the lowest
      if (other.last < life.first || life.last < other.first) continue
      if (other.value.offset! >= offset + life.bytes) break
      offset = Math.max(offset, other.value.offset! + other.bytes)
    }
    life.value.offset = offset
    total = Math.max(total, offset + life.bytes)
    const at = placed.findIndex((other) => other.value.offset! > offset)
    placed.splice(at < 0 ? placed.length : at, 0, life)
  }
  return total
}
