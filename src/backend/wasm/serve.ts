// The worker's side: carries out on a backend of this thread what another thread asks for.
import { AbortedError, BackendError } from '../../errors.ts'
import type { Backend, BackendMemory, Elements, Program } from '../backend.ts'
import type { InlineBackend } from './inline.ts'
import {
  type Answers,
  type Command,
  carried,
  newElements,
  type Question,
  RETURN_BYTES,
  RETURNED,
  type Reply,
  type Request,
  runNumber,
} from './protocol.ts'

/** Lets messages in that wait: a run keeps them from being seen, and one of them may cancel it. */
function waitingMessages(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel() // browsers keep a timer waiting for 4 ms
    port1.addEventListener('message', () => {
      port1.close()
      resolve()
    })
    port1.start()
    port2.postMessage(undefined)
  })
}

/** What a worker serves: an engine, or in tests another backend. */
type ServedBackend = Backend & Partial<Pick<InlineBackend, 'cancelWords'>>

interface Served {
  /** Undefined where it could not be created. */
  readonly memory: BackendMemory | undefined
  /** Of a call without an answer; the next question about this memory is answered with it. */
  fault?: unknown
}

/**
 * Serves one backend, which the first question opens. `answer` sends a reply, handing over the buffers of `transfer`.
 */
export class Server {
  #backend: ServedBackend | undefined
  readonly #memories = new Map<number, Served>()
  readonly #programs = new Map<number, Program | { readonly fault: unknown }>()
  /** Questions that have no answer yet. */
  readonly #waiting = new Set<number>()
  readonly #cancelled = new Set<number>()
  /** The last that the asking side was told of. */
  #cancelWords: Int32Array | undefined
  #tail: Promise<void> = Promise.resolve()

  constructor(
    private readonly open: (settings: unknown) => Promise<ServedBackend>,
    private readonly answer: (reply: Reply, transfer: ArrayBufferLike[]) => void,
  ) {}

  take(request: Request): void {
    if (request.kind === 'cancel') {
      if (this.#waiting.has(request.id)) this.#cancelled.add(request.id)
      return
    }
    if ('id' in request) this.#waiting.add(request.id)
    this.#tail = this.#tail.then(() => this.#handle(request))
  }

  async #handle(request: Exclude<Request, { kind: 'cancel' }>): Promise<void> {
    if (!('id' in request)) {
      this.#carryOut(request)
      return
    }
    const { id } = request
    try {
      if (request.kind === 'run' && request.cancellable) await waitingMessages()
      if (this.#cancelled.has(id)) throw new AbortedError()
      const answer = await this.#find(request, id)
      this.answer({ id, answer, ...this.#newCancelWords() }, ArrayBuffer.isView(answer) ? [answer.buffer] : [])
    } catch (error) {
      this.answer({ id, error: carried(error), ...this.#newCancelWords() }, [])
    } finally {
      this.#waiting.delete(id)
      this.#cancelled.delete(id)
    }
  }

  /** Where an engine has replaced one that failed, they lie in another memory. */
  #newCancelWords(): { cancelWords?: Int32Array } {
    const words = this.#sharedWords()
    if (words?.buffer === this.#cancelWords?.buffer) return {}
    this.#cancelWords = words
    return { cancelWords: words }
  }

  /** Where another thread can stop a run; only in a memory that it shares. */
  #sharedWords(): Int32Array | undefined {
    try {
      const words = this.#backend?.cancelWords?.()
      return words?.buffer instanceof ArrayBuffer ? undefined : words
    } catch {
      return undefined // of an engine that could not be started again
    }
  }

  #carryOut(command: Command): void {
    if (command.kind === 'compile' || command.kind === 'disposeProgram') {
      this.#changeProgram(command)
      return
    }
    if (command.kind === 'createMemory') {
      this.#memories.set(command.memory, this.#created())
      return
    }
    const served = this.#memories.get(command.memory)
    const memory = served?.memory
    if (!memory) return
    try {
      if (command.kind === 'reserve') memory.reserve(command.arena, command.bytes)
      else if (command.kind === 'release') memory.release(command.arena)
      else if (command.kind === 'write') {
        memory.write(command.arena, command.offset, command.data)
        const { buffer } = command.data
        if (buffer instanceof ArrayBuffer && buffer.byteLength >= RETURN_BYTES)
          this.answer({ id: RETURNED, returned: buffer }, [buffer])
      } else {
        this.#memories.delete(command.memory)
        memory.dispose()
      }
    } catch (error) {
      served.fault ??= error
    }
  }

  #created(): Served {
    try {
      return { memory: this.#opened.createMemory() }
    } catch (fault) {
      return { memory: undefined, fault }
    }
  }

  #changeProgram(command: Extract<Command, { program: number }>): void {
    const { program } = command
    if (command.kind === 'compile') {
      try {
        this.#programs.set(program, this.#opened.compile(command))
      } catch (fault) {
        this.#programs.set(program, { fault })
      }
    } else {
      const known = this.#programs.get(program)
      this.#programs.delete(program)
      try {
        if (known && 'run' in known) known.dispose()
      } catch {
        // an engine that failed has taken the program with it
      }
    }
  }

  async #find(question: Question, id: number): Promise<Answers[keyof Answers]> {
    switch (question.kind) {
      case 'open':
        this.#backend = await this.open(question.settings)
        return this.#backend.description
      case 'measurePeak':
        return this.#opened.measurePeak(question.peak, question.seconds)
      case 'read': {
        const target: Elements = newElements(question.type, question.elements)
        await this.#memory(question.memory).read(question.arena, question.offset, target)
        return target
      }
      case 'run': {
        const memory = this.#memory(question.memory)
        const program = this.#programs.get(question.program)
        if (!program) throw new BackendError('The program was disposed')
        if ('fault' in program) throw program.fault
        let seconds: Float64Array | undefined
        const timed = (taken: Float64Array): void => {
          seconds = taken
        }
        const words = this.#sharedWords()
        if (words) Atomics.store(words, 0, runNumber(id))
        try {
          await program.run(memory, question.scalars, undefined, question.timed ? timed : undefined)
        } finally {
          if (words) Atomics.store(words, 0, 0)
        }
        return seconds
      }
    }
  }

  get #opened(): ServedBackend {
    if (!this.#backend) throw new BackendError('The backend is not open')
    return this.#backend
  }

  #memory(id: number): BackendMemory {
    const served = this.#memories.get(id)
    if (!served) throw new BackendError('The memory was disposed')
    const { fault, memory } = served
    if (memory) served.fault = undefined
    if (fault !== undefined || !memory) throw fault
    return memory
  }
}
