// The WebAssembly backend in the thread that calls it: a run keeps that thread until it has ended. A worker around it is what makes it
// asynchronous in truth.
import { AbortedError, BackendError, BusyError, DisposedError, messageOf } from '../../errors.ts'
import { Arena } from '../../graph/op-table.ts'
import type { Plan } from '../../graph/plan.ts'
import { nextTurn, slices } from '../../turns.ts'
import {
  type Backend,
  type BackendDescription,
  type BackendMemory,
  type Elements,
  PEAKS,
  type Peak,
  type Program,
} from '../backend.ts'
import { backendError, ErrorNumber } from '../errors.ts'
import { type WasmModule, webAssembly } from './host.ts'
import { EngineInstance, MOST_BYTES, type WasmThreads } from './instance.ts'
import { checkMemoryLimit } from './options.ts'

export interface InlineOptions {
  /** Bytes that the engine's linear memory may have; by default what `defaultMemoryLimit` says. */
  readonly memoryLimit?: number
  /** Gives the event loop a turn before a run when none was for some milliseconds, so that timers and signals fire. Default true. */
  readonly turns?: boolean
  /** Threads for a binary that has them; without, it runs with one. */
  readonly threads?: WasmThreads
  /** See bk_tall_strips; by default where they are faster. */
  readonly tallStrips?: boolean
}

/** iOS refuses shared memories that may become large. Where nobody says how large, less than this is not asked for: models hardly fit. */
const LEAST_SHARED = 256 * 2 ** 20

/** Of an edge worker of 128 MB, what its program and its data leave. */
const EDGE_BYTES = 96 * 2 ** 20

/**
 * The limit where none is given: 96 MiB where there are no workers, as in edge runtimes, whose own limit of 128 MB ends the program
 * without an error; else as much as a WebAssembly memory can have, 4 GiB.
 */
export const defaultMemoryLimit = (): number => {
  const { Worker, process } = globalThis as { Worker?: unknown; process?: { versions?: { node?: string } } }
  const edge = (globalThis as { navigator?: { userAgent?: string } }).navigator?.userAgent === 'Cloudflare-Workers'
  return edge || (Worker === undefined && process?.versions?.node === undefined) ? EDGE_BYTES : MOST_BYTES
}

const ARENAS = Object.values(Arena)
/** Their contents mean nothing between two runs. */
const isTransient = (arena: Arena) => arena === Arena.activations || arena === Arena.io

/** What a call gave, or why not. */
type Outcome<Result> = { readonly error: number; readonly message: string } | { readonly result: Result }

/** What WebAssembly throws: a trap, or that the stack is full, which each engine of JavaScript says in its own words. */
const isTrap = (cause: unknown): boolean =>
  cause instanceof webAssembly().RuntimeError ||
  (cause instanceof Error && /call stack|too much recursion/i.test(cause.message))

/** An engine whose instance is replaced when it fails. */
class InlineEngine {
  readonly memories = new Set<InlineMemory>()
  readonly #start: () => EngineInstance
  /** Undefined once closed. */
  #current: EngineInstance | undefined

  constructor(module: WasmModule, { memoryLimit: asked, threads, tallStrips }: InlineOptions) {
    checkMemoryLimit(asked)
    const memoryLimit = Math.min(Math.floor(asked ?? defaultMemoryLimit()), MOST_BYTES)
    const leastMemory = asked === undefined ? Math.min(memoryLimit, LEAST_SHARED) : memoryLimit
    this.#start = () => new EngineInstance(module, { memoryLimit, leastMemory, threads, tallStrips })
    this.#current = this.#start()
  }

  get current(): EngineInstance {
    if (!this.#current) throw new DisposedError('The WebAssembly engine is closed')
    return this.#current
  }

  get isOpen(): boolean {
    return this.#current !== undefined
  }

  /** How much memory there is, and may be. */
  get room(): string {
    const { bytes, memoryLimit } = this.current
    return `the linear memory has ${bytes.length} bytes and may have ${memoryLimit} (memoryLimit)`
  }

  /** What a call gave, or its typed error. */
  resultOf<Result>(outcome: Outcome<Result>): Result {
    if (!('message' in outcome)) return outcome.result
    const { error, message } = outcome
    throw backendError(error, error === ErrorNumber.memory ? `${message}: ${this.room}` : message)
  }

  /** Calls into the instance. What is thrown there, a trap, ends the instance: another takes its place. */
  call<Result>(body: (instance: EngineInstance) => Result): Result {
    const instance = this.current
    try {
      return body(instance)
    } catch (cause) {
      throw isTrap(cause) ? this.#replace(instance, cause) : cause
    }
  }

  #replace(failed: EngineInstance, cause: unknown): BackendError {
    failed.terminate()
    const reason = messageOf(cause)
    this.#current = undefined
    try {
      this.#current = this.#start()
    } catch (second) {
      const why = messageOf(second)
      return new BackendError(`The WebAssembly engine failed (${reason}) and could not be started again: ${why}`, {
        cause,
      })
    }
    const lost = [...this.memories].filter((memory) => !memory.move(failed))
    const kept =
      lost.length === 0
        ? 'its memory was kept as it was, which may be the middle of a step'
        : 'there was no room to keep its memory: load the model again'
    return new BackendError(`The WebAssembly engine failed (${reason}); it was started again and ${kept}`, { cause })
  }

