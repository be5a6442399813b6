import type { BackendMemory, Program } from '../backend/backend.ts'
import { ArgumentError } from '../errors.ts'
import { Graph, roundUp, type Value } from '../graph/graph.ts'
import { Arena, Row } from '../graph/op-table.ts'
import { compilePlan, type Plan } from '../graph/plan.ts'
import { int8Words, PANEL, panelBytes, takeRow } from '../int8.ts'
import type { Int8Place, TensorPlace } from './layout.ts'

/** Bytes of panels that are read at a time, at least one panel. */
const STRETCH = 2 ** 18
/** Values that are rounded at a time, at least a row: 1 MiB. */
const STAGED = 2 ** 18

/** A tensor whose rows are kept as int8. */
export type Int8TensorPlace = TensorPlace & { readonly int8: Int8Place }

export const isInt8 = (place: TensorPlace): place is Int8TensorPlace => place.int8 !== undefined

/** An ArgumentError for what a model of int8 weights cannot do. */
export function refuseInt8(int8: boolean, call: string): void {
  if (int8)
    throw new ArgumentError(
      `${call} needs weights in float32 or bfloat16, but this model was loaded with dtype int8, which only predicts; load it with dtype float32 or bfloat16`,
    )
}

/** What rounds: a model's memory, and what runs a plan there. */
export interface Rounder {
  readonly memory: BackendMemory
  compile(plan: Plan): Program
}

/**
 * Writes matrices as int8 while their values come, in order and in pieces of any length: they are rounded by the engine, a stretch of
 * rows at a time, so that no whole matrix is ever float32.
 */
export class Int8Weights {
  /** `next`: the first element that has not come; `staged`: those before it that are not rounded yet, of at most `room`. */
  #writing: { readonly name: string; readonly room: number; next: number; staged: number } | undefined

  /** The next `values` of a tensor, from element `start` on. */
  async write(rounder: Rounder, place: Int8TensorPlace, values: Float32Array, start: number): Promise<void> {
    const { memory } = rounder
    if (start === 0) {
      const room = stretchRows(place.int8) * place.int8.columns
      memory.reserve(Arena.io, roundUp(room * 4))
      this.#writing = { name: place.name, room, next: 0, staged: 0 }
    }
    const writing = this.#writing
    if (writing?.name !== place.name || writing.next !== start)
      throw new TypeError(`${place.name}: expected its values in order, element ${writing?.next} after ${start}`)
    for (let at = 0; at < values.length; ) {
      const taken = Math.min(writing.room - writing.staged, values.length - at)
      memory.write(Arena.io, writing.staged * 4, values.subarray(at, at + taken))
      at += taken
      writing.next += taken
      writing.staged += taken
      if (writing.staged < writing.room && writing.next < place.elements) continue
      await round(rounder, place.int8, (writing.next - writing.staged) / place.int8.columns, writing.staged)
      writing.staged = 0
    }
    if (writing.next === place.elements) this.#writing = undefined
  }
}

/** Rows that are rounded at a time: whole panels, where they are more than one. */
function stretchRows({ rows, columns }: Int8Place): number {
  const most = Math.max(1, Math.floor(STAGED / columns))
  return Math.min(rows, most < PANEL ? most : most - (most % PANEL))
}

/** Rounds the staged values, which are whole rows from row `row` of the tensor on. */
async function round({ memory, compile }: Rounder, int8: Int8Place, row: number, staged: number): Promise<void> {
  const { columns: K, allRows: N, words, scales, first } = int8
  const rows = staged / K
  const graph = new Graph({ tokens: rows }, { differentiate: false, training: false })
  const place = { rows: undefined, arena: Arena.weights, requiresGrad: false }
  const x = graph.input('rows', Row.tokens, K, 'float32')
  const w: Value = { ...place, name: 'words', width: int8Words(N, K), type: 'int32', offset: words }
  const scale: Value = { ...place, name: 'scales', width: N, type: 'float32', offset: scales }
  const attributes = { rows: Row.tokens, N, K, words: w.width, first: first + row }
  graph.emit('quantizeRows', { x, w, scale }, attributes)
  const plan = compilePlan(graph, 0)
  const program = compile(plan)
  const scalars = new Float64Array(plan.scalars)
  scalars[Row.tokens] = rows
  try {
    await program.run(memory, scalars)
  } finally {
    program.dispose()
  }
}

/** A tensor's values, scale times whole number, a stretch of rows at a time, whose memory is used again for the next one. */
export async function* readInt8(memory: BackendMemory, { int8 }: Int8TensorPlace): AsyncGenerator<Float32Array> {
  const { first, rows, columns } = int8
  const size = panelBytes(columns)
  const scales = new Float32Array(rows)
  await memory.read(Arena.weights, int8.scales + first * 4, scales)
  const end = first + rows
  const most = Math.max(1, Math.floor(STRETCH / size)) * PANEL
  const words = new Int32Array((Math.min(most, Math.ceil(rows / PANEL + 1) * PANEL) / PANEL) * (size / 4))
  const values = new Float32Array(Math.min(most, rows) * columns)
  for (let row = first; row < end; ) {
    const panel = Math.floor(row / PANEL)
    const stop = Math.min(end, panel * PANEL + most)
    const panels = words.subarray(0, (Math.ceil(stop / PANEL) - panel) * (size / 4))
    await memory.read(Arena.weights, int8.words + panel * size, panels)
    const count = (stop - row) * columns
    for (let at = 0; row < stop; row++, at += columns) {
      const start = (Math.floor(row / PANEL) - panel) * (size / 4)
      const own = panels.subarray(start, start + size / 4)
      takeRow(own, row % PANEL, scales[row - first], values.subarray(at, at + columns))
    }
    yield values.subarray(0, count)
  }
}
