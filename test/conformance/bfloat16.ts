// Ops that only round what they store: on the same inputs, in bfloat16 they give what they give in float32, rounded. Products and
// attention have bounds of their own, in gemm.ts and attention.ts.
import { describe, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { type OpName, type OpSpec, ops, Row } from '../../src/graph/op-table.ts'
import {
  expectClose,
  expectSame,
  type Numbers,
  type Open,
  Random,
  type RecordCase,
  runRecord,
  stored,
  uBfloat16,
} from './harness.ts'

const P = Math.fround(0.1)
const scalars = { seed: 5, step: 2, microStep: 1 }
const SITE = 991

/** One op on [rows, H], its bfloat16 operands by name. */
interface Case {
  readonly op: OpName
  readonly attributes: Readonly<Record<string, number | boolean | string>>
  readonly operands: (random: Random, rows: number, H: number) => Record<string, Numbers | undefined>
  readonly rows?: (rows: number) => RecordCase<OpName>['rows']
  readonly inPlace?: Readonly<Record<string, string>>
  /** Moves or rounds once: the bits of the rounded float32 result. Else within a few roundings of the result's norm. */
  readonly exact: boolean
}

const all = (random: Random, rows: number, H: number, names: readonly string[]): Record<string, Float64Array> =>
  Object.fromEntries(names.map((name) => [name, random.reals(rows * H, 2)]))
/** A layer_norm's saved statistics and parameters. */
const statistics = (random: Random, rows: number, H: number) => ({
  mean: random.reals(rows, 0.1),
  rstd: random.reals(rows).map((value) => Math.fround(1 + value / 4)),
  gamma: random.reals(H),
})
const xielu = { alphaP: Float64Array.of(0.5), alphaN: Float64Array.of(0.25), beta: Float64Array.of(0.5) }
const eps = Float64Array.of(Math.fround(-1e-6))

const CASES: readonly Case[] = [
  {
    op: 'embedding',
    attributes: { rows: Row.tokens, V: 7, Y: 2, P: 9 },
    operands: (random, rows, H) => ({
      ids: random.integers(rows, 7),
      typeIds: random.integers(rows, 2),
      positionIds: random.integers(rows, 9),
      word: random.reals(7 * H),
      type: random.reals(2 * H),
      position: random.reals(9 * H),
    }),
    exact: true,
  },
  {
    op: 'embeddingBackward',
    attributes: { rows: Row.tokens, V: 7, paddingIdx: 0, accumulate: false },
    operands: (random, rows, H) => ({ ids: random.integers(rows, 7), ...all(random, rows, H, ['dy']) }),
    exact: true,
  },
  ...[0, P].flatMap((p): Case[] => [
    {
      op: 'layerNorm',
      attributes: { rows: Row.tokens, eps: 1e-12, p, site: SITE },
      operands: (random, rows, H) => ({
        ...all(random, rows, H, ['x', 'residual']),
        gamma: random.reals(H),
        beta: random.reals(H),
      }),
      inPlace: { sum: 'x' },
      exact: false,
    },
    {
      op: 'layerNormBackward',
      attributes: { rows: Row.tokens, p, site: SITE, add: true },
      operands: (random, rows, H) => ({
        ...all(random, rows, H, ['dy', 'sum', 'dresidual']),
        ...statistics(random, rows, H),
      }),
      exact: true,
    },
    {
      op: 'dropout',
      attributes: { rows: Row.tokens, p, site: SITE },
      operands: (random, rows, H) => all(random, rows, H, ['x']),
      exact: true,
    },
  ]),
  {
    op: 'layerNormBackwardWeight',
    attributes: { rows: Row.tokens, accumulate: false },
    operands: (random, rows, H) => {
      const { gamma: _, ...rest } = statistics(random, rows, H)
      return { ...all(random, rows, H, ['dy', 'sum']), ...rest }
    },
    exact: true,
  },
  ...(['gelu', 'tanh', 'silu'] as const).map(
    (act): Case => ({
      op: 'activationBackward',
      attributes: { rows: Row.tokens, act },
      operands: (random, rows, H) => all(random, rows, H, ['dy', 'z']),
      inPlace: { dz: 'dy' },
      exact: true,
    }),
  ),
  {
    op: 'prelu',
    attributes: { rows: Row.tokens },
    operands: (random, rows, H) => ({ ...all(random, rows, H, ['z']), weight: Float64Array.of(0.25) }),
    exact: true,
  },
  {
    op: 'preluBackward',
    attributes: { rows: Row.tokens },
    operands: (random, rows, H) => ({ ...all(random, rows, H, ['dy', 'z']), weight: Float64Array.of(0.25) }),
    exact: true,
  },
  {
    op: 'preluBackwardWeight',
    attributes: { rows: Row.tokens, accumulate: false },
    operands: (random, rows, H) => all(random, rows, H, ['dy', 'z']),
    exact: true,
  },
  {
    op: 'xielu',
    attributes: { rows: Row.tokens },
    operands: (random, rows, H) => ({ ...all(random, rows, H, ['z']), ...xielu, eps }),
    exact: true,
  },
  {
    op: 'xieluBackward',
    attributes: { rows: Row.tokens },
    operands: (random, rows, H) => ({ ...all(random, rows, H, ['dy', 'z']), ...xielu, eps }),
    exact: true,
  },
  {
    op: 'xieluBackwardWeight',
    attributes: { rows: Row.tokens, accumulate: false },
    operands: (random, rows, H) => {
      const { alphaP, alphaN } = xielu
      return { ...all(random, rows, H, ['dy', 'z']), alphaP, alphaN, eps }
    },
    exact: true,
  },
  {
    op: 'gatherRows',
    attributes: { from: Row.tokens, to: Row.sequences },
    operands: (random, rows, H) => ({ ...all(random, rows, H, ['x']), index: random.integers(5, rows) }),
    rows: (tokens) => ({ tokens, sequences: 5 }),
    exact: true,
  },
  // rows that are met once give the rounded sum; one that is met again is rounded each time
  {
    op: 'gatherRowsBackward',
    attributes: { from: Row.tokens, to: Row.sequences, add: true },
    operands: (random, rows, H) => ({
      ...all(random, 1, H, ['dy']),
      ...all(random, rows, H, ['dx']),
      index: Int32Array.of(rows - 1),
    }),
    rows: (tokens) => ({ tokens, sequences: 1 }),
    exact: true,
  },
  {
    op: 'gatherRowsBackward',
    attributes: { from: Row.tokens, to: Row.sequences, add: false },
    operands: (random, rows, H) => ({ ...all(random, 4, H, ['dy']), index: random.integers(4, Math.min(rows, 2)) }),
    rows: (tokens) => ({ tokens, sequences: 4 }),
    exact: false,
  },
  {
    op: 'storeRows',
    attributes: { rows: Row.tokens, to: Row.cached, T: 0, first: 1 },
    operands: (random, rows, H) => ({
      x: random.reals(rows * (H + 3), 2),
      index: Int32Array.from({ length: rows }, (_, i) => 2 * i),
      y: random.reals(2 * rows * H),
    }),
    rows: (tokens) => ({ tokens, cached: 2 * tokens }),
    exact: true,
  },
  {
    op: 'copyRows',
    attributes: { rows: Row.tokens, of: Row.cached },
    operands: (random, rows, H) => ({
      from: Int32Array.from({ length: rows }, (_, i) => 2 * i + 1),
      target: Int32Array.from({ length: rows }, (_, i) => 2 * i),
      y: random.reals(2 * rows * H),
    }),
    rows: (tokens) => ({ tokens, cached: 2 * tokens }),
    exact: true,
  },
]

async function check(backend: Backend, given: Case, seed: number, rows: number, H: number) {
  const { op, exact, inPlace } = given
  const spec: OpSpec = ops[op]
  const typed = (name: string) => spec.operands.find((operand) => operand.name === name)?.type === 'type'
  const operands = Object.fromEntries(
    Object.entries(given.operands(new Random(seed), rows, H)).map(([name, values]) => [
      name,
      values instanceof Float64Array && typed(name) ? stored(values, 'bfloat16') : values,
    ]),
  )
  const width = spec.attributes.some(({ name }) => name === 'N') ? { N: H } : { H }
  const T = spec.attributes.some(({ name }) => name === 'T') ? { T: H + 3 } : {}
  const run = {
    op,
    operands,
    attributes: { ...given.attributes, ...width, ...T },
    rows: given.rows?.(rows) ?? { tokens: rows },
    scalars,
    inPlace,
  } as unknown as RecordCase<OpName>
  const want = await runRecord(backend, run)
  const got = await runRecord(backend, { ...run, type: 'bfloat16' })
  for (const [name, values] of Object.entries(want)) {
    const what = `${op} ${rows} x ${H}: ${name}`
    const rounded = stored(Float64Array.from(values), typed(name) ? 'bfloat16' : 'float32')
    if (exact) expectSame(what, got[name], Float32Array.from(rounded))
    else expectClose(what, got[name], values, 2 * uBfloat16)
  }
}

export function bfloat16(open: Open): void {
  describe('bfloat16', () => {
    const backend = open()

    it.each(CASES.map((given) => [given.op, given] as const))('%s rounds what it stores', async (_, given) => {
      let seed = 900
      for (const [rows, H] of [
        [1, 1],
        [3, 7],
        [5, 8],
        [2, 33],
        [4, 67],
        [65, 130],
      ])
        await check(backend, given, seed++, rows, H)
    })
  })
}
