import type { WeightsError } from '../errors.ts'
import { quote } from '../json.ts'

// A reader for the part of Python's pickle (Lib/pickletools.py describes all of it) that torch.save writes for a state dict.
// Nothing is looked up or run by name: a global is a string, which the caller may know or refuse. Every operation takes at least
// a byte and makes at most one value, so memory and time are linear in the file, and in what `call` makes of it.

/** A name such as `collections.OrderedDict`. */
export class Global {
  constructor(readonly name: string) {}
}

/** A Python tuple; lists are arrays, dicts are maps. */
export class Tuple {
  constructor(readonly items: readonly unknown[]) {}
}

export interface PickleRules {
  /** What `callable(*args)` is; throws for what is not known. Names are asked for as they are met, before any call. */
  readonly isKnown: (name: string) => boolean
  readonly call: (callable: string, args: readonly unknown[]) => unknown
  /** The object that torch.save stored beside the pickle. */
  readonly persistent: (id: unknown) => unknown
  readonly fail: (reason: string) => WeightsError
}

const MAX_PROTOCOL = 2

const Op = {
  MARK: 0x28, // (
  EMPTY_TUPLE: 0x29, // )
  STOP: 0x2e, // .
  BINFLOAT: 0x47, // G
  BININT: 0x4a, // J
  BININT1: 0x4b, // K
  BININT2: 0x4d, // M
  NONE: 0x4e, // N
  BINPERSID: 0x51, // Q
  REDUCE: 0x52, // R
  BINSTRING: 0x54, // T
  SHORT_BINSTRING: 0x55, // U
  BINUNICODE: 0x58, // X
  EMPTY_LIST: 0x5d, // ]
  APPEND: 0x61, // a
  BUILD: 0x62, // b
  GLOBAL: 0x63, // c
  APPENDS: 0x65, // e
  BINGET: 0x68, // h
  LONG_BINGET: 0x6a, // j
  BINPUT: 0x71, // q
  LONG_BINPUT: 0x72, // r
  SETITEM: 0x73, // s
  TUPLE: 0x74, // t
  SETITEMS: 0x75, // u
  EMPTY_DICT: 0x7d, // }
  PROTO: 0x80,
  TUPLE1: 0x85,
  TUPLE2: 0x86,
  TUPLE3: 0x87,
  NEWTRUE: 0x88,
  NEWFALSE: 0x89,
  LONG1: 0x8a,
} as const

/** Reads one pickle of `bytes` from `start`; `end` is the position behind it. */
export function unpickle(bytes: Uint8Array, start: number, rules: PickleRules): { value: unknown; end: number } {
  const machine = new Machine(bytes, start, rules)
  const value = machine.run()
  return { value, end: machine.at }
}

class Machine {
  at: number
  readonly #view: DataView
  readonly #stack: unknown[] = []
  readonly #marks: number[] = []
  readonly #memo = new Map<number, unknown>()
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  constructor(
    private readonly bytes: Uint8Array,
    start: number,
    private readonly rules: PickleRules,
  ) {
    this.at = start
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  #fail(reason: string): WeightsError {
    return this.rules.fail(`the pickle, at byte ${this.at}: ${reason}`)
  }

