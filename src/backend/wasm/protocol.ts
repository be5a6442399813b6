// What the thread that asks for work and the worker that does it tell each other. Messages are carried out in their order.
import {
  AbortedError,
  ArgumentError,
  BackendError,
  type BertkitError,
  BusyError,
  DisposedError,
  PlanError,
} from '../../errors.ts'
import type { Arena } from '../../graph/op-table.ts'
import { isJsonObject } from '../../json.ts'
import type { BackendDescription, Elements, Peak } from '../backend.ts'

/** Calls without an answer. `memory` and `program`: numbers that the asking side gives out. */
export type Command =
  | { readonly kind: 'createMemory'; readonly memory: number }
  | { readonly kind: 'disposeMemory'; readonly memory: number }
  | { readonly kind: 'reserve'; readonly memory: number; readonly arena: Arena; readonly bytes: number }
  | { readonly kind: 'release'; readonly memory: number; readonly arena: Arena }
  | {
      readonly kind: 'write'
      readonly memory: number
      readonly arena: Arena
      readonly offset: number
      readonly data: Elements
    }
  | { readonly kind: 'compile'; readonly program: number; readonly words: Int32Array }
  | { readonly kind: 'disposeProgram'; readonly program: number }

/** Calls with an answer. */
export type Question =
  | { readonly kind: 'open'; readonly settings: unknown }
  | {
      readonly kind: 'read'
      readonly memory: number
      readonly arena: Arena
      readonly offset: number
      readonly elements: number
      readonly type: ElementsName
    }
  | {
      readonly kind: 'run'
      readonly memory: number
      readonly program: number
      readonly scalars: Float64Array
      readonly timed: boolean
      /** A 'cancel' may follow. */
      readonly cancellable: boolean
    }
  | { readonly kind: 'measurePeak'; readonly peak: Peak; readonly seconds: number }

export interface Answers {
  open: BackendDescription
  read: Elements
  /** The seconds of each record, where asked for. */
  run: Float64Array | undefined
  measurePeak: number
}

/** `cancel`: nobody waits for the answer to this question any more; it is left undone where it has not begun. */
export type Request = Command | (Question & { readonly id: number }) | { readonly kind: 'cancel'; readonly id: number }

/** The id of what a worker says when its script has begun; no question has it. */
export const HELLO = -1

/** The id of what gives memory back; no question has it. */
export const RETURNED = -2
/** Bytes from which on the memory of a `write` is given back: touching new memory for the first time costs more than the copy. */
export const RETURN_BYTES = 2 ** 16

/** `cancelWords`: where runs are told to stop, when that has changed. */
export type Reply = { readonly id: number; readonly cancelWords?: Int32Array } & (
  | { readonly answer: Answers[keyof Answers] }
  | { readonly error: CarriedError }
  | { readonly returned: ArrayBuffer }
)

export interface CarriedError {
  readonly name: string
  readonly message: string
  /** Of a BackendError. */
  readonly reason?: BackendError['reason']
}

/** Also of another realm, as where tests run in a context of their own: `instanceof` would say no. */
const isA = (name: string, value: unknown): boolean => Object.prototype.toString.call(value) === `[object ${name}]`

/** Whether a message has the form of a reply. Those of a script that is not bertkit's have not. */
export function isReply(message: unknown): message is Reply {
  if (!isJsonObject(message)) return false
  const { id, error, returned, cancelWords } = message as Readonly<Record<string, unknown>>
  if (typeof id !== 'number' || (cancelWords !== undefined && !isA('Int32Array', cancelWords))) return false
  if (id === RETURNED || 'returned' in message) return id === RETURNED && isA('ArrayBuffer', returned)
  if (!('error' in message)) return 'answer' in message
  return isJsonObject(error) && typeof error.name === 'string' && typeof error.message === 'string'
}

const ELEMENTS = { Float32Array, Int32Array, Uint16Array }
export type ElementsName = keyof typeof ELEMENTS

export const newElements = (type: ElementsName, length: number): Elements => new ELEMENTS[type](length)

/** A copy of `source` in `buffer`, which is large enough. */
export function copyInto(buffer: ArrayBuffer, source: Elements): Elements {
  const copy = new ELEMENTS[elementsName(source)](buffer, 0, source.length)
  copy.set(source)
  return copy
}

export function elementsName(data: Elements): ElementsName {
  if (data instanceof Float32Array) return 'Float32Array'
  return data instanceof Int32Array ? 'Int32Array' : 'Uint16Array'
}

/** Errors lose their class between threads. */
export const carried = (error: unknown): CarriedError =>
  error instanceof Error
    ? { name: error.name, message: error.message, reason: error instanceof BackendError ? error.reason : undefined }
    : { name: 'BackendError', message: `The engine failed: ${String(error)}` }

const CLASSES = { ArgumentError, BusyError, DisposedError, PlanError }

export function typedError({ name, message, reason }: CarriedError): BertkitError {
  if (name === 'AbortedError') return new AbortedError(message)
  if (name === 'BackendError') return new BackendError(message, { reason })
  if (Object.hasOwn(CLASSES, name)) return new CLASSES[name as keyof typeof CLASSES](message)
  return new BackendError(`The engine failed: ${name}: ${message}`)
}

/** The number by which words of a shared memory know the run of a question; 0 is none. */
export const runNumber = (id: number): number => (id % 0x7fffffff) + 1
