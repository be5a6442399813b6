import { linesOf } from '../data/readers/lines.ts'
import { abortable, type Io } from './io.ts'

export const toBytes = async function* (chunks: AsyncIterable<Uint8Array | string>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  for await (const chunk of chunks) yield typeof chunk === 'string' ? encoder.encode(chunk) : chunk
}

/** The texts given, or lines of standard input as they come. */
export async function* textsOf(given: readonly string[], io: Io): AsyncGenerator<string> {
  if (given.length > 0) yield* given
  else yield* linesOf(toBytes(abortable(io.stdin, io.signal)), 'standard input')
}
