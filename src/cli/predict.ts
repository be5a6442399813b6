import { open, realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { ClassificationExample } from '../data/classification.ts'
import { extensionOf, openData } from '../data/readers/bytes.ts'
import { blocksOf } from '../data/readers/lines.ts'
import { AbortedError, UsageError } from '../errors.ts'
import { guarded, writeAtomic } from '../formats/files.ts'
import { collate } from '../train/dataset.ts'
import { type Classifier, encodeTexts, maxLengthOf, openClassifier, readData } from './classification.ts'
import { abortable, type Io, type Output, writeJsonLine, writeWhenReady } from './io.ts'
import {
  addDataOptions,
  addModelOptions,
  addRevision,
  checkDataOptions,
  type DataOptions,
  integerOption,
  type ModelOptions,
} from './options.ts'
import { predictionOf } from './scores.ts'

interface PredictOptions extends ModelOptions, DataOptions {
  readonly model: string
  readonly inputFile?: string
  readonly outputFile?: string
  readonly perDeviceEvalBatchSize: number
}

const toBytes = async function* (chunks: AsyncIterable<Uint8Array | string>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  for await (const chunk of chunks) yield typeof chunk === 'string' ? encoder.encode(chunk) : chunk
}

/** A text on each line. What has come is given at once, so that a program may write a line and wait for its answer. */
async function* linesInBlocks(bytes: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<ClassificationExample[]> {
  for await (const { line, text } of blocksOf(bytes, file)) {
    const lines = text.split('\n')
    if (text.endsWith('\n')) lines.pop()
    yield lines.map((each, index) => ({ text: each.replace(/\r$/, ''), line: line + index }))
  }
}

/** The inputs, in pieces of any size: lines of text from standard input and .txt files, else rows of a table or JSON lines. */
async function* readInputs(options: PredictOptions, io: Io): AsyncGenerator<ClassificationExample[]> {
  const { fileFormat, inputFile } = options
  if (inputFile === undefined) {
    const source = { bytes: toBytes(abortable(io.stdin, io.signal)), name: 'standard input' }
    if (fileFormat === undefined) yield* linesInBlocks(source.bytes, source.name)
    else yield (await readData(source, options, 'ignored')).examples
  } else if (fileFormat === undefined && extensionOf(inputFile) === 'txt') {
    yield* linesInBlocks(openData(inputFile), inputFile)
  } else {
    yield (await readData(inputFile, options, 'ignored')).examples
  }
}

/** A JSON line for every input, in their order; the lines of a batch together. */
async function* predictions(
  { model, tokenizer }: Classifier,
  maxLength: number,
  options: PredictOptions,
  io: Io,
): AsyncGenerator<string> {
  model.eval()
  const size = options.perDeviceEvalBatchSize
  for await (const inputs of readInputs(options, io)) {
    for (let start = 0; start < inputs.length; start += size) {
      if (io.signal?.aborted) throw new AbortedError('The prediction was stopped')
      const examples = await encodeTexts(inputs.slice(start, start + size), tokenizer, maxLength, io.signal)
      const { logits } = await model.forward(collate(examples), { signal: io.signal })
      let lines = ''
      const collected: Output = { write: (line) => (lines += line) }
      for (const row of examples.keys()) writeJsonLine(collected, predictionOf(logits, row, model.config))
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

async function predict(options: PredictOptions, io: Io): Promise<void> {
  checkDataOptions(options)
  await checkFiles(options)
  const classifier = await openClassifier(options.model, options, io)
  using _ = classifier.model
  const lines = predictions(classifier, maxLengthOf(options, classifier.model.config), options, io)
  // Awaited, not returned: the model is disposed at the end of this function.
  if (options.outputFile !== undefined) await writeLines(options.outputFile, lines)
  else for await (const text of lines) await writeWhenReady(io.stdout, text, io.signal)
}

export function addPredict(program: Command, io: Io): void {
  const batchFlag = '--per-device-eval-batch-size'
  const command = program
    .command('predict')
    .description('write a JSON line with labels and scores for every input')
    .requiredOption('--model <name>', 'model folder or Hub id')
    .option('--input-file <file>', 'texts: .csv, .tsv, .jsonl, .txt (default: lines of standard input)')
    .option('--output-file <file>', 'where to write (default: standard output)')
    .option(`${batchFlag} <integer>`, 'sequences in a batch', integerOption(batchFlag, 1), 32)
  addModelOptions(addDataOptions(addRevision(command))).action((options: PredictOptions) => predict(options, io))
}
