import { once } from 'node:events'
import { AbortedError } from '../errors.ts'

/** What the command line reads and writes; the tests pass their own. */
export interface Output {
  write(text: string): unknown
  readonly isTTY?: boolean
}

export interface Io {
  /** Results only: text, or one JSON object a line. */
  readonly stdout: Output
  /** Progress and errors. */
  readonly stderr: Output
  readonly stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean }
  /** Fires on Ctrl-C. */
  readonly signal?: AbortSignal
}

/** Writes one JSON object as a line. NaN and infinities, which JSON has no words for, become null. */
export function writeJsonLine(output: Output, value: object): void {
  output.write(`${JSON.stringify(value)}\n`)
}

const isEmitter = (output: object): output is NodeJS.EventEmitter => 'once' in output

/** Writes, and waits where the reader is slower. Throws AbortedError when `signal` fires or the reader goes away meanwhile. */
export async function writeWhenReady(output: Output, text: string, signal?: AbortSignal): Promise<void> {
  if (output.write(text) !== false || !isEmitter(output)) return
  try {
    await once(output, 'drain', { signal })
  } catch {
    throw new AbortedError('The output was stopped')
  }
}

/** The items of a source that may never send one: when `signal` fires, the wait for the next ends in an AbortedError. */
export async function* abortable<Item>(source: AsyncIterable<Item>, signal?: AbortSignal): AsyncGenerator<Item> {
  const items = source[Symbol.asyncIterator]()
  const next = (): Promise<IteratorResult<Item>> =>
    new Promise((resolve, reject) => {
      const stop = (): void => reject(new AbortedError('The wait for input was stopped'))
      if (signal?.aborted) return stop()
      signal?.addEventListener('abort', stop, { once: true })
      const settled = (): void => signal?.removeEventListener('abort', stop)
      items.next().then(resolve, reject).finally(settled)
    })
  try {
    for (let item = await next(); !item.done; item = await next()) yield item.value
  } finally {
    // A source that is still waiting would make its return() wait too.
    if (!signal?.aborted) await items.return?.()
  }
}

/** 1234.5 -> '1,235'. */
export const grouped = (value: number): string => Math.round(value).toLocaleString('en-US')

/** Four significant digits without trailing zeros; small numbers as 1.23e-5. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return String(value)
  if (Number.isInteger(value)) return grouped(value)
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)))
}

/** 75 -> '1:15', 4000 -> '1:06:40'. */
export function clock(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-:--'
  const whole = Math.round(seconds)
  const two = (value: number): string => String(value).padStart(2, '0')
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** Names and values in two aligned columns. */
export function writeTable(output: Output, rows: Iterable<readonly [string, string]>): void {
  const all = [...rows]
  const width = Math.max(0, ...all.map(([name]) => name.length))
  for (const [name, value] of all) output.write(`${name.padEnd(width)}  ${value}\n`)
}

export const metricRows = (metrics: Record<string, number>): [string, string][] =>
  Object.entries(metrics).map(([name, value]) => [name, short(value)])
