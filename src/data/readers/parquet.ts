import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { DataError } from '../../errors.ts'
import { guarded, openFile } from '../../formats/files.ts'
import { quote } from '../../json.ts'
import { gather, isGzipped, type NamedBytes, openData } from './bytes.ts'
import { classesOf, type FieldClasses, withClassNames } from './class-names.ts'
import { rowOfJson } from './jsonl.ts'
import { type FromWorker, type ToWorker, type WorkerInput, workerSource } from './parquet-worker.ts'
import { missingColumns, type Row } from './table.ts'

/** A row group is unpacked whole. */
const MAX_GROUP_BYTES = 2 ** 30
/** As objects of JavaScript a row group takes several times its bytes. */
const MAX_HEAP_MEGABYTES = 4096
/** A worker that says nothing for so long is at work on a damaged file: it decodes over ten times as fast. */
const PATIENCE_SECONDS = 20
const SLOWEST_BYTES_PER_SECOND = 2 ** 20

/**
 * Parquet, one row group after another: memory is that of a group, which a worker decodes. From a .gz file or a stream it is read
 * whole first, up to 256 MiB. Dates become ISO strings, whole numbers beyond 2^53 strings of digits, bytes that are no text NOT_TEXT.
 * Classes that `datasets` of Hugging Face has named become those names (`ReadOptions.classNames`). A damaged file is a DataError; so is
 * one that lacks a column of `required`, or has a group of more than 1 GiB.
 */
export async function* parquetRows(
  source: string | NamedBytes,
  required: readonly string[],
  classNames?: readonly string[],
): AsyncGenerator<Iterable<Row>> {
  const name = typeof source === 'string' ? source : source.name
  const packages = findPackages(name)
  const file = await openParquet(source)
  const decoder = new Decoder(file, packages, name)
  try {
    const { columns, groups, huggingface } = await decoder.open()
    const missing = missingColumns(columns, required)
    if (missing !== undefined) throw new DataError(`expected ${missing}`, name)
    const bytes = Math.max(0, ...groups.map((group) => group.bytes))
    if (bytes > MAX_GROUP_BYTES) {
      throw new DataError(
        `a row group has ${bytes} bytes and at most ${MAX_GROUP_BYTES} are read at once; write smaller groups (row_group_size)`,
        name,
      )
    }
    const patience = PATIENCE_SECONDS + bytes / SLOWEST_BYTES_PER_SECOND
    const classes = classesOf(huggingface, classNames)
    let line = 1
    for (let texts = await decoder.next(patience); texts !== undefined; texts = await decoder.next(patience)) {
      yield rowsOf(texts, line, classes, name)
      line += texts.length
    }
  } finally {
    await decoder.close()
    await file.close()
  }
}

function* rowsOf(texts: readonly string[], first: number, classes: FieldClasses, name: string): Generator<Row> {
  for (const [index, text] of texts.entries()) {
    const row = rowOfJson(text, first + index, name)
    yield classes.size === 0 ? row : withClassNames(row, classes)
  }
}

/** The packages are optional: who reads no Parquet needs neither. */
function findPackages(name: string): Pick<WorkerInput, 'hyparquet' | 'compressors'> {
  try {
    const { resolve } = createRequire(import.meta.url ?? __filename) // a bundle in CommonJS has no import.meta
    const addressOf = (specifier: string): string => pathToFileURL(resolve(specifier)).href
    return { hyparquet: addressOf('hyparquet'), compressors: addressOf('hyparquet-compressors') }
  } catch (error) {
    throw new DataError(
      'reading Parquet needs two packages that are not installed; run npm install hyparquet hyparquet-compressors',
      name,
      undefined,
      { cause: error },
    )
  }
}

interface OpenFile {
  readonly size: number
  /** The bytes from `start` to `end`, as far as the file has them. */
  slice(start: number, end: number): Promise<ArrayBuffer>
  close(): Promise<void>
}

async function openParquet(source: string | NamedBytes): Promise<OpenFile> {
  if (typeof source === 'string' && !isGzipped(source)) return openInPlace(source)
  const [bytes, name] = typeof source === 'string' ? [openData(source), source] : [source.bytes, source.name]
  const whole = await gather(bytes, name, 'unpack the file: one on disk is read by row group')
  const slice = async (start: number, end: number) => Uint8Array.from(whole.subarray(start, end)).buffer
  return { size: whole.length, slice, close: async () => {} }
}

