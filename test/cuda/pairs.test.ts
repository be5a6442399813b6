// Records that are launched together where they are neighbours in a plan, against the same ones apart.
import { describe, expect, it } from 'vitest'
import { fromBfloat16, toBfloat16 } from '../../src/bfloat16.ts'
import { type FloatType, Graph, type Value } from '../../src/graph/graph.ts'
import { Arena, Row } from '../../src/graph/op-table.ts'
import { compilePlan, type Plan } from '../../src/graph/plan.ts'
import { expectClose, expectSame, Random, scalarsOf, stored } from '../conformance/harness.ts'
import { layerNormBackwardWeight } from '../reference/layer-norm.ts'
import { philoxKeep } from '../reference/philox.ts'
import { missing, openCuda } from './library.ts'

const SITE = -123456789
const KEY = { seed: 7, step: 3, microStep: 1 }
const MATRICES = ['dy', 'sum', 'dx', 'dresidual'] as const
type Matrix = (typeof MATRICES)[number]
type Name = Matrix | 'mean' | 'rstd' | 'gamma' | 'dgamma' | 'dbeta'
type Contents = Readonly<Record<Name, Float64Array>>
type Outputs = Readonly<Record<'dx' | 'dresidual' | 'dgamma' | 'dbeta', Float32Array>>

interface Case {
  readonly type: FloatType
  readonly rows: number
  readonly H: number
  readonly capacity: number
  readonly p: number
  readonly add: boolean
  readonly accumulate: boolean
  /** The mask is given, as SITE would draw it, to a record of another site. */
  readonly masked?: boolean
  /** Outputs that nobody wants. */
  readonly absent?: readonly Name[]
}

interface Prepared {
  readonly plan: Plan
  readonly values: Readonly<Record<Name, Value>>
  readonly keep?: Value
}

/** The records, in this order; `mean` of the second is another where they are `strangers`. */
function planOf(c: Case, records: readonly ('weight' | 'data' | 'refused')[], strangers = false): Prepared {
  const largest = Object.fromEntries(Object.keys(Row).map((name) => [name, c.capacity]))
  const graph = new Graph(largest, { differentiate: false, training: false })
  const input = (name: string, elements: number, type: FloatType) => graph.input(name, undefined, elements, type)
  const values = Object.fromEntries([
    ...MATRICES.map((name) => [name, input(name, c.capacity * c.H, c.type)]),
    ...['mean', 'rstd'].map((name) => [name, input(name, c.capacity, 'float32')]),
    ...['gamma', 'dgamma', 'dbeta'].map((name) => [name, input(name, c.H, 'float32')]),
  ]) as Record<Name, Value>
  const wanted = (name: Name) => (c.absent?.includes(name) ? undefined : values[name])
  const { dy, sum, mean, rstd, gamma } = values
  const other = strangers ? input('other', c.capacity, 'float32') : mean
  const keep = c.masked ? graph.input('keep', undefined, c.capacity * c.H, 'int32') : undefined
  const shape = { rows: Row.tokens, H: c.H }
  for (const record of records) {
    if (record === 'weight')
      graph.emit(
        'layerNormBackwardWeight',
        { dy, sum, mean, rstd, dgamma: wanted('dgamma'), dbeta: wanted('dbeta') },
        { ...shape, accumulate: c.accumulate },
      )
    if (record === 'data')
      graph.emit(
        'layerNormBackward',
        { dy, sum, mean: other, rstd, gamma, keep, dx: wanted('dx'), dresidual: wanted('dresidual') },
        { ...shape, p: c.p, site: c.masked ? SITE + 1 : SITE, add: c.add },
      )
    if (record === 'refused') {
      const attributes = { rows: Row.tokens, K: 1, N: 1, T: 4, first: 4, accumulate: false }
      graph.emit('linearBackwardWeight', { dy, x: dy, dw: values.dgamma }, attributes)
    }
  }
  return { plan: compilePlan(graph, 1), values, keep }
}

