// Runs one record on a backend with guards around every operand, and measures its outputs against the reference.
import { expect } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { fromBfloat16, toBfloat16 } from '../../src/bfloat16.ts'
import type { AttributesOf, OperandsOf } from '../../src/graph/attributes.ts'
import { elementBytes, type FloatType, Graph, type Value } from '../../src/graph/graph.ts'
import { Arena, type OpName, type OpSpec, ops, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'

/** Opens the backend under test; the suite asks for several pool sizes. */
export type Open = (options?: { threads?: number }) => Backend

/** Unit roundoff of float32, and of bfloat16. */
export const u = 2 ** -24
export const uBfloat16 = 2 ** -8

/** Float32 values as they are when stored in `type`. */
export const stored = (values: Float64Array, type: FloatType): Float64Array =>
  type === 'float32' ? values : Float64Array.from(fromBfloat16(toBfloat16(Float32Array.from(values))))

export type Numbers = Float64Array | Int32Array
export type RowCounts = Partial<Record<keyof typeof Row, number>>

export interface RecordCase<Name extends OpName> {
  readonly op: Name
  /** Contents of the inputs, and of outputs that are added to. Optional inputs that are not here are absent. */
  readonly operands: { readonly [Key in keyof OperandsOf<Name>]?: Numbers }
  readonly attributes: AttributesOf<Name>
  /** Rows of this run. */
  readonly rows?: RowCounts
  /** Rows that the plan is made for; by default those of the run, and three more. */
  readonly capacity?: RowCounts
  readonly scalars?: Partial<Record<keyof typeof Scalar, number>>
  readonly groups?: readonly GroupScalars[]
  /** Optional outputs that nobody wants. */
  readonly absent?: readonly string[]
  /** Outputs that lie on an input: output name -> input name. */
  readonly inPlace?: Readonly<Record<string, string>>
  /** What the record's activations are, and what it gives or takes in the place of scores. float32; `type` */
  readonly type?: FloatType
  readonly to?: FloatType
}

/** A NaN that no kernel computes: who reads a guard shows it, who writes one is seen. */
const SENTINEL = 0x7fc0dead
const GUARD = 32

const rowNames = Object.keys(Row) as (keyof typeof Row)[]

/** One parameter group of an update, whose parameters have taken `steps` steps, this one included. */
export interface GroupScalars {
  readonly lr: number
  readonly weightDecay: number
  readonly steps: number
}
export const [beta1, beta2] = [0.9, 0.999]

export function scalarsOf(
  rows: RowCounts,
  given: Partial<Record<keyof typeof Scalar, number>> = {},
  groups: readonly GroupScalars[] = [],
): Float64Array {
  const scalars = new Float64Array(Scalar.group0 + 4 * Math.max(1, groups.length))
  for (const name of rowNames) scalars[Row[name]] = rows[name] ?? 0
  for (const [name, value] of Object.entries(given)) scalars[Scalar[name as keyof typeof Scalar]] = value
  groups.forEach(({ lr, weightDecay, steps }, i) => {
    const corrections = [1 - beta1 ** steps, Math.sqrt(1 - beta2 ** steps)]
    scalars.set([lr, weightDecay, ...corrections], Scalar.group0 + 4 * i)
  })
  return scalars
}

/** Elements of an operand whose dims are as in ops.def, for these row counts. */
function elementsOf(dims: readonly string[], spec: OpSpec, attributes: Record<string, number>, rows: number[]): number {
  return dims.reduce((product, dim) => {
    const [name, plus] = dim.split('+')
    const kind = spec.attributes.find((attribute) => attribute.name === name)?.kind
    const value = kind === undefined ? Number(name) : kind === 'r' ? rows[attributes[name]] : attributes[name]
    return product * (value + Number(plus ?? 0))
  }, 1)
}

/**
 * Compiles and runs a plan of this one record. Checks that nothing but the outputs' rows of this run has changed: not the guards
 * between operands, not the inputs, not the outputs' rows beyond the run's count. Returns the outputs by name.
 */
export async function runRecord<Name extends OpName>(
  backend: Backend,
  record: RecordCase<Name>,
): Promise<Record<string, Float32Array>> {
  const { op, operands, attributes, rows = {}, capacity = {}, scalars, groups, absent = [], inPlace = {} } = record
  const { type = 'float32', to = type } = record
  const types = { float32: 'float32', int32: 'int32', type, to } as const
  const spec: OpSpec = ops[op]
  const counts = rowNames.map((name) => rows[name] ?? 0)
  const capacities = rowNames.map((name, i) => capacity[name] ?? counts[i] + 3)
  const largest = Object.fromEntries(rowNames.map((name, i) => [name, capacities[i]]))
  const graph = new Graph(largest, { differentiate: false, training: false })
  const numbers = attributes as Record<string, number>
  const given = operands as Record<string, Numbers | undefined>
  const values: Record<string, Value | undefined> = {}
  const guard = () => graph.input('guard', undefined, GUARD, 'float32')
  guard()
  for (const operand of spec.operands) {
    if (inPlace[operand.name]) {
      values[operand.name] = values[inPlace[operand.name]]
    } else if (!absent.includes(operand.name) && (operand.output || given[operand.name])) {
      values[operand.name] = graph.input(
        operand.name,
        undefined,
        elementsOf(operand.dims, spec, numbers, capacities),
        types[operand.type],
      )
      guard()
    }
  }
  graph.emit(op, values as OperandsOf<Name>, attributes)
  const plan = compilePlan(graph, groups?.length ?? 1)

  const before = new Int32Array(plan.arenaBytes.io / 4).fill(SENTINEL)
  const writable = new Uint8Array(plan.arenaBytes.io / 2) // each half of a word
  for (const operand of spec.operands) {
    const value = values[operand.name]
    if (!value) continue
    const offset = value.offset!
    const length = elementsOf(operand.dims, spec, numbers, counts)
    if (operand.output) writable.fill(1, offset / 2, (offset + length * elementBytes(value.type)) / 2)
    const data = given[operand.name]
    if (data && data.length !== length)
      throw new RangeError(`${op}: ${operand.name} has ${length} elements, not ${data.length}`)
    if (data instanceof Int32Array) before.set(data, offset / 4)
    else if (data && value.type === 'bfloat16')
      new Uint16Array(before.buffer, offset, length).set(toBfloat16(Float32Array.from(data)))
    else if (data) new Float32Array(before.buffer, offset, length).set(data)
  }
  const program = backend.compile(plan)
  const memory = backend.createMemory()
  const after = new Int32Array(before.length)
  try {
    memory.reserve(Arena.io, plan.arenaBytes.io)
    memory.write(Arena.io, 0, before)
    await program.run(memory, scalarsOf(rows, scalars, groups))
    await memory.read(Arena.io, 0, after)
  } finally {
    program.dispose()
    memory.dispose()
  }
  const was = new Uint16Array(before.buffer)
  const strayed = new Uint16Array(after.buffer).findIndex((half, i) => !writable[i] && half !== was[i])
  expect(strayed, `${op} wrote outside its outputs, at byte ${2 * strayed}`).toBe(-1)
  const outputs: Record<string, Float32Array> = {}
  for (const operand of spec.operands) {
    const value = values[operand.name]
    if (!value || !operand.output) continue
    const length = elementsOf(operand.dims, spec, numbers, counts)
    outputs[operand.name] =
      value.type === 'bfloat16'
        ? fromBfloat16(new Uint16Array(after.buffer, value.offset, length))
        : new Float32Array(after.buffer, value.offset, length)
  }
  return outputs
}

/** mulberry32: a stream of 32-bit words, the same on every machine. */
export class Random {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }
  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  below(n: number): number {
    return this.word() % n
  }
  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]
  }
  /** Float32 values in [-scale, scale). */
  reals(count: number, scale = 1): Float64Array {
    return Float64Array.from({ length: count }, () => Math.fround((this.word() / 2 ** 31 - 1) * scale))
  }
  /** Whole numbers in [low, high]. */
  whole(count: number, low: number, high: number): Float64Array {
    return Float64Array.from({ length: count }, () => low + this.below(high - low + 1))
  }
  integers(count: number, limit: number): Int32Array {
    return Int32Array.from({ length: count }, () => this.below(limit))
  }
}

