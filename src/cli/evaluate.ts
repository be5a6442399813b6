import type { Command } from 'commander'
import { UsageError } from '../errors.ts'
import { isStreamed } from '../train/dataset.ts'
import { evaluateAll } from '../train/evaluation.ts'
import type { TaskName, TaskOptions } from '../train/tasks/task.ts'
import { readTaskData } from '../train/tasks/task-data.ts'
import { showing, warnOfFaults } from './data.ts'
import { type Io, metricRows, writeJsonLine, writeTable } from './io.ts'
import { maxLengthOf, openModel } from './models.ts'
import {
  addDataOptions,
  addModelOptions,
  addRevision,
  addTaskOptions,
  checkDataOptions,
  type DataOptions,
  integerOption,
  type ModelOptions,
  parseTask,
  readSettings,
  taskOptions,
  withFlagErrors,
} from './options.ts'
import { createProgress } from './progress.ts'

interface EvaluateOptions extends ModelOptions, DataOptions, TaskOptions {
  readonly task?: TaskName
  readonly model: string
  readonly evalFile: string
  readonly perDeviceEvalBatchSize: number
  readonly seed: number
}

async function evaluate(options: EvaluateOptions, io: Io): Promise<void> {
  checkDataOptions(options, [options.evalFile])
  const { model, task, tokenizer } = await openModel(options.model, options.task, options, options, io)
  using _ = model
  const maxLength = maxLengthOf(options, model.config, task)
  const progress = createProgress(io, { quiet: options.json === true })
  try {
    const data = await readTaskData(task.name, options.evalFile, {
      ...taskOptions(options),
      ...readSettings(options),
      problemType: task.labelsOf?.(model.config).problemType,
      labels: task.labelsOf?.(model.config),
      purpose: 'evaluate',
      streamed: false,
      seed: options.seed,
      signal: io.signal,
      onProgress: showing(progress),
    })
    const { collator, data: examples, evaluation } = await withFlagErrors(data.encode(tokenizer, { maxLength }))
    if (isStreamed(examples)) throw new UsageError('Expected data that fits in memory')
    const metrics = await evaluateAll(model, examples, {
      batchSize: options.perDeviceEvalBatchSize,
      collator,
      evaluation: evaluation?.(),
      seed: options.seed,
      signal: io.signal,
      onProgress: (done) => progress.phase('evaluating', done, examples.length),
    })
    progress.stop()
    warnOfFaults(data, options.json === true, io)
    if (options.json) writeJsonLine(io.stdout, metrics)
    else writeTable(io.stdout, metricRows(metrics))
  } finally {
    progress.stop()
  }
}

export function addEvaluate(program: Command, io: Io): void {
  const batchFlag = '--per-device-eval-batch-size'
  const command = program
    .command('evaluate')
    .description('measure a model on a labelled file')
    .option('--task <name>', 'what the model does (default: as its config says)', parseTask)
    .requiredOption('--model <name>', 'model folder or Hub id')
    .requiredOption('--eval-file <file>', 'labelled data, in a format of its task (see bertkit train --help)')
    .option(`${batchFlag} <integer>`, 'sequences in a batch', integerOption(batchFlag, 1), 32)
    .option('--seed <integer>', 'seed of masks and made pairs', integerOption('--seed', 0, 2 ** 32 - 1), 42)
  addModelOptions(addTaskOptions(addDataOptions(addRevision(command)))).action((options: EvaluateOptions) =>
    evaluate(options, io),
  )
}
