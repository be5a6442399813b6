import { open } from 'node:fs/promises'
import type { Command } from 'commander'
import type { ClassificationExample } from '../data/classification.ts'
import { extensionOf, openData } from '../data/readers/bytes.ts'
import { blocksOf } from '../data/readers/lines.ts'
import { AbortedError } from '../errors.ts'
import { guarded } from '../formats/files.ts'
import { collate } from '../train/dataset.ts'
import { encodeTexts, maxLengthOf, openClassifier, readData } from './classification.ts'
import { type Io, type Output, writeJsonLine } from './io.ts'
import {
  addDataOptions,
  addModelOptions,
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
    const source = { bytes: toBytes(io.stdin), name: 'standard input' }
    if (fileFormat === undefined) yield* linesInBlocks(source.bytes, source.name)
    else yield (await readData(source, options, 'ignored')).examples
  } else if (fileFormat === undefined && extensionOf(inputFile) === 'txt') {
    yield* linesInBlocks(openData(inputFile), inputFile)
  } else {
    yield (await readData(inputFile, options, 'ignored')).examples
  }
}

/** Writes to `write` a JSON line for every input, in their order. */
async function predict(options: PredictOptions, io: Io, write: (lines: string) => Promise<unknown>): Promise<void> {
  const { model, tokenizer } = await openClassifier(options.model, options)
  using _ = model
  model.eval()
  const maxLength = maxLengthOf(options, model.config)
  const size = options.perDeviceEvalBatchSize
  for await (const inputs of readInputs(options, io)) {
    for (let start = 0; start < inputs.length; start += size) {
      if (io.signal?.aborted) throw new AbortedError('The prediction was stopped')
      const examples = await encodeTexts(inputs.slice(start, start + size), tokenizer, maxLength, io.signal)
      const { logits } = await model.forward(collate(examples), { signal: io.signal })
      let lines = ''
      const collected: Output = { write: (line) => (lines += line) }
      for (const row of examples.keys()) writeJsonLine(collected, predictionOf(logits, row, model.config))
      await write(lines)
    }
  }
}

async function predictTo(options: PredictOptions, io: Io): Promise<void> {
  checkDataOptions(options)
  const { outputFile } = options
  if (outputFile === undefined) return predict(options, io, async (lines) => io.stdout.write(lines))
  const handle = await guarded('write', outputFile, () => open(outputFile, 'w'))
  try {
    await predict(options, io, (lines) => guarded('write', outputFile, () => handle.writeFile(lines)))
  } finally {
    await handle.close()
  }
}

export function addPredict(program: Command, io: Io): void {
  const batchFlag = '--per-device-eval-batch-size'
  const command = program
    .command('predict')
    .description('write a JSON line with labels and scores for every input')
    .requiredOption('--model <folder>', 'model folder')
    .option('--input-file <file>', 'texts: .csv, .tsv, .jsonl, .txt (default: lines of standard input)')
    .option('--output-file <file>', 'where to write (default: standard output)')
    .option(`${batchFlag} <integer>`, 'sequences in a batch', integerOption(batchFlag, 1), 32)
  addModelOptions(addDataOptions(command)).action((options: PredictOptions) => predictTo(options, io))
}