export const norm = (values: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i]
  return Math.sqrt(sum)
}

/**
 * Holds `got` to `want` in the L2 norm: |got - want| <= tolerance * scale. `scale` is |want| unless the values are a difference of
 * larger ones, where it is the norm of those: that is what rounding is relative to.
 */
export function expectClose(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number,
  scale = norm(want),
): void {
  expect(got.length, what).toBe(want.length)
  let sum = 0
  for (let i = 0; i < want.length; i++) sum += (got[i] - want[i]) ** 2
  const error = Math.sqrt(sum) / (scale || 1e-30)
  if (!(error <= tolerance)) expect.fail(`${what}: relative L2 error ${error}, allowed ${tolerance}`)
}

/** Holds each element to its own bound. */
export function expectWithin(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: (i: number) => number,
): void {
  expect(got.length, what).toBe(want.length)
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i] - want[i])
    if (!(error <= bound(i)))
      expect.fail(`${what}: element ${i} is ${got[i]}, expected ${want[i]} within ${bound(i)}, error ${error}`)
  }
}

/** The same bits. */
export function expectSame(what: string, got: Float32Array, want: Float32Array): void {
  expect(got.length, what).toBe(want.length)
  const a = new Int32Array(got.buffer, got.byteOffset, got.length)
  const b = new Int32Array(want.buffer, want.byteOffset, want.length)
  const at = a.findIndex((word, i) => word !== b[i])
  if (at >= 0) expect.fail(`${what}: element ${at} is ${got[at]}, expected the bits of ${want[at]}`)
}
