// The asking side: a backend whose work is done by a worker.
import { AbortedError, BackendError, BusyError, DisposedError, messageOf } from '../../errors.ts'
import type { Arena } from '../../graph/op-table.ts'
import { kindOf, quote } from '../../json.ts'
import type { Backend, BackendDescription, BackendMemory, Elements, Peak, Program } from '../backend.ts'
import {
  type Answers,
  type Command,
  copyInto,
  elementsName,
  HELLO,
  isReply,
  type Question,
  RETURN_BYTES,
  RETURNED,
  type Reply,
  type Request,
  runNumber,
  typedError,
} from './protocol.ts'

/** A worker with the `Server` in it, on any platform. */
export interface WorkerPort {
  post(request: Request, transfer: ArrayBufferLike[]): void
  /** Called once, before the first message, which may be any value: the script is the caller's. `failed`: the worker has ended, or never began. */
  listen(reply: (message: unknown) => void, failed: (reason: string) => void): void
  /** Whether answers are awaited: a process may end while none is. */
  hold(awaited: boolean): void
  terminate(): void
}

interface Waiting {
  readonly resolve: (answer: never) => void
  readonly reject: (error: Error) => void
}

/** Memory that has come back from the worker and waits to be used again: as many pieces as are written before an answer is waited for. */
const MOST_SPARE = 8

/** Seconds in which a worker's script has to say something: loading it over a slow network takes some. */
const PATIENCE = 30

class Connection {
  readonly #waiting = new Map<number, Waiting>()
  #questions = 0
  #handles = 0
  #ended: string | undefined
  /** Where a run that goes on is told to stop; without, it goes on to its end. */
  #cancelWords: Int32Array | undefined
  readonly #spare: ArrayBuffer[] = []

  /** Until the worker's script has begun, or the connection ends. */
  readonly #silence: ReturnType<typeof setTimeout>
  /** Whether it has: before that a message is from another script. */
  #begun = false

  constructor(private readonly port: WorkerPort) {
    const reason = `The worker of the wasm backend said nothing for ${PATIENCE} seconds: is its script (wasm.worker) that of bertkit/worker?`
    this.#silence = setTimeout(() => this.end(reason), PATIENCE * 1000)
    port.listen(
      (message) => this.#take(message),
      (why) => this.end(why),
    )
  }