async function openInPlace(path: string): Promise<OpenFile> {
  const handle = await openFile(path)
  const { size } = await handle.stat()
  const slice = (start: number, end: number): Promise<ArrayBuffer> =>
    guarded('read', path, async () => {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - Math.max(0, start)))
      let got = 0
      while (got < bytes.length) {
        const { bytesRead } = await handle.read(bytes, got, bytes.length - got, start + got)
        if (bytesRead === 0) throw new DataError('the file became shorter while it was read', path)
        got += bytesRead
      }
      return bytes.buffer
    })
  return { size, slice, close: () => handle.close() }
}

/** The worker, asked for one thing after another. */
class Decoder {
  readonly #worker: Worker
  readonly #file: OpenFile
  readonly #name: string
  #isClosed = false
  /** Who waits for the next message. */
  #waiting: { resolve(message: FromWorker): void; reject(error: unknown): void } | undefined
  /** What came while nobody waited. */
  #early: { message: FromWorker } | { error: unknown } | undefined

  constructor(file: OpenFile, packages: Pick<WorkerInput, 'hyparquet' | 'compressors'>, name: string) {
    this.#file = file
    this.#name = name
    const workerData: WorkerInput = { byteLength: file.size, ...packages }
    const resourceLimits = { maxOldGenerationSizeMb: MAX_HEAP_MEGABYTES }
    this.#worker = new Worker(workerSource(), { eval: true, workerData, resourceLimits, execArgv: [] })
    // Rows that nobody asks for any more do not keep the process; while somebody waits, the watch below does.
    this.#worker.unref()
    this.#worker.on('message', (message: FromWorker) => this.#receive(message))
    this.#worker.on('error', (error) => this.#fail(this.#damaged(error instanceof Error ? error.message : error)))
  }

  async open(): Promise<Extract<FromWorker, { kind: 'opened' }>> {
    const message = await this.#wait(PATIENCE_SECONDS)
    if (message.kind === 'opened') return message
    throw this.#damaged(message.kind)
  }

  /** The next rows, as texts of JSON; undefined at the end. */
  async next(patience: number): Promise<string[] | undefined> {
    const waiting = this.#wait(patience)
    this.#worker.postMessage({ kind: 'next' } satisfies ToWorker)
    const message = await waiting
    if (message.kind === 'rows') return message.rows
    if (message.kind === 'end') return undefined
    throw this.#damaged(message.kind)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#worker.terminate()
  }

  async #wait(seconds: number): Promise<FromWorker> {
    // Counted, not timed: a process that is stopped for a while does not count on.
    let left = seconds
    const watch = setInterval(() => {
      if (--left < 0) this.#fail(this.#damaged(`nothing came of it for ${Math.round(seconds)} seconds`))
    }, 1000)
    try {
      return await new Promise<FromWorker>((resolve, reject) => {
        const early = this.#early
        this.#early = undefined
        if (early === undefined) this.#waiting = { resolve, reject }
        else if ('error' in early) reject(early.error)
        else resolve(early.message)
      })
    } finally {
      clearInterval(watch)
    }
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'slice') {
      void this.#serve(message.id, message.start, message.end)
    } else if (message.kind === 'failed') {
      this.#fail(this.#damaged(message.reason))
    } else if (this.#waiting === undefined) {
      this.#early = { message }
    } else {
      this.#waiting.resolve(message)
      this.#waiting = undefined
    }
  }

  async #serve(id: number, start: number, end: number): Promise<void> {
    try {
      const bytes = await this.#file.slice(start, end)
      if (!this.#isClosed) this.#worker.postMessage({ kind: 'bytes', id, bytes } satisfies ToWorker, [bytes])
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    if (this.#waiting === undefined) this.#early = { error }
    else this.#waiting.reject(error)
    this.#waiting = undefined
  }

  #damaged(reason: unknown): DataError {
    return new DataError(`not a Parquet file that can be read (${quote(String(reason))})`, this.#name)
  }
}
