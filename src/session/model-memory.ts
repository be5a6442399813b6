import type { Backend, BackendMemory, Program } from '../backend/backend.ts'
import { openBackend } from '../backend/open.ts'
import { fromBfloat16 } from '../bfloat16.ts'
import { BackendError, DisposedError } from '../errors.ts'
import type { Piece } from '../formats/tensors.ts'
import type { FloatType, Value } from '../graph/graph.ts'
import { Arena } from '../graph/op-table.ts'
import type { Plan } from '../graph/plan.ts'
import { slices } from '../turns.ts'
import { Int8Weights, isInt8, readInt8 } from './int8-weights.ts'
import { isTrainable, type Layout, type TensorPlace, type TrainablePlace } from './layout.ts'
import type { RuntimeOptions } from './runs.ts'
import { PIECE_ELEMENTS, piecesOf } from './state-dict.ts'

const MOMENTS = [Arena.expAvg, Arena.expAvgSq] as const
/** Values that may be on their way to the backend's memory before they are waited for: 8 MiB. */
const MOST_UNDERWAY = 2 ** 21

/** A model's tensors in the memory of its backend. What a subclass runs there never meets a read or a write of this class. */
export class ModelMemory {
  protected current: Layout
  protected memory: BackendMemory | undefined
  protected disposed = false
  /** Whether the moments have memory. */
  protected momentsUsed = false
  readonly #options: RuntimeOptions
  readonly #int8Weights = new Int8Weights()
  #backend: Backend | undefined
  #opening: Promise<Backend> | undefined
  #weightsVersion = 0
  #underway = 0
  /** Moments by name that have left the places of one layout and are not in those of the next yet. */
  readonly #carried = new Map<Arena, Map<string, Float32Array>>()

  constructor(layout: Layout, options: RuntimeOptions) {
    this.current = layout
    this.#options = options
  }

