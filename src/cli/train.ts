import * as path from 'node:path'
import type { Command } from 'commander'
import { labelKey } from '../data/label-names.ts'
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { DataError, UsageError } from '../errors.ts'
import type { TrainingArgumentsInput } from '../train/argument-rules.ts'
import { probeFolder } from '../train/checkpoint.ts'
import { isStreamed } from '../train/dataset.ts'
import type { LogRecord, TrainEvent, TrainOutput } from '../train/events.ts'
import { ResumeError } from '../train/resume.ts'
import { TrainingAborted } from '../train/run.ts'
import type { Task, TaskModel, TaskName, TaskOptions } from '../train/tasks/task.ts'
import { type DataSettings, readTaskData, type TaskData } from '../train/tasks/task-data.ts'
import { createTask } from '../train/tasks/tasks.ts'
import { Trainer, type TrainerOptions } from '../train/trainer.ts'
import type { TaskDataset } from '../train/trainer-options.ts'
import { initializeUnigramBias } from '../train/unigram-bias.ts'
import { initializeWordEmbeddings } from '../train/word-embeddings.ts'
import { showing, warn, warnOfFaults } from './data.ts'
import { casingDoubt, dataDoubts, headDoubt, UNKNOWN_ROWS, unknownDoubt, vocabularyDoubt } from './doubts.ts'
import { addHelpParagraph } from './help.ts'
import { Interruption } from './interruption.ts'
import { grouped, type Io, metricRows, writeJsonLine, writeTable } from './io.ts'
import {
  type Blueprint,
  checkModelSource,
  createModel,
  labelsOfSource,
  type ModelSource,
  maxLengthOf,
} from './models.ts'
import {
  addDataOptions,
  addModelOptions,
  addProblemType,
  addRevision,
  addTaskOptions,
  addTrainingOptions,
  checkDataOptions,
  checkTaskOptions,
  type DataOptions,
  flagError,
  parseTask,
  readSettings,
  resumeUsage,
  taskOptions,
  withFlagErrors,
} from './options.ts'
import { createProgress, type Progress } from './progress.ts'
import { CurveRecorder } from './report-data.ts'
import { argumentsFor, argumentsOf, OWN_DEFAULTS } from './train-arguments.ts'
import { reportRun } from './train-report.ts'

export interface TrainOptions extends ModelSource, DataOptions, TaskOptions {
  readonly task: TaskName
  readonly trainFile: readonly string[]
  readonly evalFile?: string
  readonly outputDir: string
  readonly streaming?: boolean
}

/** One JSON line for each event that a program may want; steps are only for the bar. */
function writeEvent(event: TrainEvent, io: Io): void {
  if (event.type === 'log') writeJsonLine(io.stdout, event.logs)
  else if (event.type === 'evaluate') writeJsonLine(io.stdout, { ...event.metrics, best: event.isBest })
  else if (event.type === 'save')
    writeJsonLine(io.stdout, { checkpoint: event.checkpoint, epoch: event.epoch, step: event.step })
  else if (event.type === 'warning') writeJsonLine(io.stdout, { warning: event.message, step: event.step })
}

/** The numbers of the whole run, and of the evaluation of the weights that it ends with where there was one. */
function resultOf({ globalStep, logHistory, metrics, restoredStep }: TrainOutput): LogRecord {
  const held = restoredStep ?? globalStep
  const evaluation = logHistory.filter((line) => 'eval_loss' in line && line.step === held).at(-1)
  if (evaluation === undefined) return metrics
  const { step: _, epoch: __, ...evaluated } = evaluation
  return { ...metrics, ...evaluated, ...(restoredStep === null ? {} : { best_step: restoredStep }) }
}

