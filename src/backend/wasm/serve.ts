// The worker's side: carries out on a backend of this thread what another thread asks for.
import { AbortedError, BackendError } from '../../errors.ts'
import type { Backend, BackendMemory, Elements, Program } from '../backend.ts'
import {
  type Answers,
  type Command,
  carried,
  newElements,
  type Question,
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

/** What a worker serves. */
export interface ServedBackend extends Backend {
  /** Of a memory that is shared: see `InlineBackend`. */
  cancelWords?(): Int32Array
}

interface Served {
  readonly memory: BackendMemory
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
  readonly #cancelled = new Set<number>()
  #tail: Promise<void> = Promise.resolve()

  constructor(
    private readonly open: (settings: unknown) => Promise<ServedBackend>,
    private readonly answer: (reply: Reply, transfer: ArrayBufferLike[]) => void,
  ) {}

  take(request: Request): void {
    if (request.kind === 'cancel') this.#cancelled.add(request.id)
    else this.#tail = this.#tail.then(() => this.#handle(request))
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
      this.answer({ id, answer }, ArrayBuffer.isView(answer) ? [answer.buffer] : [])
    } catch (error) {
      this.answer({ id, error: carried(error) }, [])
    } finally {
      this.#cancelled.delete(id)
    }
  }

  #carryOut(command: Command): void {
    if (command.kind === 'compile' || command.kind === 'disposeProgram') {
      this.#changeProgram(command)
      return
    }
    if (command.kind === 'createMemory') {
      this.#memories.set(command.memory, { memory: this.#opened.createMemory() })
      return
    }
    const served = this.#memories.get(command.memory)
    if (!served) return
    const { memory } = served
    try {
      if (command.kind === 'reserve') memory.reserve(command.arena, command.bytes)
      else if (command.kind === 'release') memory.release(command.arena)
      else if (command.kind === 'write') memory.write(command.arena, command.offset, command.data)
      else {
        this.#memories.delete(command.memory)
        memory.dispose()
      }
    } catch (error) {
      served.fault ??= error
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
      if (known && 'run' in known) known.dispose()
      this.#programs.delete(program)
    }
  }

  async #find(question: Question, id: number): Promise<Answers[keyof Answers]> {
    switch (question.kind) {
      case 'open':
        this.#backend = await this.open(question.settings)
        return { description: this.#backend.description, cancelWords: this.#backend.cancelWords?.() }
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
        const words = this.#opened.cancelWords?.()
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
    const { fault } = served
    served.fault = undefined
    if (fault !== undefined) throw fault
    return served.memory
  }
}
