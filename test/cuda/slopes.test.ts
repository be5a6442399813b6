// gelu's slopes, joined to the product that gives their gradients: linear_backward_data and activation_backward as neighbours in a plan.
import { describe, expect, it } from 'vitest'
import { fromBfloat16, toBfloat16 } from '../../src/bfloat16.ts'
import { type FloatType, Graph, type Value } from '../../src/graph/graph.ts'
import { type ActivationName, Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan, type Plan } from '../../src/graph/plan.ts'
import { expectSame, expectWithin, Random, scalarsOf, stored, u, uBfloat16 } from '../conformance/harness.ts'
import { activation, activationBackward } from '../reference/activation.ts'
import { linearBackward } from '../reference/linear.ts'
import { missing, openCuda } from './library.ts'

interface Case {
  readonly rows: number
  readonly K: number
  readonly N: number
  readonly act?: ActivationName
  readonly type?: FloatType
  /** dz lies on dx, as it does in plans of training. */
  readonly inPlace?: boolean
  /** The product is added to what dx has. */
  readonly add?: boolean
  /** act(z) is wanted again, in `other`. */
  readonly again?: boolean
}

type Name = 'dy' | 'z' | 'w' | 'dx' | 'other'

interface Prepared {
  readonly plan: Plan
  readonly values: Readonly<Record<Name, Value>>
}

/** Rows that the plan has room for beyond those of a run. */
const MORE = 70

/** These records; their operands lie alike whichever they are. */
function planOf(c: Case, records: readonly ('data' | 'activation')[]): Prepared {
  const { rows, K, N, act = 'gelu', type = 'bfloat16', inPlace = true, add = false, again = false } = c
  const capacity = rows + MORE
  const graph = new Graph(Object.fromEntries(Object.keys(Row).map((name) => [name, capacity])), {
    differentiate: false,
    training: false,
  })
  const input = (name: string, elements: number, of: FloatType) => graph.input(name, undefined, elements, of)
  const values = {
    dy: input('dy', capacity * N, type),
    z: input('z', capacity * K, type),
    w: input('w', N * K, 'float32'),
    dx: input('dx', capacity * K, type),
    other: input('other', capacity * K, type),
  }
  const { dy, z, w, dx, other } = values
  for (const record of records)
    if (record === 'data') graph.emit('linearBackwardData', { dy, w, dx }, { rows: Row.tokens, K, N, add })
    else {
      const written = { dz: inPlace ? dx : other, y: again ? other : undefined }
      graph.emit('activationBackward', { dy: dx, z, ...written }, { rows: Row.tokens, N: K, act })
    }
  return { plan: compilePlan(graph, 1), values }
}

