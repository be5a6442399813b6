import { describe, expect, it } from 'vitest'
import { Graph, type Value } from '../../src/graph/graph.ts'
import { Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { planActivations } from '../../src/graph/planner.ts'
import { Random } from '../conformance/harness.ts'

const capacity = { tokens: 40, sequences: 3, labelled: 0, pairs: 0 }
const newGraph = () => new Graph(capacity, { differentiate: false, training: false })
const link = (graph: Graph, x: Value, y: Value) =>
  graph.emit('dropout', { x, y }, { rows: Row.tokens, H: 1, p: 0, site: 0 })

interface Life {
  readonly value: Value
  readonly begin: number
  readonly end: number
  readonly first: number
  readonly last: number
}

/** First and last record of every activation, computed without the planner: kept ones stay to the end. */
function lives(graph: Graph): Life[] {
  const values = new Set(
    graph.records.flatMap(({ operands }) => operands).filter((value) => value?.arena === Arena.activations),
  )
  return [...values].map((value) => {
    const uses = graph.records.flatMap(({ operands }, at) => (operands.includes(value) ? [at] : []))
    const last = graph.kept.has(value!) ? graph.records.length : uses[uses.length - 1]
    return {
      value: value!,
      begin: value!.offset!,
      end: value!.offset! + graph.elements(value!) * 4,
      first: uses[0],
      last,
    }
  })
}

/** A tape of 60 records: each reads some earlier value and writes a new one, or works in place. */
function randomGraph(random: Random): Graph {
  const graph = newGraph()
  const values = [graph.value('start', Row.tokens, 1 + random.below(50))]
  for (let i = 0; i < 60; i++) {
    const x = random.below(3) ? values[values.length - 1] : random.pick(values)
    const y = random.below(5)
      ? graph.value(`v${i}`, random.pick([Row.tokens, Row.sequences, Row.labelled, undefined]), 1 + random.below(50))
      : x
    link(graph, x, y)
    if (y !== x) values.push(y)
    if (random.below(8) === 0) graph.keep(y)
  }
  return graph
}

describe('the planner', () => {
  it('never lets two live values overlap, at aligned places inside the arena', () => {
    const random = new Random(1)
    for (let round = 0; round < 200; round++) {
      const graph = randomGraph(random)
      const bytes = planActivations(graph)
      const all = lives(graph)
      for (const a of all) {
        expect(a.begin % 64).toBe(0)
        expect(a.end).toBeLessThanOrEqual(bytes)
        for (const b of all) {
          const together = a.first <= b.last && b.first <= a.last
          const overlap = a.begin < b.end && b.begin < a.end
          if (a !== b && together && overlap) expect.fail(`round ${round}: ${a.value.name} lies on ${b.value.name}`)
        }
      }
    }
  })

  it('reuses memory: a chain takes two places, whatever its length', () => {
    const graph = newGraph()
    let x = graph.value('x', Row.tokens, 16)
    for (let i = 0; i < 30; i++) {
      const y = graph.value(`y${i}`, Row.tokens, 16)
      link(graph, x, y)
      x = y
    }
    expect(planActivations(graph)).toBe(2 * 40 * 16 * 4)
  })

  it('keeps what the caller reads: nothing takes its place later', () => {
    const graph = newGraph()
    const [x, kept] = [graph.value('x', Row.tokens, 16), graph.value('kept', Row.tokens, 16)]
    link(graph, x, graph.keep(kept))
    let last = x
    for (let i = 0; i < 10; i++) {
      const y = graph.value(`y${i}`, Row.tokens, 16)
      link(graph, last, y)
      last = y
    }
    planActivations(graph)
    for (const { value, begin, end } of lives(graph))
      if (value !== kept) expect(begin >= kept.offset! + 40 * 16 * 4 || end <= kept.offset!, value.name).toBe(true)
  })

  it('does not move inputs and parameters, and counts them in their arenas', () => {
    const graph = newGraph()
    const ids = graph.input('ids', Row.tokens, 1, 'int32')
    const borders = graph.input('borders', Row.sequences, 1, 'int32', 1)
    const table = graph.parameter({ name: 'table', width: 33, weights: 640, gradients: undefined })
    const index = { from: Row.tokens, to: Row.tokens, H: 1 }
    graph.emit(
      'gatherRows',
      { x: graph.value('x', Row.tokens, 1), index: ids, y: graph.value('y', Row.tokens, 1) },
      index,
    )
    link(graph, table, graph.value('z', Row.tokens, 1))
    const plan = compilePlan(graph)
    expect([ids.offset, borders.offset, table.offset]).toEqual([0, 192, 640])
    expect(plan.arenaBytes).toMatchObject({ io: 192 + 64, gradients: 0 })
    expect(plan.arenaBytes.weights).toBeGreaterThanOrEqual(640 + 33 * 4)
  })
})
