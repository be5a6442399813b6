// The addon behind the Backend interface: the CPU's kernels, or those of a library with the same C interface.
import { AbortedError, BackendError, type BertkitError, BusyError, DisposedError, messageOf } from '../errors.ts'
import type { Arena } from '../graph/op-table.ts'
import type { Plan } from '../graph/plan.ts'
import { loadAddon, type NativeEngine, type NativeMemory, type NativeProgram } from './addon.ts'
import {
  type Backend,
  type BackendDescription,
  type BackendMemory,
  type Elements,
  PEAKS,
  type Program,
} from './backend.ts'
import { backendError } from './errors.ts'

/** Turns an error of the addon into the typed one. */
function translate(error: unknown): BertkitError {
  const text = messageOf(error)
  const number = error instanceof Error && 'number' in error ? error.number : undefined
  return backendError(typeof number === 'number' ? number : 0, text)
}

function translated<Result>(call: () => Result): Result {
  try {
    return call()
  } catch (error) {
    throw translate(error)
  }
}

class NativeBackendMemory implements BackendMemory {
  #native: NativeMemory | undefined
  #runs = 0

  constructor(native: NativeMemory) {
    this.#native = native
  }

  reserve(arena: Arena, bytes: number): void {
    const native = this.idle()
    translated(() => native.reserve(arena, bytes))
  }

  release(arena: Arena): void {
    const native = this.idle()
    translated(() => native.release(arena))
  }

  write(arena: Arena, offset: number, source: Elements): void {
    const native = this.idle()
    // the addon has no view of memory that threads share
    const own = source.buffer instanceof ArrayBuffer ? source : source.slice()
    translated(() => native.write(arena, offset, own))
  }

  async read(arena: Arena, offset: number, target: Elements): Promise<void> {
    const native = this.idle()
    translated(() => native.read(arena, offset, target))
  }

  dispose(): void {
    this.#native?.dispose()
    this.#native = undefined
  }

  get native(): NativeMemory {
    if (!this.#native) throw new DisposedError('The memory of this model was disposed')
    return this.#native
  }

  idle(): NativeMemory {
    if (this.#runs > 0) throw new BusyError('The memory of this model is in use by a run')
    return this.native
  }

  begin(): void {
    this.#runs++
  }

  end(): void {
    this.#runs--
  }
}

class NativeBackendProgram implements Program {
  constructor(
    private readonly engine: NativeEngine,
    private readonly native: NativeProgram,
  ) {}

  run(
    memory: BackendMemory,
    scalars: Float64Array,
    signal?: AbortSignal,
    timed?: (seconds: Float64Array) => void,
  ): Promise<void> {
    if (!(memory instanceof NativeBackendMemory)) throw new BackendError('The memory belongs to another backend')
    if (signal?.aborted) return Promise.reject(new AbortedError())
    return new Promise((resolve, reject) => {
      let cancel: (() => void) | undefined
      const done = (error: number, message: string, seconds: Float64Array | undefined) => {
        memory.end()
        if (cancel) signal?.removeEventListener('abort', cancel)
        if (error) {
          reject(backendError(error, message))
          return
        }
        try {
          if (seconds) timed?.(seconds)
          resolve()
        } catch (thrown) {
          reject(thrown)
        }
      }
      const target = memory.native
      const id = translated(() => this.native.run(target, scalars, done, timed !== undefined))
      memory.begin()
      if (signal) {
        cancel = () => this.engine.cancel(id)
        signal.addEventListener('abort', cancel, { once: true })
      }
    })
  }

  dispose(): void {
    this.native.dispose()
  }
}

export interface NativeOptions {
  /** An instruction set that the machine has; default: the best. */
  readonly isa?: string
  /** Default: the CPUs that the process may use. */
  readonly threads?: number
  /** The file of a library with native/api.h's functions, in place of the CPU's kernels. */
  readonly library?: string
}

/** Opens the kernels. A BackendError says what is missing. */
export function openNative(options: NativeOptions = {}): Backend {
  const addon = loadAddon()
  const engine = translated(() => new addon.Engine(options.isa ?? '', options.threads ?? 0, options.library))
  return {
    description: JSON.parse(engine.describe()) as BackendDescription,
    createMemory: () => new NativeBackendMemory(translated(() => new addon.Memory(engine))),
    compile: (plan: Plan) =>
      new NativeBackendProgram(
        engine,
        translated(() => new addon.Program(engine, plan.words)),
      ),
    measurePeak: async (peak, seconds) => translated(() => engine.measurePeak(PEAKS.indexOf(peak), seconds)),
    close() {}, // the engine is a handle on the pool of the process, shared by models
  }
}

const opened = new Map<string, Backend>()

/** The same, opened once for the same options: an engine is a handle on the one pool of the process, and models share it. */
export function openSharedNative(options: NativeOptions): Backend {
  const key = `${options.isa ?? ''}/${options.threads ?? 0}/${options.library ?? ''}`
  let open = opened.get(key)
  if (!open) {
    open = openNative(options)
    opened.set(key, open)
  }
  return open
}
