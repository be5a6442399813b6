// What commands show of the data that they read.
import type { DataSettings, TaskData } from '../train/tasks/task-data.ts'
import { grouped, type Io, writeJsonLine } from './io.ts'
import type { Progress } from './progress.ts'

const PHASES = { reading: 'reading: examples', tokenizing: 'tokenising', counting: 'counting examples' } as const

/** Reading and tokenising as phases of a display. */
export const showing =
  (progress: Progress): NonNullable<DataSettings['onProgress']> =>
  (what, done, total) =>
    progress.phase(PHASES[what], done, total)

/** Rows that are not as their file says, a line for each kind. */
export function warnOfFaults({ faults, file }: TaskData, json: boolean, io: Io): void {
  for (const [what, count] of faults) {
    const message = `${file}: ${grouped(count)} ${what}`
    if (json) writeJsonLine(io.stdout, { warning: message })
    else io.stderr.write(`warning: ${message}\n`)
  }
}
