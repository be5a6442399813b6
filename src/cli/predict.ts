import { open, realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { openData, STANDARD_INPUT } from '../data/readers/bytes.ts'
import { blocksOf } from '../data/readers/lines.ts'
import { formatOfName } from '../data/readers/rows.ts'
import { textRows } from '../data/readers/text.ts'
import { AbortedError, UsageError } from '../errors.ts'
import { guarded, writeAtomic } from '../formats/files.ts'
import type { Task, TaskName, TaskOptions, TaskRow } from '../train/tasks/task.ts'
import { grouped, type Io, type Output, writeJsonLine, writeWhenReady } from './io.ts'
import { maxLengthOf, openModel } from './models.ts'
import {
  addDataOptions,
  addModelOptions,
  addRevision,
  addTaskOptions,
  checkDataOptions,
  type DataOptions,
  flagOf,
  integerOption,
  type ModelOptions,
  parseTask,
  readSettings,
} from './options.ts'
import { standardInput, toBytes } from './texts.ts'

interface PredictOptions extends ModelOptions, DataOptions, TaskOptions {
  readonly task?: TaskName
  readonly model: string
  readonly inputFile?: string
  readonly outputFile?: string
  readonly perDeviceEvalBatchSize: number
}

type Opened = Awaited<ReturnType<typeof openModel>>

/** A text on each line. What has come is given at once, so that a program may write a line and wait for its answer. */
async function* linesInBlocks(
  bytes: AsyncIterable<Uint8Array>,
  file: string,
  rowOf: (text: string, line: number) => TaskRow,
): AsyncGenerator<TaskRow[]> {
  for await (const { line, text } of blocksOf(bytes, file)) {
    const lines = text.split('\n')
    if (text.endsWith('\n')) lines.pop()
    yield lines.map((each, index) => rowOf(each.replace(/\r$/, ''), line + index))
  }
}

/** A text in each paragraph, as --text-layout says. */
async function* paragraphs(
  bytes: AsyncIterable<Uint8Array>,
  file: string,
  rowOf: (text: string, line: number) => TaskRow,
): AsyncGenerator<TaskRow[]> {
  for await (const rows of textRows(bytes, 'paragraphs', file))
    yield Array.from(rows, ({ fields, line }) => rowOf(String(fields.text), line))
}

async function* groups(rows: AsyncIterable<TaskRow>, size: number): AsyncGenerator<TaskRow[]> {
  let group: TaskRow[] = []
  for await (const row of rows) {
    if (group.push(row) < size) continue
    yield group
    group = []
  }
  if (group.length > 0) yield group
}

const inputFormat = ({ fileFormat, inputFile }: PredictOptions): string =>
  fileFormat ?? (inputFile === undefined ? 'txt' : formatOfName(inputFile))

/** Throws UsageError for options about columns where the input is plain text, in which they would mean nothing. */
function checkColumns(options: PredictOptions): void {
  if (inputFormat(options) !== 'txt') return
  const given = (['columns', 'textColumn', 'textPairColumn'] as const).find((name) => options[name] !== undefined)
  if (given === undefined) return
  throw new UsageError(
    `Expected ${flagOf(given)} with a file of columns but ${options.inputFile ?? STANDARD_INPUT} is plain text`,
  )
}

/**
 * The inputs, in pieces of any size: lines or paragraphs of text from standard input and .txt files, else rows of a file of the task.
 */
async function* readInputs(task: Task, options: PredictOptions, io: Io): AsyncGenerator<TaskRow[]> {
  const { inputFile, perDeviceEvalBatchSize: size, textLayout } = options
  const source = inputFile ?? { bytes: standardInput(io), name: STANDARD_INPUT }
  if (inputFormat(options) !== 'txt') return yield* groups(task.rows(source, readSettings(options), 'predict'), size)
  if (task.rowOf === undefined)
    throw new UsageError(
      `Expected --input-file of ${task.files.replace(/^\.txt, /, '')}, because ${task.name} needs more than a text, but received ${inputFile ?? 'lines of standard input (--file-format jsonl reads rows from there)'}`,
    )
  const bytes = typeof source === 'string' ? openData(source) : source.bytes
  const read = textLayout === 'paragraphs' ? paragraphs : linesInBlocks
  yield* read(bytes, inputFile ?? STANDARD_INPUT, task.rowOf)
}

/** A JSON line for every input, in their order; the lines of a batch together. */
async function* predictions(opened: Opened, options: PredictOptions, io: Io): AsyncGenerator<string> {
  const { model, task, tokenizer } = opened
  if (task.predict === undefined)
    throw new UsageError(
      `Expected a model that predicts but ${task.name} has nothing to predict; its parts have, with --task masked-lm or next-sentence`,
    )
  const maxLength = maxLengthOf(options, model.config, task)
  model.eval()
  const size = options.perDeviceEvalBatchSize
  for await (const inputs of readInputs(task, options, io)) {
    for (let start = 0; start < inputs.length; start += size) {
      if (io.signal?.aborted) throw new AbortedError('The prediction was stopped')
      const rows = inputs.slice(start, start + size)
      const predicted = await task.predict(model, rows, { tokenizer, maxLength, signal: io.signal })
      let lines = ''
      const collected: Output = { write: (line) => (lines += line) }
      for (const each of predicted) writeJsonLine(collected, each)
      yield lines
    }
  }
}

const statsOf = (file: string) => stat(file, { bigint: true }).catch(() => undefined)

/** Throws UsageError where the predictions would take the place of what they are made from. */
async function checkFiles({ inputFile, outputFile }: PredictOptions): Promise<void> {
  if (inputFile === undefined || outputFile === undefined) return
  const [input, output] = [await statsOf(inputFile), await statsOf(outputFile)]
  const isSame = input?.isFile() && input.dev === output?.dev && input.ino === output.ino
  if (!isSame && resolve(inputFile) !== resolve(outputFile)) return
  throw new UsageError(`Expected --output-file to be another file than --input-file but both are ${inputFile}`)
}

/** Puts the lines in `file` when all are there; until then, and after a failure, an older file stays as it was. */
async function writeLines(file: string, lines: AsyncIterable<string>): Promise<void> {
  const found = await statsOf(file)
  if (found === undefined) return writeAtomic(file, toBytes(lines))
  // A rename would put a file where the link is.
  if (found.isFile()) return writeAtomic(await guarded('write', file, () => realpath(file)), toBytes(lines))
  // A device or a pipe takes what comes; it can be neither kept nor replaced.
  const handle = await guarded('write', file, () => open(file, 'w'))
  try {
    for await (const text of lines) await guarded('write', file, () => handle.writeFile(text))
  } finally {
    await handle.close()
  }
}

/** Counts the lines that pass. */
async function* counted(texts: AsyncIterable<string>, counter: { count: number }): AsyncGenerator<string> {
  for await (const text of texts) {
    counter.count += text.split('\n').length - 1
    yield text
  }
}

const predictionsOf = (count: number): string => (count === 1 ? '1 prediction' : `${grouped(count)} predictions`)

async function predict(options: PredictOptions, io: Io): Promise<void> {
  checkDataOptions(options, [options.inputFile])
  checkColumns(options)
  await checkFiles(options)
  const opened = await openModel(options.model, options.task, options, options, io)
  using _ = opened.model
  const lines = predictions(opened, options, io)
  // Awaited, not returned: the model is disposed at the end of this function.
  if (options.outputFile !== undefined) {
    const counter = { count: 0 }
    await writeLines(options.outputFile, counted(lines, counter))
    if (!options.json) io.stderr.write(`${predictionsOf(counter.count)} written to ${options.outputFile}\n`)
  } else for await (const text of lines) await writeWhenReady(io.stdout, text, io.signal)
}

export function addPredict(program: Command, io: Io): void {
  const batchFlag = '--per-device-eval-batch-size'
  const command = program
    .command('predict')
    .description('write a JSON line with what the model says for every input')
    .option('--task <name>', 'what the model does (default: as its config says)', parseTask)
    .requiredOption('--model <name>', 'model folder or Hub id')
    .option(
      '--input-file <file>',
      'inputs: .txt with a text on each line (or in paragraphs: --text-layout), or a format of the task (default: lines of standard input)',
    )
    .option('--output-file <file>', 'where to write (default: standard output)')
    .option(`${batchFlag} <integer>`, 'sequences in a batch', integerOption(batchFlag, 1), 32)
  addDataOptions(addRevision(command), { labels: false })
  addModelOptions(addTaskOptions(command, { examples: false })).action((options: PredictOptions) =>
    predict(options, io),
  )
}