  close(): void {
    const instance = this.#current
    this.#current = undefined
    try {
      instance?.close()
    } catch {
      // a thread had failed: nothing of the instance is used any more
    }
    instance?.terminate()
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Elements): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

class InlineMemory implements BackendMemory {
  readonly engine: InlineEngine
  readonly #bytes = new Map<Arena, number>()
  /** 0 once disposed. */
  #handle: number
  #lost = false
  #busy = false

  constructor(engine: InlineEngine) {
    this.engine = engine
    this.#handle = this.#create()
    engine.memories.add(this)
  }

  #create(): number {
    return this.engine.resultOf(
      this.engine.call((instance): Outcome<number> => {
        const error = instance.exports.bk_memory_create(instance.engine, instance.outAt)
        return error ? { error, message: 'No memory for a model' } : { result: instance.out() }
      }),
    )
  }

  get handle(): number {
    if (!this.#handle) throw new DisposedError('The memory of this model was disposed')
    if (this.#lost)
      throw new BackendError('The memory of this model was lost with an engine that failed; load the model again')
    return this.#handle
  }

  #idle(): number {
    if (this.#busy) throw new BusyError('The memory of this model is in use by a run')
    return this.handle
  }

  reserve(arena: Arena, bytes: number): void {
    const handle = this.#idle()
    const error = this.engine.call(({ exports }) => exports.bk_memory_reserve(handle, arena, BigInt(bytes), 0, 0))
    if (error) {
      // what it was before is gone where the contents are not kept
      if (isTransient(arena) && error === ErrorNumber.memory) this.#bytes.delete(arena)
      throw backendError(error, `No memory for an arena of ${bytes} bytes: ${this.engine.room}`)
    }
    this.#bytes.set(arena, Math.max(bytes, this.#bytes.get(arena) ?? 0))
  }

  release(arena: Arena): void {
    const handle = this.#idle()
    this.engine.call(({ exports }) => exports.bk_memory_release(handle, arena))
    this.#bytes.delete(arena)
  }

  /** The bytes in the linear memory where these elements of an arena lie. */
  #range(arena: Arena, offset: number, { byteLength }: Elements): Uint8Array {
    const handle = this.#idle()
    if (offset + byteLength > (this.#bytes.get(arena) ?? 0)) throw new BackendError('The range lies outside the arena')
    return this.engine.call((instance) => {
      const at = instance.memoryAt(handle, arena, offset, byteLength)
      return instance.bytes.subarray(at, at + byteLength)
    })
  }

  write(arena: Arena, offset: number, source: Elements): void {
    this.#range(arena, offset, source).set(bytesOf(source))
  }

  async read(arena: Arena, offset: number, target: Elements): Promise<void> {
    bytesOf(target).set(this.#range(arena, offset, target))
  }

  /** Makes this memory anew in the engine's present instance with what it held in another; false when it cannot have the room. */
  move(from: EngineInstance): boolean {
    if (this.#lost) return false
    const old = this.#handle
    let made = 0 // may be the address that the old one has in another instance
    try {
      made = this.#create()
      this.#handle = made
      const { current } = this.engine
      for (const arena of ARENAS) {
        const bytes = this.#bytes.get(arena)
        if (!bytes) continue
        if (current.exports.bk_memory_reserve(this.#handle, arena, BigInt(bytes), 0, 0))
          throw new BackendError('No room')
        if (isTransient(arena)) continue
        const source = from.memoryAt(old, arena, 0, bytes)
        const target = current.memoryAt(this.#handle, arena, 0, bytes)
        current.bytes.set(from.bytes.subarray(source, source + bytes), target)
      }
    } catch {
      this.#lost = true
      if (made) this.engine.current.exports.bk_memory_free(made)
    }
    return !this.#lost
  }

  /** Nothing but a run may use the memory between these two. */
  begin(): void {
    this.#idle()
    this.#busy = true
  }
  end(): void {
    this.#busy = false
    if (!this.engine.memories.has(this)) this.#free()
  }

  dispose(): void {
    this.engine.memories.delete(this)
    if (!this.#busy) this.#free()
  }

  #free(): void {
    const handle = this.#handle
    this.#handle = 0
    if (handle && !this.#lost && this.engine.isOpen) this.engine.call(({ exports }) => exports.bk_memory_free(handle))
  }
}

class InlineProgram implements Program {
  readonly #engine: InlineEngine
  readonly #words: Int32Array
  readonly #turn: () => Promise<void> | undefined
  /** Where the program was made, and as what; made again when the engine has another instance. */
  #made: { readonly instance: EngineInstance; readonly handle: number } | undefined
  #disposed = false

  constructor(engine: InlineEngine, plan: Plan, turn: () => Promise<void> | undefined) {
    this.#engine = engine
    this.#words = plan.words
    this.#turn = turn
    this.#make()
  }

  #make(): number {
    if (this.#disposed) throw new DisposedError('The program was disposed')
    if (this.#made?.instance === this.#engine.current) return this.#made.handle
    const words = this.#words
    const outcome = this.#engine.call((instance): Outcome<{ instance: EngineInstance; handle: number }> => {
      const { exports, outAt, messageAt } = instance
      const at = instance.allocate(words.byteLength)
      if (!at) return { error: ErrorNumber.memory, message: `No memory for a plan of ${words.length} words` }
      instance.bytes.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), at)
      const error = exports.bk_program_create(instance.engine, at, words.length, outAt, ...messageAt)
      exports.bk_free(at)
      return error ? { error, message: instance.message() } : { result: { instance, handle: instance.out() } }
    })
    this.#made = this.#engine.resultOf(outcome)
    return this.#made.handle
  }

  async run(
    memory: BackendMemory,
    scalars: Float64Array,
    signal?: AbortSignal,
    timed?: (seconds: Float64Array) => void,
  ): Promise<void> {
    if (!(memory instanceof InlineMemory) || memory.engine !== this.#engine)
      throw new BackendError('The memory belongs to another backend')
    memory.begin()
    try {
      const turn = this.#turn()
      if (turn) await turn
      if (signal?.aborted) throw new AbortedError()
      const seconds = this.#execute(memory.handle, scalars, timed !== undefined)
      if (seconds) timed?.(seconds)
    } finally {
      memory.end()
    }
  }

  #execute(memory: number, scalars: Float64Array, timed: boolean): Float64Array | undefined {
    const program = this.#make()
    const outcome = this.#engine.call((instance): Outcome<Float64Array | undefined> => {
      const { exports, messageAt } = instance
      const records = timed ? exports.bk_program_records(program) : 0
      const times = records > 0 ? instance.allocate(8 * records) : 0
      if (records > 0 && !times) return { error: ErrorNumber.memory, message: 'No memory for the times of records' }
      const at = instance.putScalars(scalars)
      const error = exports.bk_run_start(program, memory, at, scalars.length, times, 0, 0, 0, ...messageAt)
      const seconds = timed ? instance.float64s(times, records) : undefined
      if (times) exports.bk_free(times)
      return error ? { error, message: instance.message() } : { result: seconds }
    })
    return this.#engine.resultOf(outcome)
  }

  dispose(): void {
    const made = this.#made
    this.#made = undefined
    this.#disposed = true
    if (made && this.#engine.isOpen && made.instance === this.#engine.current)
      this.#engine.call(({ exports }) => exports.bk_program_free(made.handle))
  }
}

/** Runs without a turn where the clock does not say that one is due: in edge workers it stands still while a program computes. */
const MOST_RUNS = 32

function turns(): () => Promise<void> | undefined {
  const due = slices()
  let runs = 0
  return () => due() ?? (++runs % MOST_RUNS === 0 ? nextTurn() : undefined)
}

export interface InlineBackend extends Backend {
  /**
   * Two words in the linear memory. The first is the number of the run that goes on, which whoever calls `run` writes before; a run
   * stops before its next record when another thread writes that number to the second. Only of a memory that is shared, and anew after
   * an engine has failed.
   */
  cancelWords(): Int32Array
}

/** Opens an engine on a binary's module. A BackendError says what is wrong with the binary, or that the memory is refused. */
export function openInline(module: WasmModule, options: InlineOptions = {}): InlineBackend {
  const engine = new InlineEngine(module, options)
  const turn = options.turns === false ? () => undefined : turns()
  const description: BackendDescription = engine.current.description
  return {
    description,
    createMemory: () => new InlineMemory(engine),
    compile: (plan: Plan) => new InlineProgram(engine, plan, turn),
    measurePeak: async (peak: Peak, seconds: number) =>
      engine.call((instance) => instance.exports.bk_measure_peak(instance.engine, PEAKS.indexOf(peak), seconds)),
    cancelWords: () => engine.call((instance) => instance.cancelWords()),
    close: () => engine.close(),
  }
}
