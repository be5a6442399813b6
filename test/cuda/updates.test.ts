// Updates of parameters, of which neighbours are one kernel.
import { describe, expect, it } from 'vitest'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan, type Plan } from '../../src/graph/plan.ts'
import { beta1, beta2, expectSame, Random, scalarsOf } from '../conformance/harness.ts'
import { missing, openCuda } from './library.ts'

const ELEMENTS = 400
const largest = Object.fromEntries(Object.keys(Row).map((name) => [name, 4]))
const scalars = scalarsOf({ tokens: 4, selected: 1 }, { beta1, beta2, eps: 1e-8 }, [
  { lr: 0.1, weightDecay: 0.1, steps: 2 },
])

/** A plan that updates these ranges, one after another; `refused` ends it with a record that cannot be; `reads` rows by `index` before. */
function planOf(ranges: readonly (readonly [number, number])[], refused = false, reads = false): Plan {
  const graph = new Graph(largest, { differentiate: false, training: false })
  const index = reads ? graph.input('index', undefined, 1, 'int32') : undefined
  const [g, norm, w, expAvg, expAvgSq] = [ELEMENTS, 2, ELEMENTS, ELEMENTS, ELEMENTS].map((elements, i) =>
    graph.input(`operand${i}`, undefined, elements, 'float32'),
  )
  if (index) {
    const y = graph.input('rows', undefined, 2, 'float32')
    graph.emit('gatherRows', { x: g, index, y }, { from: Row.tokens, to: Row.selected, H: 2 })
  }
  for (const [first, end] of ranges)
    graph.emit(
      'adamw',
      { g, norm, w, expAvg, expAvgSq },
      {
        n: end - first,
        W: ELEMENTS,
        G: ELEMENTS,
        wFirst: first,
        gFirst: first,
        group: Scalar.group0,
        N: 1,
        K: 1,
        product: false,
      },
    )
  if (refused) {
    const dw = graph.input('dw', undefined, 4, 'float32')
    const attributes = { rows: Row.tokens, K: 2, N: 2, T: 4, first: 3, accumulate: false }
    graph.emit('linearBackwardWeight', { dy: g, x: g, dw }, attributes)
  }
  return compilePlan(graph, 1)
}

describe.skipIf(missing)(`updates${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()
  const random = new Random(9)
  const given = Float32Array.from(random.reals(5 * ELEMENTS), Math.abs)

  /** What is in memory after these plans, in their order; and of the first that is refused, with it. */
  async function after(plans: readonly Plan[], first = given, refusal?: RegExp): Promise<Float32Array> {
    const memory = backend.createMemory()
    const programs = plans.map((plan) => backend.compile(plan))
    try {
      const bytes = Math.max(...plans.map((plan) => plan.arenaBytes.io))
      memory.reserve(Arena.io, bytes)
      memory.write(Arena.io, 0, first.subarray(0, Math.min(first.length, bytes / 4)))
      for (const program of programs)
        if (refusal) await expect(program.run(memory, scalars)).rejects.toThrow(refusal)
        else await program.run(memory, scalars)
      const got = new Float32Array(bytes / 4)
      await memory.read(Arena.io, 0, got)
      return got
    } finally {
      for (const program of programs) program.dispose()
      memory.dispose()
    }
  }

  const ranges = [
    [0, 100],
    [100, 200],
    [200, 350],
    [50, 250],
    [350, 400],
  ] as const

  it('are what they are one at a time, in the order of the plan where they meet', async () => {
    const together = await after([planOf(ranges)])
    const apart = await after(ranges.map((range) => planOf([range])))
    expectSame('memory', together, apart)
    expect(together).not.toEqual(given.subarray(0, together.length))
  })

  it('before a record that cannot be: an error that names it, and later runs are as before', async () => {
    await expect(after([planOf(ranges.slice(0, 3), true)])).rejects.toThrow(/first/)
    expectSame('memory', await after([planOf(ranges)]), await after(ranges.map((range) => planOf([range]))))
  })

  it('change nothing in a run whose data is refused', async () => {
    const plan = planOf(ranges, false, true)
    // the first word is the index: the bits of 0.5 are no row
    const wrong = Float32Array.from(given)
    wrong[0] = 0.5
    const refused = await after([plan], wrong, /index/)
    expectSame('memory', refused.subarray(0, wrong.length), wrong.subarray(0, refused.length))
    wrong[0] = 0
    expect(await after([plan], wrong)).not.toEqual(refused)
  })
})