describe.skipIf(missing)(`slopes${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()

  function contents({ rows, K, N, type = 'bfloat16', add }: Case) {
    const random = new Random(rows + K)
    return {
      dy: stored(random.reals(rows * N), type),
      z: stored(random.reals(rows * K, 7), type),
      w: random.reals(N * K),
      dx: add ? stored(random.reals(rows * K, 3), type) : undefined,
    }
  }
  type Contents = ReturnType<typeof contents>

  /** dz and all of memory after these plans, one after another, and the seconds of each record. */
  async function run(c: Case, given: Contents, plans: readonly Prepared[]) {
    const { rows, K, type = 'bfloat16', inPlace = true, again = false } = c
    const [{ plan, values }] = plans
    const memory = backend.createMemory()
    const programs = plans.map((prepared) => backend.compile(prepared.plan))
    try {
      memory.reserve(Arena.io, plan.arenaBytes.io)
      const before = new Uint8Array(plan.arenaBytes.io).fill(255) // NaN
      for (const name of ['dy', 'z', 'w', 'dx'] as const) {
        const reals = Float32Array.from(given[name] ?? [])
        const at = values[name].offset!
        if (values[name].type === 'bfloat16') new Uint16Array(before.buffer, at, reals.length).set(toBfloat16(reals))
        else new Float32Array(before.buffer, at, reals.length).set(reals)
      }
      const size = type === 'bfloat16' ? 2 : 4
      const written = (inPlace && !again ? [values.dx] : [values.dx, values.other]).map(({ offset }) => offset!)
      const seconds: number[] = []
      const once = async (timed?: (taken: Float64Array) => void) => {
        memory.write(Arena.io, 0, new Int32Array(before.buffer))
        for (const program of programs) await program.run(memory, scalarsOf({ tokens: rows }), undefined, timed)
        const after = new Int32Array(before.length / 4)
        await memory.read(Arena.io, 0, after)
        const bytes = new Uint8Array(after.buffer)
        const strayed = bytes.findIndex(
          (byte, i) => byte !== before[i] && !written.some((at) => i >= at && i < at + size * rows * K),
        )
        expect(strayed, 'the first byte that no record gives, and has changed').toBe(-1)
        return after
      }
      const after = await once((taken) => seconds.push(...taken))
      const all = new Float32Array(after.buffer)
      expectSame('as a graph', new Float32Array((await once()).buffer), all)
      const read = ({ offset }: Value): Float32Array =>
        type === 'bfloat16'
          ? fromBfloat16(new Uint16Array(after.buffer, offset!, rows * K))
          : new Float32Array(after.buffer, offset!, rows * K)
      return { got: read(inPlace ? values.dx : values.other), other: read(values.other), all, seconds }
    } finally {
      for (const program of programs) program.dispose()
      memory.dispose()
    }
  }

  async function check(c: Case, together: boolean): Promise<void> {
    const given = contents(c)
    const { got, other, all, seconds } = await run(c, given, [planOf(c, ['data', 'activation'])])
    expect(seconds.map((taken) => taken > 0)).toEqual([true, !together])
    if (together) expect(seconds[1]).toBe(0)
    const { rows, K, N, act = 'gelu', type = 'bfloat16' } = c
    const what = `${act} ${rows} x ${N} x ${K}`
    const w = stored(given.w, type)
    const shape = { rows, K, N, x: new Float64Array(rows * K) }
    const plus = (a: Float64Array, b: Float64Array | undefined) => (b ? a.map((value, i) => value + b[i]) : a)
    const dx = plus(linearBackward({ ...shape, dy: given.dy, w }).dx, given.dx)
    const magnitudes = { dy: given.dy.map(Math.abs), w: w.map(Math.abs) }
    const sizes = plus(linearBackward({ ...shape, ...magnitudes }).dx, given.dx?.map(Math.abs))
    const { dz: want } = activationBackward({ dy: dx, z: given.z, act })
    const rounding = type === 'bfloat16' ? uBfloat16 : 0
    expectWithin(what, got, want, (i) => {
      // the product's, the slope's, at most 1.2, of which 6e-5 may be missing; dx is rounded where it is a result of its own
      const error = 1.2 * 4 * (N + 1) * u * sizes[i] + Math.abs(dx[i]) * (6e-5 + (together ? 0 : 1.2 * rounding))
      return error + rounding * (Math.abs(want[i]) + error)
    })
    if (c.again)
      expectWithin(
        `${what} again`,
        other,
        activation(act, given.z),
        (i) => 1e-5 + (1e-5 + rounding) * Math.abs(given.z[i]),
      )
    const apart = await run(c, given, [planOf(c, ['data']), planOf(c, ['activation'])])
    if (!together) return expectSame(`${what} apart`, all, apart.all)
    // dx is rounded apart, and the result of each; their sums differ by no more than twice the error of one
    expectWithin(
      `${what} apart`,
      got,
      apart.got,
      (i) =>
        Math.abs(dx[i]) * (1.2 * uBfloat16 + 6e-5) +
        2 * uBfloat16 * Math.abs(apart.got[i]) +
        10 * (N + 1) * u * sizes[i],
    )
  }

  it.each([
    [1, 8, 3],
    [64, 64, 16],
    [65, 264, 40],
    [300, 520, 72],
    // four turns of columns
    [180, 504, 310],
    [380, 504, 300],
  ])('of gelu are joined to a product of %i x %i x %i', (rows, K, N) => check({ rows, K, N }, true))

  it('are not where dz lies elsewhere, of other activations, of float32, and where rows are no whole chunks', async () => {
    const shape = { rows: 20, K: 24, N: 16 }
    await check({ ...shape, inPlace: false }, false)
    await check({ ...shape, act: 'relu' }, false)
    await check({ ...shape, act: 'gelu_new' }, false)
    await check({ ...shape, type: 'float32' }, false)
    await check({ ...shape, K: 20 }, false)
    await check({ ...shape, again: true }, false)
  })

  it('are not where the product is added to', async () => {
    await check({ rows: 20, K: 24, N: 16, add: true }, false)
    await check({ rows: 65, K: 264, N: 40, add: true }, false)
  })

  it('of no rows leave all as it was', () => check({ rows: 0, K: 24, N: 16 }, true))
})
