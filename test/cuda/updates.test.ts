// Updates of parameters, of which neighbours are one kernel.
import { describe, expect, it } from 'vitest'
import { elementBytes, type FloatType, Graph } from '../../src/graph/graph.ts'
import { Arena, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan, type Plan } from '../../src/graph/plan.ts'
import { beta1, beta2, expectSame, Random, scalarsOf } from '../conformance/harness.ts'
import { missing, openCuda } from './library.ts'

const largest = Object.fromEntries(Object.keys(Row).map((name) => [name, 4]))
const scalars = scalarsOf({ tokens: 4, selected: 1 }, { beta1, beta2, eps: 1e-8 }, [
  { lr: 0.1, weightDecay: 0.1, steps: 2 },
  { lr: 0.03, weightDecay: 0.5, steps: 7 },
])

interface Update {
  /** Where gradients and moments begin; by default where weights do. */
  readonly gFirst?: number
  readonly group?: 0 | 1
  /** The weights are said to begin 64 bytes further on, and this range that much before. */
  readonly further?: boolean
  /** It is a weight [N, K] that is packed, `for` products of a type. */
  readonly packed?: { readonly N: number; readonly K: number; readonly for: FloatType }
}
type Range = readonly [first: number, end: number, update?: Update]

interface Options {
  /** Ends it with a record that cannot be. */
  readonly refused?: boolean
  /** Reads rows by `index` before. */
  readonly reads?: boolean
  /** Leaves all ranges out but this. */
  readonly only?: number
}

/** Of a weight that lies packed; see native/cuda/packed_weight.cuh. */
const words = (N: number, K: number, type: FloatType): number =>
  (Math.ceil(N / 8) * 8 * Math.ceil(K / 8) * 8 * elementBytes(type)) / 4

/** A plan that updates these ranges, one after another. */
function planOf(ranges: readonly Range[], { refused, reads, only }: Options = {}): Plan {
  const elements = Math.max(400, ...ranges.map(([, end]) => end))
  const graph = new Graph(largest, { differentiate: false, training: false })
  const index = reads ? graph.input('index', undefined, 1, 'int32') : undefined
  const [g, norm, w, expAvg, expAvgSq] = [elements, 2, elements, elements, elements].map((count, i) =>
    graph.input(`operand${i}`, undefined, count, 'float32'),
  )
  if (index) {
    const y = graph.input('rows', undefined, 2, 'float32')
    graph.emit('gatherRows', { x: g, index, y }, { from: Row.tokens, to: Row.selected, H: 2 })
  }
  for (const [i, [first, end, { gFirst = first, group = 0, further = false, packed } = {}]] of ranges.entries()) {
    const place = packed && graph.input(`packed ${i}`, undefined, words(packed.N, packed.K, packed.for), 'float32')
    if (i !== (only ?? i)) continue
    const skipped = further ? 16 : 0
    const weights = { ...w, offset: w.offset! + 4 * skipped, width: elements - skipped }
    graph.emit(
      'adamw',
      { g, norm, w: weights, expAvg, expAvgSq, packed: place },
      {
        n: end - first,
        W: weights.width,
        G: elements,
        wFirst: first - skipped,
        gFirst,
        group: Scalar.group0 + 4 * group,
        N: packed?.N ?? 1,
        K: packed?.K ?? 1,
        product: packed?.for === 'bfloat16',
      },
    )
  }
  if (refused) {
    const dw = graph.input('dw', undefined, 4, 'float32')
    const attributes = { rows: Row.tokens, K: 2, N: 2, T: 4, first: 3, accumulate: false }
    graph.emit('linearBackwardWeight', { dy: g, x: g, dw }, attributes)
  }
  return compilePlan(graph, 2)
}

/** The same, one record a plan. */
const apartOf = (ranges: readonly Range[]): Plan[] => ranges.map((_, only) => planOf(ranges, { only }))

