import * as fs from 'node:fs/promises'
import { hostname } from 'node:os'
import { crc32c, maskedCrc32c } from '../formats/crc.ts'
import { guarded, joinPath, makeFolder } from '../formats/files.ts'
import type { LogRecord } from './events.ts'

// Files of records as TensorBoard reads them: TensorFlow's record_writer.cc around messages of event.proto and summary.proto. The
// messages are few and flat, and whoever imports the core shall need no package: so Protocol Buffers' encoding by hand.

type Bytes = Uint8Array

const concat = (parts: readonly Bytes[]): Bytes => Buffer.concat(parts)

/** An unsigned integer in groups of 7 bits, lowest first. */
function varint(value: number): Bytes {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  return Uint8Array.from([...bytes, rest])
}

/** Wire types: how long a field's value is. */
const VARINT = 0
const EIGHT_BYTES = 1
const LENGTH = 2
const FOUR_BYTES = 5

const field = (number: number, wireType: number, value: Bytes): Bytes => concat([varint(number * 8 + wireType), value])
const integer = (number: number, value: number): Bytes => field(number, VARINT, varint(value))
const message = (number: number, ...fields: Bytes[]): Bytes => {
  const content = concat(fields)
  return field(number, LENGTH, concat([varint(content.length), content]))
}
const text = (number: number, value: string): Bytes => message(number, Buffer.from(value, 'utf8'))

function float(number: number, value: number): Bytes {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return field(number, FOUR_BYTES, bytes)
}

function double(number: number, value: number): Bytes {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return field(number, EIGHT_BYTES, bytes)
}

// Numbers of fields, from event.proto, summary.proto, tensor.proto and the text plugin's plugin_data.proto.
const DT_STRING = 7
const fileVersion = text(3, 'brain.Event:2')
const summary = (...values: Bytes[]): Bytes => message(5, ...values)
const scalar = (tag: string, value: number): Bytes => message(1, text(1, tag), float(2, value))
const stringTensor = (value: string): Bytes =>
  message(8, integer(1, DT_STRING), message(2, message(2, integer(1, 1))), text(8, value))
const markdownValue = (tag: string, value: string): Bytes =>
  message(1, text(1, `${tag}/text_summary`), stringTensor(value), message(9, message(1, text(1, 'text'))))

/** An Event: when (seconds since 1970), at which step, what. A step of 0 is what a reader takes a missing one for. */
const event = (wallTime: number, step: number, what: Bytes): Bytes =>
  concat([double(1, wallTime), ...(step === 0 ? [] : [integer(2, step)]), what])

const checksum = (bytes: Bytes): Bytes => {
  const masked = Buffer.alloc(4)
  masked.writeUInt32LE(maskedCrc32c(crc32c(bytes)))
  return masked
}

/** uint64 length, its checksum, the bytes, their checksum. */
function record(bytes: Bytes): Bytes {
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return concat([length, checksum(length), bytes, checksum(bytes)])
}

/** The tag of a value of a log line: Transformers' (integration_utils.py, rewrite_logs). */
export function tensorBoardTag(name: string): string {
  const [, split, rest] = /^(eval|test)_(.*)$/s.exec(name) ?? []
  return split === undefined ? `train/${name}` : `${split}/${rest}`
}

/** Where and when a file is written; the tests fix it. */
export interface TensorBoardOrigin {
  readonly host: string
  readonly process: number
  /** Seconds since 1970. */
  readonly now: () => number
}

const here = (): TensorBoardOrigin => ({ host: hostname(), process: process.pid, now: () => Date.now() / 1000 })

let filesOpened = 0

/**
 * Writes an event file that TensorBoard shows, also while it grows: every call has handed its record to the system when it resolves.
 * A call that fails throws FileError, and the next one writes over what the failed one may have left. Values are stored as float32,
 * NaN and infinities as they are.
 */
export class TensorBoardWriter {
  readonly file: string
  readonly #handle: fs.FileHandle
  readonly #origin: TensorBoardOrigin
  #length = 0
  #last: Promise<void> = Promise.resolve()

  private constructor(file: string, handle: fs.FileHandle, origin: TensorBoardOrigin) {
    this.file = file
    this.#handle = handle
    this.#origin = origin
  }

  /** Makes a new event file in `folder`, and the folder where it is missing. */
  static async open(folder: string, origin: TensorBoardOrigin = here()): Promise<TensorBoardWriter> {
    await makeFolder(folder)
    const { host, now, process } = origin
    const time = String(Math.floor(now())).padStart(10, '0')
    const file = joinPath(folder, `events.out.tfevents.${time}.${host}.${process}.${filesOpened++}`)
    const handle = await guarded('write', file, () => fs.open(file, 'wx'))
    const writer = new TensorBoardWriter(file, handle, origin)
    try {
      await writer.#append(event(now(), 0, fileVersion))
    } catch (error) {
      await handle.close()
      throw error
    }
    return writer
  }

  /** The values of a log line, in one event; `step` among them is the step, not a curve. `wallTime`: seconds since 1970. */
  scalars(step: number, values: LogRecord, wallTime = this.#origin.now()): Promise<void> {
    const curves = Object.entries(values).filter(([name]) => name !== 'step')
    return this.#append(
      event(wallTime, step, summary(...curves.map(([name, value]) => scalar(tensorBoardTag(name), value)))),
    )
  }

  /** A text for the text dashboard, under `<tag>/text_summary` as PyTorch's writer names it. */
  text(tag: string, markdown: string, step = 0): Promise<void> {
    return this.#append(event(this.#origin.now(), step, summary(markdownValue(tag, markdown))))
  }

  async close(): Promise<void> {
    await this.#last
    await guarded('close', this.file, () => this.#handle.close())
  }

  /** Calls go one after the other; a failed one does not keep the next from trying. */
  #append(bytes: Bytes): Promise<void> {
    const framed = record(bytes)
    const append = this.#last.then(() => guarded('write', this.file, () => this.#write(framed)))
    this.#last = append.catch(() => undefined)
    return append
  }

  async #write(bytes: Bytes): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.#length + done)
      done += bytesWritten
    }
    this.#length += bytes.length
  }
}