describe.skipIf(missing)(`pairs${missing ? ` (${missing})` : ''}`, () => {
  const backend = missing ? (undefined as never) : openCuda()

  function contents({ type, rows, H }: Case): Contents {
    const random = new Random(rows + H)
    const matrices = MATRICES.map((name) => [name, stored(random.reals(rows * H), type)])
    return {
      ...(Object.fromEntries(matrices) as Record<Matrix, Float64Array>),
      mean: random.reals(rows, 0.1),
      rstd: random.reals(rows).map((value) => Math.fround(Math.abs(value) + 0.5)),
      gamma: random.reals(H),
      dgamma: random.reals(H),
      dbeta: random.reals(H),
    }
  }

  /** What these plans leave, one after another on one memory that is NaN where nothing was written; and the seconds of each record. */
  async function run(c: Case, given: Contents, plans: readonly Prepared[], timed = false) {
    const memory = backend.createMemory()
    const programs = plans.map(({ plan }) => backend.compile(plan))
    const { values, keep } = plans[0]
    const seconds: number[] = []
    try {
      const bytes = Math.max(...plans.map(({ plan }) => plan.arenaBytes.io))
      memory.reserve(Arena.io, bytes)
      const before = new Int32Array(bytes / 4).fill(-1)
      for (const [name, { offset, type }] of Object.entries(values)) {
        const reals = Float32Array.from(given[name as Name])
        if (type === 'bfloat16') new Uint16Array(before.buffer, offset, reals.length).set(toBfloat16(reals))
        else new Float32Array(before.buffer, offset, reals.length).set(reals)
      }
      if (keep) {
        const drawn = philoxKeep({ ...KEY, site: SITE }, c.p)
        const mask = Int32Array.from({ length: c.rows * c.H }, (_, i) => Number(drawn(Math.floor(i / c.H), i % c.H)))
        before.set(mask, keep.offset! / 4)
      }
      memory.write(Arena.io, 0, before)
      const scalars = scalarsOf({ tokens: c.rows }, KEY)
      for (const program of programs)
        await program.run(memory, scalars, undefined, timed ? (taken) => seconds.push(...taken) : undefined)
      const after = new Int32Array(before.length)
      await memory.read(Arena.io, 0, after)
      const outputs = Object.fromEntries(
        (['dx', 'dresidual', 'dgamma', 'dbeta'] as const).map((name) => {
          const { offset, type } = values[name]
          const length = given[name].length
          const halves = () => fromBfloat16(new Uint16Array(after.buffer, offset, length))
          const beyond = name === 'dx' || name === 'dresidual' ? (c.capacity - c.rows) * c.H : 0
          const size = type === 'bfloat16' ? 2 : 4
          expect(
            new Uint8Array(after.buffer, offset! + size * length, size * beyond).every((byte) => byte === 255),
          ).toBe(true)
          return [name, type === 'bfloat16' ? halves() : new Float32Array(after.buffer, offset, length)]
        }),
      ) as unknown as Outputs
      return { outputs, seconds }
    } finally {
      for (const program of programs) program.dispose()
      memory.dispose()
    }
  }

  async function check(c: Case, together = true): Promise<void> {
    const given = contents(c)
    const pair = planOf(c, ['weight', 'data'])
    const { outputs } = await run(c, given, [pair])
    const apart = (await run(c, given, [planOf(c, ['weight']), planOf(c, ['data'])])).outputs
    for (const name of ['dx', 'dresidual'] as const) expectSame(name, outputs[name], apart[name])
    const want = layerNormBackwardWeight({ ...given, rows: c.rows, H: c.H })
    for (const name of ['dgamma', 'dbeta'] as const) {
      const sums = want[name].map((value, i) => value + (c.accumulate ? given[name][i] : 0))
      if (c.absent?.includes(name)) expectSame(name, outputs[name], Float32Array.from(given[name]))
      else expectClose(name, outputs[name], sums, 1e-5)
    }
    // by records, which is how the plan's seconds are found; and with room for more
    const { outputs: timed, seconds } = await run(c, given, [pair], true)
    if (together) expect(seconds).toEqual([expect.any(Number), 0])
    else expect(seconds.every((taken) => taken > 0)).toBe(true)
    const wider = (await run({ ...c, capacity: 5000 }, given, [planOf({ ...c, capacity: 5000 }, ['weight', 'data'])]))
      .outputs
    for (const name of ['dx', 'dresidual', 'dgamma', 'dbeta'] as const) {
      expectSame(`${name} record by record`, timed[name], outputs[name])
      expectSame(`${name} in a plan for more rows`, wider[name], outputs[name])
    }
  }

  const counts = [0, 1, 7, 63, 65, 1000]
  it.each((['float32', 'bfloat16'] as const).flatMap((type) => counts.map((rows) => [type, rows] as const)))(
    'of a LayerNorm in %s over %i rows give what the two do',
    async (type, rows) => {
      const shape = { type, rows, capacity: rows + 70 }
      await check({ ...shape, H: 128, p: Math.fround(0.1), add: false, accumulate: false })
      await check({ ...shape, H: 36, p: Math.fround(0.3), add: true, accumulate: true })
    },
  )

  it.each([4, 124, 132, 384, 512, 640, 768, 1000, 1024])('of a LayerNorm over %i columns', async (H) => {
    const shape = { rows: 40, capacity: 41, H }
    await check({ ...shape, type: 'bfloat16', p: Math.fround(0.1), add: true, accumulate: false })
    await check({ ...shape, type: 'float32', p: 0, add: false, accumulate: true })
  })

  it('of more rows than blocks take at their least', async () => {
    await check({ type: 'bfloat16', rows: 4500, capacity: 4600, H: 64, p: 0.5, add: false, accumulate: false })
  })

  it('without some of the outputs', async () => {
    const shape = { type: 'bfloat16', rows: 9, capacity: 9, H: 24, p: 0.5, add: false, accumulate: false } as const
    for (const name of ['dx', 'dresidual', 'dgamma', 'dbeta'] as const) await check({ ...shape, absent: [name] })
  })

  it.each((['float32', 'bfloat16'] as const).flatMap((type) => [36, 640, 1024].map((H) => [type, H] as const)))(
    'of a LayerNorm in %s over %i columns by a mask that is given are those of the mask that is drawn',
    async (type, H) => {
      const shape = { type, rows: 40, capacity: 41, H, p: Math.fround(0.3), add: true, accumulate: false } as const
      const masked = { ...shape, masked: true }
      await check(masked)
      const given = contents(shape)
      const { outputs: drawn } = await run(shape, given, [planOf(shape, ['weight', 'data'])])
      const { outputs } = await run(masked, given, [planOf(masked, ['weight', 'data'])])
      for (const name of ['dx', 'dresidual', 'dgamma', 'dbeta'] as const) expectSame(name, outputs[name], drawn[name])
      const { outputs: whole } = await run(shape, given, [planOf({ ...shape, p: 0 }, ['weight', 'data'])])
      expect(outputs.dx).not.toEqual(whole.dx)
    },
  )

  it('are launched one by one where rows are too long or no multiple of four', async () => {
    for (const H of [1, 6, 1028])
      await check({ type: 'float32', rows: 9, capacity: 9, H, p: 0, add: false, accumulate: false }, false)
  })

  const small: Case = { type: 'float32', rows: 9, capacity: 9, H: 24, p: 0, add: false, accumulate: false }

  it('are none in another order, or with other operands', async () => {
    const given = contents(small)
    const seconds = async (prepared: Prepared) => (await run(small, given, [prepared], true)).seconds
    expect(await seconds(planOf(small, ['weight', 'data', 'weight']))).toEqual([
      expect.any(Number),
      0,
      expect.any(Number),
    ])
    for (const prepared of [planOf(small, ['data', 'weight']), planOf(small, ['weight', 'data'], true)])
      expect((await seconds(prepared)).every((taken) => taken > 0)).toBe(true)
  })

  it('before a record that cannot be: an error that names it', async () => {
    const prepared = planOf(small, ['weight', 'data', 'refused', 'weight'])
    for (const timed of [false, true])
      await expect(run(small, contents(small), [prepared], timed)).rejects.toThrow(/linear_backward_weight.*first/)
  })
})