describe.skipIf(missing)(`updates${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()
  const random = new Random(9)
  const given = Float32Array.from(random.reals(20_000), Math.abs)

  /** What is in memory after these plans, in their order; and of the first that is refused, with it. `seconds`: gets those of each record. */
  async function after(
    plans: readonly Plan[],
    { first = given, refusal, seconds }: { first?: Float32Array; refusal?: RegExp; seconds?: number[] } = {},
  ): Promise<Float32Array> {
    const memory = backend.createMemory()
    const programs = plans.map((plan) => backend.compile(plan))
    try {
      const bytes = Math.max(...plans.map((plan) => plan.arenaBytes.io))
      memory.reserve(Arena.io, bytes)
      memory.write(Arena.io, 0, first.subarray(0, Math.min(first.length, bytes / 4)))
      for (const program of programs) {
        const done = program.run(memory, scalars, undefined, seconds && ((taken) => seconds.push(...taken)))
        if (refusal) await expect(done).rejects.toThrow(refusal)
        else await done
      }
      const got = new Float32Array(bytes / 4)
      await memory.read(Arena.io, 0, got)
      return got
    } finally {
      for (const program of programs) program.dispose()
      memory.dispose()
    }
  }

  /** That they give what they do one at a time, as a graph and by records, and which of the records are launched. */
  async function check(ranges: readonly Range[], launched: readonly number[]): Promise<void> {
    const apart = await after(apartOf(ranges))
    expectSame('memory', await after([planOf(ranges)]), apart)
    const seconds: number[] = []
    expectSame('memory, by records', await after([planOf(ranges)], { seconds }), apart)
    expect(seconds.length).toBe(ranges.length)
    expect([...seconds.keys()].filter((i) => seconds[i] !== 0)).toEqual(launched)
    expect(apart).not.toEqual(given.subarray(0, apart.length))
  }

  const ranges = [
    [0, 100],
    [100, 200],
    [200, 350],
    [50, 250],
    [350, 400],
  ] as const

  it('are what they are one at a time, in the order of the plan where they meet', () => check(ranges, [0, 3]))

  it('are launched by 32, of ten elements each', () =>
    check(
      Array.from({ length: 40 }, (_, i) => [10 * i, 10 * i + 10]),
      [0, 32],
    ))

  it('are apart where they meet in weights that they reach from different places', async () => {
    await check(
      [
        [0, 100],
        [50, 150, { gFirst: 200, further: true }],
      ],
      [0, 1],
    )
    await check(
      [
        [50, 150, { gFirst: 200, further: true }],
        [0, 100],
      ],
      [0, 1],
    )
  })

  it('of weights that are packed and of others, of two groups', () =>
    check(
      [
        [0, 60, { packed: { N: 5, K: 12, for: 'float32' } }],
        [60, 130, { group: 1 }],
        [130, 165, { packed: { N: 5, K: 7, for: 'bfloat16' } }],
        [165, 168],
        [168, 1488, { packed: { N: 44, K: 30, for: 'bfloat16' } }],
        [1488, 2676, { group: 1, packed: { N: 33, K: 36, for: 'bfloat16' } }],
        [2676, 2739, { group: 1, packed: { N: 9, K: 7, for: 'float32' } }],
        [2739, 4000],
      ],
      [0],
    ))

  it('before a record that cannot be: an error that names it, and later runs are as before', async () => {
    await expect(after([planOf(ranges.slice(0, 3), { refused: true })])).rejects.toThrow(/first/)
    expectSame('memory', await after([planOf(ranges)]), await after(apartOf(ranges)))
  })

  it('change nothing in a run whose data is refused', async () => {
    const plan = planOf(ranges, { reads: true })
    // the first word is the index: the bits of 0.5 are no row
    const wrong = Float32Array.from(given)
    wrong[0] = 0.5
    const refused = await after([plan], { first: wrong, refusal: /index/ })
    expectSame('memory', refused.subarray(0, wrong.length), wrong.subarray(0, refused.length))
    wrong[0] = 0
    expect(await after([plan], { first: wrong })).not.toEqual(refused)
  })
})