  /** Moves past `count` bytes and returns where they begin. */
  #take(count: number): number {
    if (count > this.bytes.length - this.at) throw this.#fail('it ends in the middle')
    this.at += count
    return this.at - count
  }

  #byte = (): number => this.bytes[this.#take(1)]
  #uint32 = (): number => this.#view.getUint32(this.#take(4), true)

  #utf8(count: number): string {
    const start = this.#take(count)
    try {
      return this.#text.decode(this.bytes.subarray(start, start + count))
    } catch {
      throw this.#fail('a string is not valid UTF-8')
    }
  }

  /** A string of Python 2, of which only ASCII means the same everywhere. */
  #ascii(count: number): string {
    const start = this.#take(count)
    const bytes = this.bytes.subarray(start, start + count)
    if (bytes.some((byte) => byte > 127)) throw this.#fail('a byte string is not ASCII')
    return this.#text.decode(bytes)
  }

  #line(): string {
    const end = this.bytes.indexOf(10, this.at)
    if (end < 0 || end - this.at > 1024) throw this.#fail('a name has no end')
    const text = this.#utf8(end - this.at)
    this.#take(1)
    return text
  }

  /** The sign is in the last byte. */
  #long(): number | bigint {
    const count = this.#byte()
    const start = this.#take(count)
    let value = 0n
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[start + i])
    value = BigInt.asIntN(8 * count, value)
    return Number.isSafeInteger(Number(value)) ? Number(value) : value
  }

  #pop(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw this.#fail('an operation has too few operands')
    return this.#stack.pop()
  }

  #top(): unknown {
    const value = this.#pop()
    this.#stack.push(value)
    return value
  }

  #popToMark(): unknown[] {
    const mark = this.#marks.pop()
    if (mark === undefined) throw this.#fail('a mark is missing')
    return this.#stack.splice(mark)
  }

  #tuple(count: number): Tuple {
    const items = Array.from({ length: count }, () => this.#pop())
    return new Tuple(items.reverse())
  }

  #global(): Global {
    const name = `${this.#line()}.${this.#line()}`
    if (!this.rules.isKnown(name))
      throw this.#fail(`it asks for ${quote(name)}, which is no part of a state dict; nothing of it was run`)
    return new Global(name)
  }

  #reduce(): unknown {
    const args = this.#pop()
    const callable = this.#pop()
    if (!(callable instanceof Global) || !(args instanceof Tuple)) throw this.#fail('a call of what is no name')
    return this.rules.call(callable.name, args.items)
  }

  #append(items: readonly unknown[]): void {
    const list = this.#top()
    if (!Array.isArray(list)) throw this.#fail('an item for what is no list')
    for (const item of items) list.push(item)
  }

  #set(items: readonly unknown[]): void {
    const dict = this.#top()
    if (!(dict instanceof Map)) throw this.#fail('an entry for what is no dict')
    if (items.length % 2 !== 0) throw this.#fail('a key without a value')
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1])
  }

  /** The state of an OrderedDict is its attribute `_metadata`, the versions of modules, which no tensor depends on. */
  #build(): void {
    this.#pop()
    if (!(this.#top() instanceof Map)) throw this.#fail('a state for what is no dict')
  }

  #get(index: number): unknown {
    if (!this.#memo.has(index)) throw this.#fail(`nothing was remembered as ${index}`)
    return this.#memo.get(index)
  }

  run(): unknown {
    const push = (value: unknown) => this.#stack.push(value)
    for (;;) {
      const op = this.#byte()
      switch (op) {
        case Op.PROTO: {
          const protocol = this.#byte()
          if (protocol > MAX_PROTOCOL)
            throw this.#fail(`protocol ${protocol}; torch.save and this reader use ${MAX_PROTOCOL}`)
          break
        }
        case Op.STOP: {
          const value = this.#pop()
          if (this.#stack.length > 0) throw this.#fail('it stops with values left over')
          return value
        }
        case Op.MARK:
          this.#marks.push(this.#stack.length)
          break
        case Op.NONE:
          push(null)
          break
        case Op.NEWTRUE:
          push(true)
          break
        case Op.NEWFALSE:
          push(false)
          break
        case Op.BININT:
          push(this.#view.getInt32(this.#take(4), true))
          break
        case Op.BININT1:
          push(this.#byte())
          break
        case Op.BININT2:
          push(this.#view.getUint16(this.#take(2), true))
          break
        case Op.LONG1:
          push(this.#long())
          break
        case Op.BINFLOAT:
          push(this.#view.getFloat64(this.#take(8)))
          break
        case Op.BINUNICODE:
          push(this.#utf8(this.#uint32()))
          break
        case Op.SHORT_BINSTRING:
          push(this.#ascii(this.#byte()))
          break
        case Op.BINSTRING:
          push(this.#ascii(this.#uint32()))
          break
        case Op.EMPTY_TUPLE:
          push(new Tuple([]))
          break
        case Op.TUPLE1:
          push(this.#tuple(1))
          break
        case Op.TUPLE2:
          push(this.#tuple(2))
          break
        case Op.TUPLE3:
          push(this.#tuple(3))
          break
        case Op.TUPLE:
          push(new Tuple(this.#popToMark()))
          break
        case Op.EMPTY_LIST:
          push([])
          break
        case Op.APPEND:
          this.#append([this.#pop()])
          break
        case Op.APPENDS:
          this.#append(this.#popToMark())
          break
        case Op.EMPTY_DICT:
          push(new Map())
          break
        case Op.SETITEM: {
          const value = this.#pop()
          this.#set([this.#pop(), value])
          break
        }
        case Op.SETITEMS:
          this.#set(this.#popToMark())
          break
        case Op.GLOBAL:
          push(this.#global())
          break
        case Op.REDUCE:
          push(this.#reduce())
          break
        case Op.BUILD:
          this.#build()
          break
        case Op.BINPERSID:
          push(this.rules.persistent(this.#pop()))
          break
        case Op.BINPUT:
          this.#memo.set(this.#byte(), this.#top())
          break
        case Op.LONG_BINPUT:
          this.#memo.set(this.#uint32(), this.#top())
          break
        case Op.BINGET:
          push(this.#get(this.#byte()))
          break
        case Op.LONG_BINGET:
          push(this.#get(this.#uint32()))
          break
        default:
          throw this.#fail(`the operation 0x${op.toString(16).padStart(2, '0')} is no part of a state dict`)
      }
    }
  }
}
