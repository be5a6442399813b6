// What runs in the worker that decodes Parquet. Decoding a row group takes seconds, and a damaged file makes the package loop, fill the
// memory or reject promises that nobody has: none of that may reach the process.
import type { MessagePort } from 'node:worker_threads'
import type * as Hyparquet from 'hyparquet'

export type FromWorker =
  /** Answered by bytes of the same id. */
  | { kind: 'slice'; id: number; start: number; end: number }
  | {
      kind: 'opened'
      columns: string[]
      groups: { rows: number; bytes: number }[]
      /** What `datasets` says of the columns: JSON, as the file has it. */
      huggingface: string | undefined
    }
  /** Some rows, each as the text of a JSON object. */
  | { kind: 'rows'; rows: string[] }
  | { kind: 'end' }
  | { kind: 'failed'; reason: string }

export type ToWorker = { kind: 'bytes'; id: number; bytes: ArrayBuffer } | { kind: 'next' }

export interface WorkerInput {
  /** Of the file. */
  byteLength: number
  /** Addresses of the packages. */
  hyparquet: string
  compressors: string
}

/** Text of the worker's program. A file of its own would have to be found by tests, which run .ts, and by bundles. */
export const workerSource = (): string => `
  const { parentPort, workerData } = require('node:worker_threads')
  const fail = (error) => parentPort.postMessage({ kind: 'failed', reason: String(error?.message ?? error) })
  Promise.all([import(workerData.hyparquet), import(workerData.compressors)])
    .then(([parquet, { compressors }]) => (${serveParquet})(parquet, compressors, parentPort, workerData.byteLength))
    .catch(fail)
`

/** Only its text goes to the worker: it must not use anything of this module. */
async function serveParquet(
  { parquetMetadataAsync, parquetReadObjects, parquetSchema }: typeof Hyparquet,
  packed: Hyparquet.Compressors,
  port: MessagePort,
  byteLength: number,
): Promise<void> {
  const ROWS_CHARS = 2 ** 16
  const tell = (message: FromWorker): void => port.postMessage(message)
  const slices = new Map<number, (bytes: ArrayBuffer) => void>()
  let proceed: () => void = () => {}
  port.on('message', (message: ToWorker) => {
    if (message.kind === 'next') return proceed()
    slices.get(message.id)?.(message.bytes)
    slices.delete(message.id)
  })
  /** Tells something and waits until more is wanted. */
  const tellAndWait = (message: FromWorker): Promise<void> =>
    new Promise((resolve) => {
      proceed = resolve
      tell(message)
    })
  let id = 0
  const file = {
    byteLength,
    slice: (start: number, end: number = byteLength): Promise<ArrayBuffer> =>
      new Promise((resolve) => {
        slices.set(++id, resolve)
        tell({ kind: 'slice', id, start, end })
      }),
  }
  // The package's LZ4 fails on what Arrow writes for a page of nulls: nothing, packed.
  const unpackers = Object.entries(packed).map(([codec, unpack]) => [
    codec,
    (input: Uint8Array, length: number) => (length === 0 ? new Uint8Array() : unpack(input, length)),
  ])
  const compressors = Object.fromEntries(unpackers)
  // The package's own puts U+FFFD where bytes are no text.
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const stringFromBytes = (bytes: Uint8Array | undefined): string | Uint8Array | undefined => {
    try {
      return bytes && decoder.decode(bytes)
    } catch {
      return bytes
    }
  }
  const jsonOf = (_: string, value: unknown): unknown => {
    if (value === undefined) return null
    if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
    // NOT_TEXT of src/data/fields.ts
    if (value instanceof Uint8Array) return { 'bytes that are not valid UTF-8': true }
    return ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<number | bigint>) : value
  }

  const metadata = await parquetMetadataAsync(file, { geoparquet: false })
  const groups = metadata.row_groups.map((group) => ({
    rows: Number(group.num_rows),
    bytes: Number(group.total_byte_size),
  }))
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name)
  const huggingface = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value
  await tellAndWait({ kind: 'opened', columns, groups, huggingface })
  let rowStart = 0
  for (const { rows: count } of groups) {
    const rowEnd = rowStart + count
    const wanted = { rowStart, rowEnd, compressors, parsers: { stringFromBytes }, geoparquet: false }
    const rows = await parquetReadObjects({ file, metadata, ...wanted })
    if (rows.length !== count) throw new Error(`a row group has ${rows.length} rows, not ${count}`)
    let texts: string[] = []
    let chars = 0
    for (const row of rows) {
      const text = JSON.stringify(row, jsonOf)
      texts.push(text)
      chars += text.length
      if (chars < ROWS_CHARS) continue
      await tellAndWait({ kind: 'rows', rows: texts })
      texts = []
      chars = 0
    }
    await tellAndWait({ kind: 'rows', rows: texts })
    rowStart = rowEnd
  }
  tell({ kind: 'end' })
}
