// One instance of a binary with its linear memory and its engine: native/api.h as JavaScript calls it.
import { BackendError, messageOf } from '../../errors.ts'
import { opsHash } from '../../graph/op-table.ts'
import type { BackendDescription } from '../backend.ts'
import { compilesInOrder } from './features.ts'
import { importsMemory, type WasmInstance, type WasmMemory, type WasmModule, webAssembly } from './host.ts'

/** The functions that the binaries export (native/api.h). Pointers and sizes are numbers, 64-bit integers bigints. */
export interface WasmExports {
  bk_ops_hash(): bigint
  bk_open(isa: number, threads: number, engine: number, message: number, capacity: number): number
  bk_close(engine: number): void
  bk_describe(engine: number, json: number, capacity: number): void
  bk_memory_create(engine: number, memory: number): number
  bk_memory_free(memory: number): void
  bk_memory_reserve(memory: number, arena: number, bytes: bigint, message: number, capacity: number): number
  bk_memory_release(memory: number, arena: number): number
  bk_memory_at(memory: number, arena: number, offset: bigint, bytes: bigint): number
  bk_program_create(
    engine: number,
    plan: number,
    length: number,
    program: number,
    message: number,
    capacity: number,
  ): number
  bk_program_free(program: number): void
  bk_program_records(program: number): number
  bk_run_start(
    program: number,
    memory: number,
    scalars: number,
    count: number,
    seconds: number,
    done: number,
    user: number,
    run: number,
    message: number,
    capacity: number,
  ): number
  bk_measure_peak(engine: number, peak: number, seconds: number): number
  bk_allocate(bytes: number): number
  bk_free(pointer: number): void
  bk_limit_memory(bytes: bigint): void
  bk_tall_strips(tall: number): void
  bk_cancel_words(): number
  bk_thread_stack(top: number): void
  bk_thread_run(): void
  bk_thread_failed(): void
}

/** Pointers come as signed numbers: those from 2 GiB on are negative. */
const address = (pointer: number): number => pointer >>> 0

const PAGE = 65_536
/** 4 GiB but for the last page: what the binaries declare as their most. */
export const MOST_BYTES = 65_535 * PAGE
/** What a binary's data and stack need at the start, and some scratch. */
const INITIAL_PAGES = 16
const STACK = 262_144

/** What a thread needs to enter the engine's pool; it can be posted to a worker. */
export interface WasmThread {
  readonly module: WasmModule
  readonly memory: WasmMemory
  /** Its stack ends here. */
  readonly stack: number
}

const imports = (memory?: WasmMemory) => ({ env: { now: () => performance.now(), ...(memory && { memory }) } })

/** Turns the calling worker into a thread of the engine's pool; returns when the engine is closed. */
export function runThread({ module, memory, stack }: WasmThread): void {
  const { Instance } = webAssembly()
  const exports = new Instance(module, imports(memory)).exports as WasmExports
  exports.bk_thread_stack(stack)
  try {
    exports.bk_thread_run()
  } catch (error) {
    exports.bk_thread_failed() // the engine waits for a task that nobody ends
    throw error
  }
}

/** How the threads of a pool are had: each is started in a worker of its own, which calls `runThread`. */
export interface WasmThreads {
  /** Threads of the pool, the engine's own included. */
  readonly count: number
  start(thread: WasmThread): { terminate(): void }
}

// Where messages, out-parameters and scalars lie, from the beginning of a block that every instance has.
const OUT = 0
const MESSAGE = 64
const MESSAGE_BYTES = 1024
const SCALARS = MESSAGE + MESSAGE_BYTES
/** More than kMaxScalars of native/runtime/ops.h. */
const SCALARS_ROOM = 1024
const DESK_BYTES = SCALARS + 8 * SCALARS_ROOM

export interface InstanceOptions {
  /** Bytes that the linear memory may have. */
  readonly memoryLimit: number
  /** Where so much shared memory is refused, it may be half as much, and half of that, down to this. By default it may not be less. */
  readonly leastMemory?: number
  /** Of a binary with threads. */
  readonly threads?: WasmThreads
  /** See bk_tall_strips; by default where they are faster. */
  readonly tallStrips?: boolean
}

/** A shared memory, and how many bytes it may have. A host may refuse a large one, whose addresses it keeps free from the start. */
function sharedMemory(memoryLimit: number, leastMemory: number): [memory: WasmMemory, limit: number] {
  const { Memory } = webAssembly()
  for (let limit = memoryLimit; ; limit = Math.max(leastMemory, Math.floor(limit / 2)))
    try {
      const maximum = Math.max(INITIAL_PAGES, Math.floor(limit / PAGE))
      return [new Memory({ initial: INITIAL_PAGES, maximum, shared: true }), limit]
    } catch (cause) {
      if (!(cause instanceof RangeError) || limit <= leastMemory) throw cause
    }
}

export class EngineInstance {
  readonly exports: WasmExports
  readonly engine: number
  readonly description: BackendDescription
  /** Bytes that the linear memory may have. */
  readonly memoryLimit: number
  readonly #memory: WasmMemory
  readonly #desk: number
  readonly #threads: { terminate(): void }[] = []

