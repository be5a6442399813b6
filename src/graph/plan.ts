import { ArgumentError, PlanError } from '../errors.ts'
import type { Capacity, Graph, OpRecord, Value } from './graph.ts'
import { Arena, opsHash, Row, Scalar } from './op-table.ts'
import { planActivations } from './planner.ts'

const MAGIC = 0x4b42504c
const VERSION = 1
const UNIT = 64
/** An operand has 28 bits for its offset in units. */
export const MAX_ARENA_BYTES = 2 ** 28 * UNIT
const ARENAS = Object.keys(Arena) as (keyof typeof Arena)[]
const ROWS = Object.keys(Row) as (keyof typeof Row)[]

/** A recorded step as the backends take it; the layout is written down in native/runtime/plan.h. */
export interface Plan {
  readonly words: Int32Array
  /** What the words say, in their order. */
  readonly records: readonly OpRecord[]
  readonly capacity: Capacity
  readonly scalars: number
  /** Bytes that the plan needs of each arena. */
  readonly arenaBytes: Readonly<Record<keyof typeof Arena, number>>
  /** Whether it writes weights. */
  readonly writesWeights: boolean
  /** The records one a line, for people and snapshot tests. */
  toString(): string
}

const operandWord = (value: Value | undefined): number => {
  if (!value) return -1
  if (value.offset === undefined) throw new PlanError(`${value.name} has no place`)
  const units = value.offset / UNIT
  if (!Number.isInteger(units) || units >= 2 ** 28) throw new PlanError(`${value.name} is at byte ${value.offset}`)
  return (value.arena << 28) | units
}

/** Places the activations of a finished graph and writes it as a plan. `groups`: parameter groups whose scalars it may read. */
export function compilePlan(graph: Graph, groups = 1): Plan {
  const arenaBytes: Record<keyof typeof Arena, number> = {
    weights: 0,
    gradients: 0,
    expAvg: 0,
    expAvgSq: 0,
    activations: planActivations(graph),
    io: graph.inputBytes,
    cache: 0,
    packed: 0,
  }
  if (arenaBytes.activations > MAX_ARENA_BYTES)
    throw new ArgumentError(
      `A step on ${graph.capacity.tokens} tokens needs ${(arenaBytes.activations / 2 ** 30).toFixed(1)} GiB of activations, more than ${MAX_ARENA_BYTES / 2 ** 30}: use smaller batches with gradient accumulation`,
    )
  for (const { operands } of graph.records)
    for (const value of operands)
      if (value && value.arena !== Arena.activations) {
        const arena = ARENAS.find((name) => Arena[name] === value.arena)!
        arenaBytes[arena] = Math.max(arenaBytes[arena], (value.offset ?? 0) + graph.bytes(value))
      }
  const scalars = Scalar.group0 + 4 * groups
  const body = graph.records.flatMap(({ op, operands, attributes }) => [
    op.id,
    2 + operands.length + attributes.length,
    ...operands.map(operandWord),
    ...attributes,
  ])
  const header = [
    MAGIC,
    VERSION,
    Number(BigInt.asIntN(32, opsHash)),
    Number(BigInt.asIntN(32, opsHash >> 32n)),
    graph.records.length,
    0,
    ...ROWS.map((row) => graph.capacity[row]),
    scalars,
    ...ARENAS.map((arena) => Math.ceil(arenaBytes[arena] / UNIT)),
  ]
  header[5] = header.length + body.length
  const { records, capacity } = graph
  return {
    words: Int32Array.from([...header, ...body]),
    records,
    capacity,
    scalars,
    arenaBytes,
    writesWeights: records.some(({ op, operands }) =>
      op.operands.some(({ output }, i) => output && operands[i]?.arena === Arena.weights),
    ),
    toString: () => records.map(listing).join('\n'),
  }
}

function listing({ op, path, operands, attributes }: OpRecord, index: number): string {
  const named = (output: boolean) =>
    op.operands.flatMap((spec, i) => {
      const value = operands[i]
      return value && spec.output === output ? [`${spec.name}=${place(value)}`] : []
    })
  const numbers = op.attributes.flatMap(({ name, kind }, i) =>
    (kind === 't' && attributes[i] === 0) || (name.toLowerCase().endsWith('words') && attributes[i] === 1)
      ? []
      : [`${name}=${attributeText(kind, attributes[i])}`],
  )
  return `${String(index).padStart(3)} ${path || '-'}: ${op.name}(${named(false).join(' ')}) -> ${named(true).join(' ')} [${numbers.join(' ')}]`
}

const place = (value: Value): string => {
  const arena = ARENAS.find((name) => Arena[name] === value.arena)
  return value.arena === Arena.activations || value.arena === Arena.io ? `${arena}@${value.offset}` : value.name
}

function attributeText(kind: string, word: number): string {
  if (kind === 'r') return ROWS[word]
  if (kind === 'f') return String(new Float32Array(Int32Array.of(word).buffer)[0])
  return kind === 't' ? 'bfloat16' : String(word)
}