  /** What runs this model, opened at the first call. */
  openBackend(): Promise<Backend> {
    this.requireNotDisposed()
    this.#opening ??= openBackend(this.#options).then(
      (backend) => {
        this.#backend = backend
        if (this.disposed) backend.close()
        return backend
      },
      (error: unknown) => {
        this.#opening = undefined // the next call tries again: what was missing may be there by then
        throw error
      },
    )
    return this.#opening
  }

  /** Whether matrices of the weights are kept as int8. */
  get int8(): boolean {
    return this.#options.dtype === 'int8'
  }

  /** What activations are stored in. A BackendError where the backend decides and is not open yet. */
  get dtype(): FloatType {
    const { dtype = 'float32' } = this.#options
    if (dtype === 'int8') return 'float32'
    return dtype === 'auto' ? this.opened.description.auto : dtype
  }

  protected get opened(): Backend {
    if (!this.#backend) throw new BackendError('The backend opens at the first awaited call of the model')
    return this.#backend
  }

  get layout(): Layout {
    return this.current
  }

  /** Changes with every change of the weights. */
  get weightsVersion(): number {
    return this.#weightsVersion
  }

  /** A tensor of the weights; of one that is kept as int8, what it stands for. */
  async readTensor(place: TensorPlace): Promise<Float32Array> {
    if (!isInt8(place)) return this.#read(Arena.weights, place.weights, place.elements)
    const values = new Float32Array(place.elements)
    let at = 0
    for await (const piece of readInt8(this.requireMemory(), place)) {
      values.set(piece, at)
      at += piece.length
    }
    return values
  }

  /** A float32 tensor in stretches of at most 1 MiB, whose memory is used again for the next one. */
  async *readTensorPieces({ weights, elements }: TensorPlace): AsyncGenerator<Float32Array> {
    const buffer = new Float32Array(Math.min(elements, PIECE_ELEMENTS))
    for (let start = 0; start < elements; start += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, elements - start))
      await this.requireMemory().read(Arena.weights, weights + start * 4, piece)
      yield piece
    }
  }

  /** Called with every change of the weights. */
  protected weightsChanged(): void {
    this.#weightsVersion++
  }

  /** Writes a tensor in pieces, of which few are at a time on their way to a backend in a worker. */
  async writePieces(place: TensorPlace, pieces: AsyncIterable<Piece>): Promise<void> {
    for await (const { start, values } of pieces) {
      await this.writeTensor(place, values, start)
      await this.#sent(values)
    }
  }

  async #sent({ length }: Float32Array): Promise<void> {
    this.#underway += length
    if (this.#underway >= MOST_UNDERWAY) await this.settle()
  }

  /** Waits until all that was written has arrived; the error of a write or a reservation comes out here. */
  async settle(): Promise<void> {
    this.#underway = 0
    await this.#read(Arena.weights, 0, 1)
  }

  /** A tensor of the gradients or of a moment, which lie alike; zero where nothing was ever written. */
  async readLike(arena: Arena, { gradients, elements }: TrainablePlace): Promise<Float32Array> {
    if (arena !== Arena.gradients) await this.placeMoments()
    this.requireMemory().reserve(arena, this.current.gradientBytes)
    return this.#read(arena, gradients, elements)
  }

  /** Writes `values` from element `start` of a tensor on. A tensor that is kept as int8 comes in order. */
  async writeTensor(place: TensorPlace, values: Float32Array, start = 0): Promise<void> {
    this.weightsChanged()
    const memory = this.requireMemory()
    if (isInt8(place)) {
      const compile = (plan: Plan): Program => this.opened.compile(plan)
      await this.#int8Weights.write({ memory, compile }, place, values, start)
    } else memory.write(Arena.weights, place.weights + start * 4, values)
  }

  /** Moments of zero, as a new optimiser has them. */
  clearMoments(): void {
    this.#carried.clear()
    this.momentsUsed = false
    for (const arena of MOMENTS) this.requireMemory().release(arena) // new memory is zero
  }

  /** Zeros in place of a tensor of the gradients or of a moment. */
  protected clearLike(arena: Arena, { gradients, elements }: TrainablePlace): void {
    this.requireMemory().reserve(arena, this.current.gradientBytes)
    const zeros = new Float32Array(Math.min(elements, PIECE_ELEMENTS))
    for (let start = 0; start < elements; start += zeros.length)
      this.requireMemory().write(arena, gradients + start * 4, zeros.subarray(0, elements - start))
  }

  /** Writes a moment. */
  async writeMoment(arena: (typeof MOMENTS)[number], place: TrainablePlace, values: ArrayLike<number>): Promise<void> {
    await this.placeMoments()
    this.requireMemory().reserve(arena, this.current.gradientBytes)
    this.momentsUsed = true
    await this.#writeLike(arena, place, values)
  }

  async #writeLike(arena: Arena, { gradients }: TrainablePlace, values: ArrayLike<number>): Promise<void> {
    for await (const { start, values: piece } of piecesOf(values)) {
      this.requireMemory().write(arena, gradients + start * 4, piece)
      await this.#sent(piece)
    }
  }

  /** The first `elements` of a kept value of the last run. */
  async readOutput({ arena, offset, type }: Value, elements: number): Promise<Float32Array> {
    if (type !== 'bfloat16') return this.#read(arena, offset!, elements)
    const halves = new Uint16Array(elements)
    await this.requireMemory().read(arena, offset!, halves)
    return fromBfloat16(halves)
  }

  /** Gradients and moments leave their places of the layout `old`: see `relayout`. Moments of what `layout` does not train are dropped. */
  protected async leave(old: Layout, layout: Layout): Promise<void> {
    const memory = this.requireMemory()
    memory.release(Arena.gradients)
    for (const arena of MOMENTS) {
      if (!this.momentsUsed) {
        memory.release(arena)
        continue
      }
      let moments = this.#carried.get(arena)
      if (!moments) {
        moments = new Map()
        memory.reserve(arena, old.gradientBytes)
        for (const { name, gradients, elements } of [...old.tensors.values()].filter(isTrainable))
          moments.set(name, await this.#read(arena, gradients, elements))
        this.#carried.set(arena, moments)
      }
      memory.release(arena)
      for (const name of moments.keys()) if (!isTrainable(layout.tensors.get(name)!)) moments.delete(name)
    }
  }

  /** Moments that have left their places get new ones. Where there is no memory for both, they are kept for the next call. */
  protected async placeMoments(): Promise<void> {
    if (this.#carried.size === 0) return
    const memory = this.requireMemory()
    try {
      for (const arena of this.#carried.keys()) memory.reserve(arena, this.current.gradientBytes)
      for (const [arena, moments] of this.#carried)
        for (const [name, values] of moments)
          await this.#writeLike(arena, this.current.tensors.get(name) as TrainablePlace, values)
      await this.settle() // a backend in a worker says only now whether it had the memory
    } catch (error) {
      for (const arena of this.#carried.keys()) memory.release(arena) // what has arrived would be there for others
      throw error
    }
    this.#carried.clear()
  }

  /** Frees the memory and what was opened for this model alone. */
  protected free(): void {
    this.disposed = true
    this.#carried.clear()
    this.memory?.dispose()
    this.#backend?.close()
  }

  async #read(arena: Arena, offset: number, elements: number): Promise<Float32Array> {
    const target = new Float32Array(elements)
    const due = slices()
    for (let start = 0; start < elements; start += PIECE_ELEMENTS) {
      if (start > 0) await due()
      await this.requireMemory().read(arena, offset + start * 4, target.subarray(start, start + PIECE_ELEMENTS))
    }
    return target
  }

  protected requireMemory(): BackendMemory {
    if (!this.memory) throw new DisposedError('The model has no memory yet')
    return this.memory
  }

  protected requireNotDisposed(): void {
    if (this.disposed) throw new DisposedError('The model was disposed')
  }
}