  tell(command: Command, transfer: ArrayBufferLike[] = []): void {
    if (this.#ended === undefined) this.port.post(command, transfer)
  }

  ask<Kind extends Question['kind']>(
    question: Extract<Question, { kind: Kind }>,
    signal?: AbortSignal,
  ): Promise<Answers[Kind]> {
    if (this.#ended !== undefined) return Promise.reject(new BackendError(this.#ended))
    if (signal?.aborted) return Promise.reject(new AbortedError())
    const id = this.#questions++
    const cancel = () => {
      this.port.post({ kind: 'cancel', id }, [])
      if (this.#cancelWords) Atomics.store(this.#cancelWords, 1, runNumber(id))
    }
    signal?.addEventListener('abort', cancel, { once: true })
    return new Promise<Answers[Kind]>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.port.hold(true)
      try {
        this.port.post({ ...question, id }, [])
      } catch (cause) {
        // such as a binary that cannot be sent to a worker
        const reason = messageOf(cause)
        this.#settle({ id, error: { name: 'BackendError', message: `The worker cannot be asked: ${reason}` } })
      }
    }).finally(() => signal?.removeEventListener('abort', cancel))
  }

  /** A copy to hand over, in memory that has come back where some is large enough. */
  copyOf(source: Elements): Elements {
    const i =
      source.byteLength < RETURN_BYTES ? -1 : this.#spare.findIndex((buffer) => buffer.byteLength >= source.byteLength)
    return i < 0 ? source.slice() : copyInto(this.#spare.splice(i, 1)[0], source)
  }

  newHandle(): number {
    return this.#handles++
  }

  end(reason: string): void {
    if (this.#ended !== undefined) return
    this.#ended = reason
    clearTimeout(this.#silence)
    for (const { reject } of this.#waiting.values()) reject(new BackendError(reason))
    this.#waiting.clear()
    this.#spare.length = 0
    this.port.terminate()
  }

  /** What is thrown here would end the process, and a question whose answer is not understood would wait for ever. */
  #take(message: unknown): void {
    if (this.#ended !== undefined) return // it was on its way
    if (!isReply(message) || !this.#isExpected(message)) {
      const what = typeof message === 'string' ? quote(message) : kindOf(message)
      this.end(
        `The worker of the wasm backend sent ${what}, which is no answer to a question: is its script (wasm.worker) that of bertkit/worker, of the same version?`,
      )
      return
    }
    if (message.id === HELLO) {
      this.#begun = true
      clearTimeout(this.#silence)
    } else if ('returned' in message) {
      if (this.#spare.length < MOST_SPARE) this.#spare.push(message.returned)
    } else this.#settle(message)
  }

  #isExpected(reply: Reply): boolean {
    if (reply.id === HELLO) return true
    return this.#begun && (reply.id === RETURNED || this.#waiting.has(reply.id))
  }

  #settle(reply: Exclude<Reply, { returned: ArrayBuffer }>): void {
    const waiting = this.#waiting.get(reply.id)
    if (reply.cancelWords) this.#cancelWords = reply.cancelWords
    this.#waiting.delete(reply.id)
    if (this.#waiting.size === 0) this.port.hold(false)
    if ('error' in reply) waiting?.reject(typedError(reply.error))
    else waiting?.resolve(reply.answer as never)
  }
}

class RemoteMemory implements BackendMemory {
  readonly id: number
  #runs = 0
  #disposed = false

  constructor(readonly connection: Connection) {
    this.id = connection.newHandle()
    connection.tell({ kind: 'createMemory', memory: this.id })
  }

  reserve(arena: Arena, bytes: number): void {
    this.idle()
    this.connection.tell({ kind: 'reserve', memory: this.id, arena, bytes })
  }

  release(arena: Arena): void {
    this.idle()
    this.connection.tell({ kind: 'release', memory: this.id, arena })
  }

  write(arena: Arena, offset: number, source: Elements): void {
    this.idle()
    const data = this.connection.copyOf(source)
    this.connection.tell({ kind: 'write', memory: this.id, arena, offset, data }, [data.buffer])
  }

  async read(arena: Arena, offset: number, target: Elements): Promise<void> {
    this.idle()
    const type = elementsName(target)
    const question = { kind: 'read', memory: this.id, arena, offset, elements: target.length, type } as const
    target.set(await this.connection.ask<'read'>(question))
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.connection.tell({ kind: 'disposeMemory', memory: this.id })
  }

  idle(): void {
    this.alive()
    if (this.#runs > 0) throw new BusyError('The memory of this model is in use by a run')
  }

  alive(): void {
    if (this.#disposed) throw new DisposedError('The memory of this model was disposed')
  }

  async during<Result>(run: Promise<Result>): Promise<Result> {
    this.#runs++
    try {
      return await run
    } finally {
      this.#runs--
    }
  }
}

class RemoteProgram implements Program {
  readonly #id: number
  readonly #writesWeights: boolean

  constructor(
    private readonly connection: Connection,
    { words, writesWeights = false }: Parameters<Backend['compile']>[0],
  ) {
    this.#writesWeights = writesWeights
    this.#id = connection.newHandle()
    connection.tell({ kind: 'compile', program: this.#id, words })
  }

  async run(
    memory: BackendMemory,
    scalars: Float64Array,
    signal?: AbortSignal,
    timed?: (seconds: Float64Array) => void,
  ): Promise<void> {
    if (!(memory instanceof RemoteMemory) || memory.connection !== this.connection)
      throw new BackendError('The memory belongs to another backend')
    memory.alive()
    const question = {
      kind: 'run',
      memory: memory.id,
      program: this.#id,
      scalars,
      timed: timed !== undefined,
      cancellable: signal !== undefined,
    } as const
    const seconds = await memory.during(this.connection.ask<'run'>(question, signal))
    // of memory that is not shared a run goes on to its end
    if (signal?.aborted && !this.#writesWeights) throw new AbortedError()
    if (seconds) timed?.(seconds)
  }

  dispose(): void {
    this.connection.tell({ kind: 'disposeProgram', program: this.#id })
  }
}

/** Opens the backend in a worker with these settings, which are those of the function that its `Server` opens a backend with. */
export async function openRemote(port: WorkerPort, settings: unknown): Promise<Backend> {
  const connection = new Connection(port)
  let description: BackendDescription
  try {
    description = await connection.ask<'open'>({ kind: 'open', settings })
  } catch (error) {
    port.terminate()
    throw error
  }
  return {
    description,
    createMemory: () => new RemoteMemory(connection),
    compile: (plan) => new RemoteProgram(connection, plan),
    measurePeak: (peak: Peak, seconds: number) => connection.ask<'measurePeak'>({ kind: 'measurePeak', peak, seconds }),
    close: () => connection.end('The backend was closed'),
  }
}
