import type { Arena } from '../graph/op-table.ts'
import type { Plan } from '../graph/plan.ts'

export type BackendName = 'cpu' | 'cuda' | 'wasm'
export type BackendChoice = 'auto' | BackendName

export interface ProductDescription {
  /** What multiplies. */
  readonly kernel: string
  /** The tile of sums that registers hold. */
  readonly rows: number
  readonly columns: number
  /** The depth of a packed weight is a multiple of `unit`, its width of `columns`, and its elements have `bytes`; 0: none is packed. */
  readonly unit: number
  readonly bytes: number
}

/** What runs the plans, for `bertkit info`. */
export interface BackendDescription {
  readonly backend: BackendName
  /** Instruction set in use; of a GPU, its architecture. */
  readonly isa: string
  /** Instruction sets that this machine has, best first. */
  readonly isas: readonly string[]
  /** What computes, by its name. */
  readonly cpu: string
  readonly threads: number
  /** The dtype that is faster here: what 'auto' means. */
  readonly auto: 'float32' | 'bfloat16'
  /** How products are made in each dtype. */
  readonly products: Readonly<Record<'float32' | 'bfloat16', ProductDescription>>
}

/** Elements of a value: of bfloat16 their bits. */
export type Elements = Float32Array | Int32Array | Uint16Array

/**
 * The arenas of one model. Offsets are in bytes. Nothing here may be called while a run uses the memory. Calls are carried out in
 * their order; where a worker carries them out, the error of one without a result reaches the next that is awaited, a run or a read.
 */
export interface BackendMemory {
  /** Makes an arena at least this large. New bytes are zero; activations and io lose their contents when they grow. */
  reserve(arena: Arena, bytes: number): void
  /** Gives an arena's memory back; it is empty then. */
  release(arena: Arena): void
  /** Copies `source`, which may change afterwards. */
  write(arena: Arena, offset: number, source: Elements): void
  /** Fills `target`. */
  read(arena: Arena, offset: number, target: Elements): Promise<void>
  /** Gives the memory back, at once or when the run that uses it has ended. */
  dispose(): void
}

/** A validated plan. */
export interface Program {
  /**
   * Executes the plan on the backend's own thread; runs go in the order of the calls. `scalars`: ROW and SCALAR of ops.def.
   * Rejects with AbortedError if `signal` fires before the last record. A run that has begun to write weights always completes; where a
   * run cannot be interrupted, so does every run of a plan that writes weights. With `timed`, a run that succeeds calls it with the seconds
   * that each record took, in the order of the plan; of records that are done together, the first has them.
   */
  run(
    memory: BackendMemory,
    scalars: Float64Array,
    signal?: AbortSignal,
    timed?: (seconds: Float64Array) => void,
  ): Promise<void>
  dispose(): void
}

/** Flops per second of products in registers, by dtype; or bytes per second of memory updated in place, or only read. */
export type Peak = 'float32' | 'bfloat16' | 'memory' | 'read'
/** In the order of native/api.h's bk_peak. */
export const PEAKS: readonly Peak[] = ['float32', 'bfloat16', 'memory', 'read']

export interface Backend {
  readonly description: BackendDescription
  createMemory(): BackendMemory
  compile(plan: Pick<Plan, 'words'> & Partial<Pick<Plan, 'writesWeights'>>): Program
  /** What this machine reaches at most with all threads, measured for about `seconds`. */
  measurePeak(peak: Peak, seconds: number): Promise<number>
  /** Gives back what was opened for this model alone. Its memories and programs are not used afterwards. */
  close(): void
}
