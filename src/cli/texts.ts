import { STANDARD_INPUT } from '../data/readers/bytes.ts'
import { linesOf } from '../data/readers/lines.ts'
import { abortable, type Io } from './io.ts'

export const toBytes = async function* (chunks: AsyncIterable<Uint8Array | string>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  for await (const chunk of chunks) yield typeof chunk === 'string' ? encoder.encode(chunk) : chunk
}

/** The bytes of standard input; to a person at a terminal, who may not know that they are waited for, a line says so. */
export async function* standardInput({ signal, stderr, stdin }: Io): AsyncGenerator<Uint8Array> {
  const end = process.platform === 'win32' ? 'Ctrl-Z and Enter end it' : 'Ctrl-D ends it'
  if (stdin.isTTY) stderr.write(`bertkit: reading from standard input; ${end}\n`)
  yield* toBytes(abortable(stdin, signal))
}

/** The texts given, or lines of standard input as they come. */
export async function* textsOf(given: readonly string[], io: Io): AsyncGenerator<string> {
  if (given.length > 0) yield* given
  else yield* linesOf(standardInput(io), STANDARD_INPUT)
}
