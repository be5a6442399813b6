// What commands show of the data that they read.
import { passageRows } from '../data/passages.ts'
import type { TokenizerTrainingProgress } from '../data/tokenizer/tokenizer.ts'
import type { DataSettings, TaskData } from '../train/tasks/task-data.ts'
import { grouped, type Io, writeJsonLine } from './io.ts'
import { type DataOptions, readSettings } from './options.ts'
import type { Progress } from './progress.ts'

const PHASES = { reading: 'reading: examples', tokenizing: 'tokenising', counting: 'counting examples' } as const

/** Reading and tokenising as phases of a display. */
export const showing =
  (progress: Progress): NonNullable<DataSettings['onProgress']> =>
  (what, done, total) =>
    progress.phase(PHASES[what], done, total)

/** The texts of files to learn a vocabulary from. */
export async function* textsOf(files: readonly string[], options: DataOptions): AsyncGenerator<string> {
  for (const file of files) for await (const { text } of passageRows(file, readSettings(options))) yield text
}

/** Learning a vocabulary of at most `vocabSize` tokens as phases of a display. */
export function showLearning(
  progress: Progress,
  { stage, texts, tokens }: TokenizerTrainingProgress,
  vocabSize: number,
): void {
  if (stage === 'words') progress.phase('learning a vocabulary: texts', texts)
  else progress.phase('learning a vocabulary: tokens', tokens, vocabSize)
}

/** What may be a mistake, but stops nothing: a JSON line among the results, or a line for a person. */
export function warn(message: string, json: boolean, io: Io): void {
  if (json) writeJsonLine(io.stdout, { warning: message })
  else io.stderr.write(`warning: ${message}\n`)
}

/** Rows that are not as their file says, a line for each kind. */
export function warnOfFaults({ faults, file }: TaskData, json: boolean, io: Io): void {
  for (const [what, count] of faults) warn(`${file}: ${grouped(count)} ${what}`, json, io)
}