/** A path as a word of a shell. */
const shellWord = (path: string): string =>
  /^[\w./:@%+,=\\-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`

/** An error of a run, in the words of the command line. */
function explained(error: unknown, { signal }: Io): unknown {
  if (error instanceof ResumeError) return resumeUsage(error)
  if (!(error instanceof TrainingAborted)) return error
  const { checkpoint, step } = error
  const why = signal?.reason instanceof Interruption ? signal.reason.why : undefined
  const where = checkpoint === null ? 'before the first step' : `after step ${step}`
  const rest =
    checkpoint === null ? '' : `; to go on, add --resume-from-checkpoint ${shellWord(checkpoint)} to the same command`
  const stopped = new TrainingAborted(step, checkpoint, error)
  stopped.message = `Training was stopped ${where}${why === undefined ? '' : ` because ${why}`}${rest}`
  return stopped
}

/** Runs the training and shows its events. */
async function watch(
  trainer: Trainer,
  progress: Progress,
  curves: CurveRecorder,
  json: boolean,
  io: Io,
): Promise<TrainOutput> {
  const run = trainer.train()
  try {
    for await (const event of run) {
      progress.show(event)
      if (event.type === 'step') curves.add(event)
      if (json) writeEvent(event, io)
    }
  } catch (error) {
    throw explained(error, io)
  } finally {
    progress.stop()
  }
  return run
}

/** Bad usage where the arguments do not fit the data. */
function trainerOf(options: TrainerOptions): Trainer {
  try {
    return new Trainer(options)
  } catch (error) {
    throw flagError(error)
  }
}

/** Throws DataError where evaluation data has labels that are not trained: its numbers would mean nothing. */
function checkLabels(train: TaskData, evaluation: TaskData): void {
  const known = new Set(train.labels?.names.map(labelKey))
  const found = evaluation.task.collectLabels?.()
  for (const row of evaluation.rows ?? []) found?.add(row)
  const strange = [...(found?.names ?? [])].filter((name) => !known.has(labelKey(name))).sort()
  if (strange.length === 0) return
  const shown = strange.slice(0, 5).map((name) => `"${name}"`)
  const more = strange.length > 5 ? ` and ${strange.length - 5} more` : ''
  throw new DataError(
    `it has labels that ${train.file} lacks: ${shown.join(', ')}${more}; add examples of them to the training data, or leave them out here`,
    evaluation.file,
  )
}

async function readBoth(
  task: Task,
  options: TrainOptions,
  args: TrainingArgumentsInput & Pick<DataSettings, 'labelOrder'>,
  progress: Progress,
  io: Io,
) {
  const settings: DataSettings = {
    ...taskOptions(options),
    ...readSettings(options),
    seed: args.seed,
    signal: io.signal,
    onProgress: showing(progress),
  }
  const uncounted = (args.maxSteps ?? -1) > 0
  const train = await readTaskData(task.name, options.trainFile, {
    ...settings,
    labelOrder: args.labelOrder,
    uncounted,
    streamed: options.streaming,
  })
  if (options.evalFile === undefined) return { train, evaluation: undefined }
  const held = { ...settings, purpose: 'evaluate', streamed: false, labels: train.labels } as const
  const evaluation = await readTaskData(task.name, options.evalFile, held)
  checkLabels(train, evaluation)
  return { train, evaluation }
}

/** What is about to happen, in a line. */
function describe(task: Task, { labels }: TaskData, model: TaskModel, counts: string): string {
  const kind = task.name === 'sequence-classification' ? `, ${labels?.problemType}` : ''
  const names = labels === undefined ? '' : `, ${labels.names.length} labels`
  return `${task.name}: ${counts}${kind}${names}, ${model.dtype}\n`
}

/** The options of the command that are no arguments of the Trainer, for the report. */
const shownOptions = ({ backend, json: _, outputDir: __, ...options }: TrainOptions): Record<string, unknown> => ({
  backend: backend === 'auto' ? undefined : backend,
  ...options,
})

/** How many examples there are to train and to evaluate on, as far as they have been counted. */
function sizesOf({ data: train }: TaskDataset, evaluation: TaskDataset | undefined): string {
  const streamed = isStreamed(train) ? ' streamed' : ''
  const tested = evaluation && !isStreamed(evaluation.data) ? ` and ${grouped(evaluation.data.length)} evaluation` : ''
  return train.length === undefined
    ? `uncounted${streamed} training examples${tested}`
    : `${grouped(train.length)}${streamed} training${tested} examples`
}

/** The tensors that the model's folder lacks, or has in another shape. */
function newWeights({ loadReport }: TaskModel): readonly string[] {
  const { missing = [], mismatched = [] } = loadReport ?? {}
  return [...missing, ...mismatched.map(({ name }) => name)]
}

/** A new model begins with the frequencies of the words, and with embeddings of what stands near them. */
async function initializeFromText(
  model: TaskModel,
  dataset: TaskDataset,
  tokenizer: BertTokenizer,
  progress: Progress,
  { signal }: Io,
): Promise<void> {
  await initializeUnigramBias(model, dataset, tokenizer, { signal })
  const onProgress = (done: number): void => progress.phase('initialising word embeddings', Math.floor(100 * done), 100)
  await initializeWordEmbeddings(model, dataset, tokenizer, { signal, onProgress })
  progress.stop()
}

/**
 * Trains as a command line says; a new model of `blueprint` where that is given, which is asked for when the options and the data have
 * been found to be right.
 */
export async function train(options: TrainOptions, io: Io, blueprint?: () => Promise<Blueprint>): Promise<void> {
  if (blueprint === undefined) checkModelSource(options)
  if (options.model !== undefined && path.resolve(options.model) === path.resolve(options.outputDir))
    throw new UsageError(`Expected --output-dir to be another folder than --model but both are ${options.model}`)
  checkDataOptions(options, [...options.trainFile, options.evalFile])
  checkTaskOptions(options.task, options)
  const task = createTask(options.task, options)
  const asked = { ...argumentsOf(task, options), outputDir: options.outputDir }
  const json = options.json === true
  const progress = createProgress(io, { quiet: json })
  const labelOrder = await labelsOfSource(task, options, io)
  const reading = readBoth(task, options, { ...asked, labelOrder }, progress, io)
  const { evaluation, train: data } = await reading.finally(() => progress.stop())
  const args = argumentsFor(data, asked, options)
  for (const message of dataDoubts(data, options)) warn(message, json, io)
  const { model, tokenizer } = await createModel(task, options, data.modelFields, args.seed, io, blueprint)
  using _ = model
  const source = options.model ?? options.vocab
  const doubts = [
    args.resumeFromCheckpoint ? undefined : headDoubt(model, labelOrder, data, options.model),
    vocabularyDoubt(tokenizer, model.config, source),
    casingDoubt(tokenizer, source),
    // of a vocabulary that has just been learnt, pretrain says what it lacks
    source && unknownDoubt(tokenizer, await data.firstRows(UNKNOWN_ROWS), source),
  ]
  for (const doubt of doubts) if (doubt) warn(doubt, json, io)
  const maxLength = maxLengthOf(options, model.config, task)
  const encode = (each: TaskData): Promise<TaskDataset> => withFlagErrors(each.encode(tokenizer, { maxLength }))
  const trainDataset = await encode(data)
  const evalDataset = evaluation && (await encode(evaluation))
  progress.stop()
  for (const each of [data, evaluation]) if (each) warnOfFaults(each, json, io)
  // a resumed run brings its own weights, and one to compare begins as Transformers does
  if (blueprint !== undefined && !args.resumeFromCheckpoint && (args.parity ?? 'none') === 'none')
    await initializeFromText(model, trainDataset, tokenizer, progress, io)
  await model.describe() // which may decide the dtype
  if (!io.signal?.aborted) await probeFolder(options.outputDir) // the trained model is written there, whatever else is saved
  const trainer = trainerOf({
    model,
    args,
    trainDataset,
    evalDataset: evalDataset && !isStreamed(evalDataset.data) ? evalDataset : undefined,
    tokenizer,
    signal: io.signal,
  })
  if (!json) {
    io.stderr.write(describe(task, data, model, sizesOf(trainDataset, evalDataset)))
    const fresh = newWeights(model)
    if (fresh.length > 0 && !trainer.args.resumeFromCheckpoint) io.stderr.write(`new weights: ${fresh.join(', ')}\n`)
  }
  const curves = new CurveRecorder()
  const started = performance.now()
  const output = await watch(trainer, progress, curves, json, io)
  const metrics = resultOf(output)
  await model.savePretrained(options.outputDir)
  await tokenizer.savePretrained(options.outputDir)
  const report = await reportRun({
    model,
    args: trainer.args,
    options: shownOptions(options),
    curves,
    logHistory: output.logHistory,
    metrics,
    data,
    evaluation: evaluation && evalDataset && { data: evaluation, encoded: evalDataset },
    seconds: (performance.now() - started) / 1000,
    signal: io.signal,
  })
  if (json) writeJsonLine(io.stdout, { ...metrics, output_dir: options.outputDir, report })
  else writeTable(io.stdout, [...metricRows(metrics), ['saved to', options.outputDir], ['report', report]])
}

const FILES =
  'sequence-classification: .csv .tsv .jsonl (text, text_pair?, label); token-classification: .conll .conllu .jsonl (tokens, tags); ' +
  'question-answering: SQuAD .json, .jsonl; multiple-choice: .jsonl (context, question?, choices, label), .csv; language models and ' +
  'pretraining: .txt (a passage a line, a blank line between documents), .jsonl (text); each also .gz, .json and .parquet'

export function addTrain(program: Command, io: Io): void {
  const command = program
    .command('train')
    .description('fine-tune a model, or train one from scratch')
    .option(
      '--task <name>',
      'what to learn: sequence-classification, token-classification, question-answering, multiple-choice, masked-lm, causal-lm, next-sentence, pretraining',
      parseTask,
      'sequence-classification',
    )
  addTrainOptions(command)
  addHelpParagraph(command, `Data files. ${FILES}.`)
  command.action((options: TrainOptions) => train(options, io))
}

/** Every option of training but the task. */
export function addTrainOptions(command: Command): void {
  command
    .option('--model <name>', 'model folder or Hub id to start from')
    .option('--config <file>', 'config.json of a new model (with --vocab)')
    .option(
      '--vocab <file>',
      'vocab.txt (a tokenizer_config.json beside it is read too), or tokenizer folder, of a new model (with --config)',
    )
    .requiredOption('--train-file <files...>', 'data to learn from')
    .option('--eval-file <file>', 'data to evaluate on')
    .requiredOption('--output-dir <folder>', 'for checkpoints and the trained model')
    .option(
      '--streaming',
      'read the training data anew in each epoch instead of holding it (default: files over 32 MiB)',
    )
  addHelpParagraph(
    command,
    'It saves a checkpoint after each epoch; with --eval-file it evaluates then too, keeps the best and the newest checkpoint, ' +
      'and ends with the best weights. --save-steps or --eval-steps alone makes it do both after so many updates.\n' +
      'Ctrl-C saves a checkpoint; --resume-from-checkpoint continues exactly there.',
  )
  addProblemType(addTaskOptions(addDataOptions(addRevision(command))))
  addTrainingOptions(addModelOptions(command, { trains: true }), OWN_DEFAULTS)
}
