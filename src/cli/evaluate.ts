import type { Command } from 'commander'
import { evaluateAll } from '../train/evaluation.ts'
import { encodeLabelled, labelSetOf, maxLengthOf, metricsFor, openClassifier, readData } from './classification.ts'
import { type Io, metricRows, writeJsonLine, writeTable } from './io.ts'
import {
  addDataOptions,
  addModelOptions,
  addRevision,
  checkDataOptions,
  type DataOptions,
  integerOption,
  type ModelOptions,
} from './options.ts'

interface EvaluateOptions extends ModelOptions, DataOptions {
  readonly model: string
  readonly evalFile: string
  readonly perDeviceEvalBatchSize: number
}

async function evaluate(options: EvaluateOptions, io: Io): Promise<void> {
  checkDataOptions(options)
  const { model, tokenizer } = await openClassifier(options.model, options, io)
  using _ = model
  const labelSet = labelSetOf(model.config)
  const data = await readData(options.evalFile, options, 'required', labelSet.problemType)
  const examples = await encodeLabelled(data, labelSet, tokenizer, maxLengthOf(options, model.config), io.signal)
  const metrics = await evaluateAll(model, examples, {
    batchSize: options.perDeviceEvalBatchSize,
    computeMetrics: metricsFor(labelSet.problemType),
    signal: io.signal,
  })
  if (options.json) writeJsonLine(io.stdout, metrics)
  else writeTable(io.stdout, metricRows(metrics))
}

export function addEvaluate(program: Command, io: Io): void {
  const batchFlag = '--per-device-eval-batch-size'
  const command = program
    .command('evaluate')
    .description('measure a model on a labelled file')
    .requiredOption('--model <name>', 'model folder or Hub id')
    .requiredOption('--eval-file <file>', 'labelled data: .csv, .tsv or .jsonl, each also .gz')
    .option(`${batchFlag} <integer>`, 'sequences in a batch', integerOption(batchFlag, 1), 32)
  addModelOptions(addDataOptions(addRevision(command))).action((options: EvaluateOptions) => evaluate(options, io))
}
