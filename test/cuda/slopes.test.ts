// gelu's slopes, joined to the product that gives their gradients: linear_backward_data and activation_backward as neighbours in a plan.
import { describe, expect, it } from 'vitest'
import { fromBfloat16, toBfloat16 } from '../../src/bfloat16.ts'
import { type FloatType, Graph } from '../../src/graph/graph.ts'
import { type ActivationName, Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { expectWithin, Random, scalarsOf, stored, u, uBfloat16 } from '../conformance/harness.ts'
import { activationBackward } from '../reference/activation.ts'
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
}

describe.skipIf(missing)(`slopes${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()

  /** dz, and the seconds of both records. */
  async function run({ rows, K, N, act = 'gelu', type = 'bfloat16', inPlace = true }: Case) {
    const capacity = rows + 70
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
    graph.emit('linearBackwardData', { dy, w, dx }, { rows: Row.tokens, K, N, add: false })
    graph.emit('activationBackward', { dy: dx, z, dz: inPlace ? dx : other }, { rows: Row.tokens, N: K, act })
    const plan = compilePlan(graph, 1)

    const random = new Random(rows + K)
    const given = {
      dy: stored(random.reals(rows * N), type),
      z: stored(random.reals(rows * K, 7), type),
      w: random.reals(N * K),
    }
    const memory = backend.createMemory()
    const program = backend.compile(plan)
    try {
      memory.reserve(Arena.io, plan.arenaBytes.io)
      const bytes = new Uint8Array(plan.arenaBytes.io).fill(255) // NaN
      for (const name of ['dy', 'z', 'w'] as const) {
        const reals = Float32Array.from(given[name])
        const at = values[name].offset!
        if (values[name].type === 'bfloat16') new Uint16Array(bytes.buffer, at, reals.length).set(toBfloat16(reals))
        else new Float32Array(bytes.buffer, at, reals.length).set(reals)
      }
      memory.write(Arena.io, 0, new Int32Array(bytes.buffer))
      const seconds: number[] = []
      await program.run(memory, scalarsOf({ tokens: rows }), undefined, (taken) => seconds.push(...taken))
      const after = new Int32Array(bytes.length / 4)
      const read = async () => {
        await memory.read(Arena.io, 0, after)
        const at = (inPlace ? dx : other).offset!
        const size = type === 'bfloat16' ? 2 : 4
        expect(new Uint8Array(after.buffer, at + size * rows * K, size * 70 * K).every((byte) => byte === 255)).toBe(
          true,
        )
        return type === 'bfloat16'
          ? fromBfloat16(new Uint16Array(after.buffer, at, rows * K))
          : new Float32Array(after.buffer.slice(at, at + 4 * rows * K))
      }
      const byRecords = await read()
      await program.run(memory, scalarsOf({ tokens: rows }))
      expect(await read(), 'as a graph').toEqual(byRecords)
      return { got: byRecords, given, seconds }
    } finally {
      program.dispose()
      memory.dispose()
    }
  }

  async function check(c: Case, together: boolean): Promise<void> {
    const { got, given, seconds } = await run(c)
    const { rows, K, N, act = 'gelu', type = 'bfloat16' } = c
    const w = stored(given.w, type)
    const shape = { rows, K, N, x: new Float64Array(rows * K) }
    const { dx } = linearBackward({ ...shape, dy: given.dy, w })
    const sizes = linearBackward({ ...shape, dy: given.dy.map(Math.abs), w: w.map(Math.abs) }).dx
    const { dz: want } = activationBackward({ dy: dx, z: given.z, act })
    const rounding = type === 'bfloat16' ? uBfloat16 : 0
    expectWithin(`${act} ${rows} x ${N} x ${K}`, got, want, (i) => {
      // the product's, the slope's, at most 1.2, of which 6e-5 may be missing; dx is rounded where it is a result of its own
      const error = 1.2 * 4 * (N + 1) * u * sizes[i] + Math.abs(dx[i]) * (6e-5 + (together ? 0 : 1.2 * rounding))
      return error + rounding * (Math.abs(want[i]) + error)
    })
    expect(seconds).toEqual(together ? [expect.any(Number), 0] : [expect.any(Number), expect.any(Number)])
    expect(seconds[1] === 0).toBe(together)
  }

  it.each([
    [1, 8, 3],
    [64, 64, 16],
    [65, 264, 40],
    [300, 520, 72],
  ])('of gelu are joined to a product of %i x %i x %i', (rows, K, N) => check({ rows, K, N }, true))

  it('are not where dz lies elsewhere, of other activations, of float32, and where rows are no whole chunks', async () => {
    const shape = { rows: 20, K: 24, N: 16 }
    await check({ ...shape, inPlace: false }, false)
    await check({ ...shape, act: 'relu' }, false)
    await check({ ...shape, act: 'gelu_new' }, false)
    await check({ ...shape, type: 'float32' }, false)
    await check({ ...shape, K: 20 }, false)
  })
})
