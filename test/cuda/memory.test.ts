// What is written goes to the device later, by itself: the caller's array may change at once, and a run or a read comes after all of it.
import { describe, expect, it } from 'vitest'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { scalarsOf } from '../conformance/harness.ts'
import { missing, openCuda } from './library.ts'

/** Floats of a piece, and pieces of which a megabyte, what is on its way at a time, holds a part. */
const PIECE = 12_345
const PIECES = 60

describe.skipIf(missing)(`writes (skipped without the CUDA library: ${missing ?? 'it is there'})`, () => {
  it('of many pieces from one array arrive as they were', async () => {
    const memory = openCuda().createMemory()
    memory.reserve(Arena.weights, 4 * PIECE * PIECES)
    const source = new Float32Array(PIECE)
    for (let i = 0; i < PIECES; i++) memory.write(Arena.weights, 4 * PIECE * i, source.fill(i + 1))
    source.fill(0)
    const all = new Float32Array(PIECE * PIECES)
    await memory.read(Arena.weights, 0, all)
    expect(all.findIndex((value, at) => value !== 1 + Math.floor(at / PIECE))).toBe(-1)
    memory.dispose()
  })

  it('come before a run, of every batch again', async () => {
    const backend = openCuda()
    const largest = Object.fromEntries(Object.keys(Row).map((name) => [name, 8]))
    const graph = new Graph(largest, { differentiate: false, training: false })
    const [x, index] = [graph.input('x', Row.tokens, 4, 'float32'), graph.input('index', Row.selected, 1, 'int32')]
    const y = graph.input('y', Row.selected, 4, 'float32')
    graph.emit('gatherRows', { x, index, y }, { from: Row.tokens, to: Row.selected, H: 4 })
    const plan = compilePlan(graph)
    const [program, memory] = [backend.compile(plan), backend.createMemory()]
    memory.reserve(Arena.io, plan.arenaBytes.io)
    const rows = Float32Array.from({ length: 32 }, (_, i) => i)
    const picked = new Int32Array(8)
    for (let batch = 0; batch < 20; batch++) {
      memory.write(
        Arena.io,
        x.offset!,
        rows.map((value) => value + 100 * batch),
      )
      memory.write(Arena.io, index.offset!, picked.fill(batch % 8))
      await program.run(memory, scalarsOf({ tokens: 8, selected: 8 }))
      const got = new Float32Array(32)
      await memory.read(Arena.io, y.offset!, got)
      expect([...got]).toEqual(Array.from({ length: 32 }, (_, i) => (i % 4) + 4 * (batch % 8) + 100 * batch))
    }
    program.dispose()
    memory.dispose()
  })
})