  /** A BackendError when the binary is not one of this version of bertkit, or the memory is refused. */
  constructor(module: WasmModule, options: InstanceOptions) {
    const { threads, tallStrips = compilesInOrder() } = options
    let { memoryLimit } = options
    const { Instance, RuntimeError } = webAssembly()
    const shared = importsMemory(module)
    let own: WasmMemory | undefined
    let instance: WasmInstance
    try {
      if (shared) [own, memoryLimit] = sharedMemory(memoryLimit, options.leastMemory ?? memoryLimit)
      instance = new Instance(module, imports(own))
    } catch (cause) {
      const reason = messageOf(cause)
      // a RangeError is the host's refusal of memory; what is linked wrongly or traps at once is not ours
      if (cause instanceof RangeError && !(cause instanceof RuntimeError))
        throw new BackendError(`This runtime refuses the memory of a WebAssembly engine: ${reason}`, {
          cause,
          reason: 'memory',
        })
      throw new BackendError(`The WebAssembly binary is not one of bertkit's: ${reason}`, { cause })
    }
    this.memoryLimit = memoryLimit
    this.exports = instance.exports as WasmExports
    const memory = own ?? (instance.exports as { readonly memory?: WasmMemory }).memory
    if (!memory || [this.exports.bk_ops_hash, this.exports.bk_tall_strips].some((f) => typeof f !== 'function'))
      throw new BackendError("The WebAssembly binary is not one of bertkit's: it does not export native/api.h")
    this.#memory = memory
    if (BigInt.asUintN(64, this.exports.bk_ops_hash()) !== opsHash)
      throw new BackendError(
        'The WebAssembly binary was built from another list of ops: take it from the version of bertkit that runs, in a checkout with npm run build:wasm',
      )
    this.exports.bk_limit_memory(BigInt(memoryLimit))
    this.exports.bk_tall_strips(tallStrips ? 1 : 0)
    this.#desk = this.allocate(DESK_BYTES)
    if (!this.#desk) throw new BackendError(`No memory for a WebAssembly engine: the limit is ${memoryLimit} bytes`)
    const count = shared ? (threads?.count ?? 1) : 1
    const error = this.exports.bk_open(0, count, this.#desk + OUT, this.#desk + MESSAGE, MESSAGE_BYTES)
    if (error) throw new BackendError(this.message())
    this.engine = this.out()
    this.exports.bk_describe(this.engine, this.#desk + MESSAGE, MESSAGE_BYTES)
    this.description = JSON.parse(this.message()) as BackendDescription
    try {
      for (let i = 1; threads && i < count; i++) {
        const stack = this.allocate(STACK)
        if (!stack) break // with the threads that there are
        this.#threads.push(threads.start({ module, memory, stack: stack + STACK }))
      }
    } catch (error) {
      this.terminate()
      throw error
    }
  }

  /** The address of new bytes of the linear memory; 0: no room. */
  allocate(bytes: number): number {
    return address(this.exports.bk_allocate(bytes))
  }

  /** The address of bytes of an arena; 0: they do not lie in it. */
  memoryAt(memory: number, arena: number, offset: number, bytes: number): number {
    return address(this.exports.bk_memory_at(memory, arena, BigInt(offset), BigInt(bytes)))
  }

  /** The linear memory as it is now: growing it replaces the buffer. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer)
  }

  /** Arguments of a function that writes a pointer and a message. */
  get outAt(): number {
    return this.#desk + OUT
  }
  get messageAt(): readonly [pointer: number, capacity: number] {
    return [this.#desk + MESSAGE, MESSAGE_BYTES]
  }

  /** The pointer that the last such function wrote. */
  out(): number {
    return new DataView(this.#memory.buffer).getUint32(this.outAt, true)
  }

  /** The message that the last such function wrote. */
  message(): string {
    const bytes = this.bytes.slice(this.#desk + MESSAGE, this.#desk + SCALARS) // a copy: decoders refuse shared memory
    return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)))
  }

  /** Puts scalars where bk_run_start can read them; returns where. Of too many, which it refuses by their count, only some. */
  putScalars(scalars: Float64Array): number {
    const at = this.#desk + SCALARS
    const some = scalars.subarray(0, SCALARS_ROOM)
    new Float64Array(this.#memory.buffer, at, some.length).set(some)
    return at
  }

  /** Seconds at this place, copied. */
  float64s(at: number, length: number): Float64Array {
    return new Float64Array(this.#memory.buffer, at, length).slice()
  }

  /** See bk_cancel_words: the number of the run that goes on, and of the one that is to be cancelled. */
  cancelWords(): Int32Array {
    return new Int32Array(this.#memory.buffer, address(this.exports.bk_cancel_words()), 2)
  }

  close(): void {
    this.exports.bk_close(this.engine)
  }

  /** Stops the threads where they are; the instance is not used afterwards. */
  terminate(): void {
    for (const thread of this.#threads) thread.terminate()
  }
}
