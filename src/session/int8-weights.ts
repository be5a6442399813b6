import type { BackendMemory } from '../backend/backend.ts'
import { ArgumentError } from '../errors.ts'
import { Arena } from '../graph/op-table.ts'
import { bitsOf, PANEL, panelBytes, putRow, takeRow } from '../int8.ts'
import type { Int8Place, TensorPlace } from './layout.ts'

/** Bytes of panels that are written or read at a time, at least one panel. */
const STRETCH = 2 ** 18

/** A tensor whose rows are kept as int8. */
export type Int8TensorPlace = TensorPlace & { readonly int8: Int8Place }

export const isInt8 = (place: TensorPlace): place is Int8TensorPlace => place.int8 !== undefined

/** An ArgumentError for what a model of int8 weights cannot do. */
export function refuseInt8(int8: boolean, call: string): void {
  if (int8)
    throw new ArgumentError(
      `${call}: a model of dtype int8 only predicts: its weights are rounded to whole numbers, which an update is too small to change, and which are not those of the folder. Load it with dtype float32 or bfloat16`,
    )
}

/** Some panels of a matrix one after another, from the one that has row `row` on. */
class Panels {
  /** Rows, and the first one after them. */
  readonly first: number
  readonly end: number
  readonly #all: Int32Array<ArrayBuffer>
  readonly #size: number
  readonly #words: number

  /** In `memory`, if it is large enough. */
  constructor({ words, columns, allRows }: Int8Place, row: number, memory?: ArrayBuffer) {
    this.#size = panelBytes(columns)
    this.#words = words
    this.first = row - (row % PANEL)
    const panels = Math.min(Math.max(1, Math.floor(STRETCH / this.#size)), Math.ceil((allRows - this.first) / PANEL))
    this.end = this.first + panels * PANEL
    const bytes = panels * this.#size
    this.#all = new Int32Array(memory && memory.byteLength >= bytes ? memory : new ArrayBuffer(bytes), 0, bytes / 4)
  }

  get memory(): ArrayBuffer {
    return this.#all.buffer
  }

  has(row: number): boolean {
    return row >= this.first && row < this.end
  }

  clear(): void {
    this.#all.fill(0)
  }

  /** The panel of this row. */
  at(row: number): Int32Array {
    const start = (this.offsetOf(row) - this.offsetOf(this.first)) / 4
    return this.#all.subarray(start, start + this.#size / 4)
  }

  /** Where the panel of this row lies among the weights. */
  offsetOf(row: number): number {
    return this.#words + Math.floor(row / PANEL) * this.#size
  }

  /** The panels up to the one of row `last`, as the weights have them. */
  through(last: number): Int32Array<ArrayBuffer> {
    return this.#all.subarray(0, (this.offsetOf(last) - this.offsetOf(this.first) + this.#size) / 4)
  }
}

/**
 * Writes matrices as int8 while their values come, in order and in pieces of any length: no whole matrix is ever float32. A panel that
 * two tensors of a stack share is kept here too, because each of them writes it whole.
 */
export class Int8Weights {
  readonly #shared = new Map<number, Int32Array>()
  #writing: { readonly name: string; next: number; readonly row: Float32Array; panels: Panels } | undefined
  #scales = new Float32Array(0)
  /** Of the panels that were written last. */
  #memory = new ArrayBuffer(0)

  /** The next `values` of a tensor, from element `start` on. */
  write(memory: BackendMemory, place: Int8TensorPlace, values: Float32Array, start: number): void {
    const { first, rows, columns, scales } = place.int8
    if (start === 0) {
      this.#writing = {
        name: place.name,
        next: 0,
        row: new Float32Array(columns),
        panels: this.#open(place.int8, first),
      }
      this.#scales = new Float32Array(rows)
    }
    const writing = this.#writing
    if (writing?.name !== place.name || writing.next !== start)
      throw new TypeError(`${place.name}: expected its values in order, element ${writing?.next} after ${start}`)
    const put = (from: Float32Array, bits: Int32Array, at: number): void => {
      const n = writing.next / columns - 1
      const row = first + n
      if (!writing.panels.has(row)) {
        this.#close(memory, place.int8, writing.panels, row - 1)
        writing.panels = this.#open(place.int8, row)
      }
      this.#scales[n] = putRow(from, bits, at, columns, writing.panels.at(row), row % PANEL)
    }
    const bits = bitsOf(values)
    const rowBits = bitsOf(writing.row)
    for (let at = 0; at < values.length; ) {
      const column = writing.next % columns
      const taken = Math.min(columns - column, values.length - at)
      writing.next += taken
      if (taken === columns) put(values, bits, at)
      else {
        // a row that comes in parts
        writing.row.set(values.subarray(at, at + taken), column)
        if (column + taken === columns) put(writing.row, rowBits, 0)
      }
      at += taken
    }
    if (writing.next < place.elements) return
    this.#close(memory, place.int8, writing.panels, first + rows - 1)
    memory.write(Arena.weights, scales + first * 4, this.#scales)
    this.#writing = undefined
  }

  #open(int8: Int8Place, row: number): Panels {
    const panels = new Panels(int8, row, this.#memory)
    panels.clear()
    this.#memory = panels.memory
    for (const border of borders(int8)) {
      const shared = panels.has(border) && this.#shared.get(panels.offsetOf(border))
      if (shared) panels.at(border).set(shared)
    }
    return panels
  }

  #close(memory: BackendMemory, int8: Int8Place, panels: Panels, last: number): void {
    memory.write(Arena.weights, panels.offsetOf(panels.first), panels.through(last))
    for (const border of borders(int8))
      if (panels.has(border)) this.#shared.set(panels.offsetOf(border), panels.at(border).slice())
  }
}

/** A row in each panel that a tensor shares with its neighbours in a stack. */
function borders({ first, rows, allRows }: Int8Place): number[] {
  const end = first + rows
  return [...(first % PANEL > 0 ? [first] : []), ...(end % PANEL > 0 && end < allRows ? [end - 1] : [])]
}

/** A tensor's values, scale times whole number, a stretch of rows at a time, whose memory is used again for the next one. */
export async function* readInt8(memory: BackendMemory, { int8 }: Int8TensorPlace): AsyncGenerator<Float32Array> {
  const { first, rows, columns } = int8
  const scales = new Float32Array(rows)
  await memory.read(Arena.weights, int8.scales + first * 4, scales)
  let values = new Float32Array(0)
  let memoryOfPanels = new ArrayBuffer(0)
  for (let row = first; row < first + rows; ) {
    const panels = new Panels(int8, row, memoryOfPanels)
    memoryOfPanels = panels.memory
    const end = Math.min(first + rows, panels.end)
    await memory.read(Arena.weights, panels.offsetOf(row), panels.through(end - 1))
    const count = (end - row) * columns
    if (values.length < count) values = new Float32Array(count)
    for (let at = 0; row < end; row++, at += columns)
      takeRow(panels.at(row), row % PANEL, scales[row - first], values.subarray(at, at + columns))
    yield values.subarray(0, count)
  }
}
