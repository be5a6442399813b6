import { Readable } from 'node:stream'
import type { Io } from '../../src/cli/io.ts'
import { run } from '../../src/cli/program.ts'

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command in this process with streams of its own. */
export async function bertkit(
  argv: string[],
  { stdin = '', isTTY, signal }: { stdin?: string | AsyncIterable<string>; isTTY?: boolean; signal?: AbortSignal } = {},
) {
  const written = { stdout: '', stderr: '' }
  const io: Io = {
    stdout: { write: (text) => (written.stdout += text) },
    stderr: { write: (text) => (written.stderr += text) },
    stdin: Object.assign(typeof stdin === 'string' ? Readable.from([stdin]) : stdin, { isTTY }),
    signal,
  }
  const code = await run(argv, io)
  return { code, ...written } satisfies Outcome
}

/** Every line of `text`, parsed. */
export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
