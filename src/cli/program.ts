import { Command, CommanderError } from 'commander'
import { AbortedError, BertkitError, UsageError } from '../errors.ts'
import { TrainingAborted } from '../train/run.ts'
import { addBuildNative } from './build-native.ts'
import { addDemo } from './demo.ts'
import { addEvaluate } from './evaluate.ts'
import { addExport } from './export.ts'
import { addFillMask } from './fill-mask.ts'
import { addGenerate } from './generate.ts'
import { HELP } from './help.ts'
import { addInfo } from './info.ts'
import { Interruption } from './interruption.ts'
import type { Io } from './io.ts'
import { addPredict } from './predict.ts'
import { addPretrain } from './pretrain.ts'
import { addTokenizer } from './tokenizer.ts'
import { addTrain } from './train.ts'
import { version } from './version.ts'

export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

function createProgram(io: Io): Command {
  const program = new Command('bertkit')
    .description('Fine-tunes and runs BERT, natively.')
    .version(version())
    .exitOverride()
    .configureHelp(HELP)
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'bertkit: ')),
    })
    .showSuggestionAfterError(true)
  for (const add of [
    addTrain,
    addPretrain,
    addEvaluate,
    addPredict,
    addFillMask,
    addGenerate,
    addTokenizer,
    addExport,
    addInfo,
    addBuildNative,
    addDemo,
  ])
    add(program, io)
  return program
}

function exitCodeFor(error: unknown, io: Io): number {
  // Commander has already written its message.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
  if (!(error instanceof BertkitError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    io.stderr.write(`bertkit: internal error, please report it: ${text}\n`)
    return EXIT.failed
  }
  const reason: unknown = error instanceof AbortedError ? io.signal?.reason : undefined
  const interruption = reason instanceof Interruption ? reason : undefined
  // Nobody needs to be told that nobody reads the output, but where a checkpoint is.
  const isSaid = interruption?.why === undefined || error instanceof TrainingAborted
  if (isSaid) io.stderr.write(`bertkit: ${error.message}\n`)
  if (error instanceof UsageError) return EXIT.usage
  if (error instanceof AbortedError) return interruption?.exitCode ?? EXIT.interrupted
  return EXIT.failed
}

/**
 * Runs one command, for example `run(['train', '--model', 'dir', …], io)`, and returns the exit code: 0 done, 1 failed, 2 bad usage,
 * 130 stopped by `io.signal`. Errors are written to `io.stderr`, one line each; none is thrown.
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    await createProgram(io).parseAsync(argv, { from: 'user' })
    return EXIT.done
  } catch (error) {
    return exitCodeFor(error, io)
  }
}
