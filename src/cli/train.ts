import type { Command } from 'commander'
import { type ClassificationProblem, inferLabels, type LabelSet } from '../data/classification.ts'
import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError, ConfigError, DataError, UsageError } from '../errors.ts'
import { readText } from '../formats/files.ts'
import { parseJson } from '../json.ts'
import { BertConfig } from '../model/config.ts'
import { BertForSequenceClassification } from '../session/models.ts'
import type { TrainingArgumentsInput } from '../train/arguments.ts'
import type { LogRecord, TrainEvent, TrainOutput } from '../train/events.ts'
import { Trainer, type TrainerOptions } from '../train/trainer.ts'
import { encodeLabelled, HEADLINE_METRIC, maxLengthOf, metricsFor, readData } from './classification.ts'
import { hubOptions } from './hub.ts'
import { grouped, type Io, metricRows, writeJsonLine, writeTable } from './io.ts'
import {
  addDataOptions,
  addModelOptions,
  addProblemType,
  addRevision,
  addTrainingOptions,
  checkArguments,
  checkDataOptions,
  type DataOptions,
  flagError,
  givenArguments,
  type ModelOptions,
  parseTask,
} from './options.ts'
import { createProgress } from './progress.ts'

interface TrainOptions extends ModelOptions, DataOptions {
  readonly model?: string
  readonly config?: string
  readonly vocab?: string
  readonly trainFile: string
  readonly evalFile?: string
  readonly outputDir: string
  readonly problemType?: ClassificationProblem
}

/** What argumentsOf() makes of arguments that are not given, for the help. */
const OWN_DEFAULTS = {
  evalStrategy: 'epoch with --eval-file, else no',
  saveStrategy: 'as --eval-strategy, else epoch',
  loadBestModelAtEnd: 'true with --eval-file',
  metricForBestModel: Object.values(HEADLINE_METRIC).join(' or '),
  saveTotalLimit: '1',
}

/** The Trainer's arguments; by default it evaluates and saves each epoch, and keeps the best model. Throws UsageError. */
function argumentsOf(options: TrainOptions): TrainingArgumentsInput {
  const given = givenArguments({ ...options })
  const evalStrategy = given.evalStrategy ?? (options.evalFile === undefined ? 'no' : 'epoch')
  if (evalStrategy !== 'no' && options.evalFile === undefined) {
    throw new UsageError(`Expected --eval-file because --eval-strategy is '${evalStrategy}' but received none`)
  }
  const saveStrategy = given.saveStrategy ?? (evalStrategy === 'no' ? 'epoch' : evalStrategy)
  const loadBestModelAtEnd = evalStrategy !== 'no' && (saveStrategy === evalStrategy || saveStrategy === 'best')
  const metricForBestModel = loadBestModelAtEnd ? HEADLINE_METRIC[problemOf(options)] : null
  const defaults = { evalStrategy, saveStrategy, loadBestModelAtEnd, metricForBestModel, saveTotalLimit: 1 }
  return checkArguments({ ...defaults, ...given })
}

const problemOf = (options: TrainOptions): ClassificationProblem => options.problemType ?? 'single_label_classification'

function checkModelSource({ config, model, vocab }: TrainOptions): void {
  const fromScratch = config !== undefined && vocab !== undefined
  const half = (config === undefined) !== (vocab === undefined)
  if (half || fromScratch === (model !== undefined)) {
    throw new UsageError('Expected --model, or --config and --vocab to train from scratch')
  }
}

async function readVocabulary(file: string): Promise<BertTokenizer> {
  const tokens = (await readText(file)).replace(/\r?\n$/, '').split(/\r?\n/)
  try {
    return BertTokenizer.fromVocab(tokens)
  } catch (error) {
    throw error instanceof ArgumentError ? new DataError(error.message, file, undefined, { cause: error }) : error
  }
}

async function createFromScratch(options: TrainOptions, labels: LabelSet, seed: number | undefined) {
  const { backend, config: configFile = '', dtype, threads, vocab = '' } = options
  const tokenizer = await readVocabulary(vocab)
  const json = parseJson(await readText(configFile), (reason) => new ConfigError(`${configFile}: ${reason}`))
  const config = BertConfig.fromJSON(json, configFile).with(labelFields(labels), configFile)
  if (tokenizer.vocabSize > config.vocabSize) {
    const found = `${vocab} has ${tokenizer.vocabSize} tokens, but vocab_size in ${configFile} is ${config.vocabSize}`
    throw new ConfigError(found)
  }
  return { model: new BertForSequenceClassification(config, { backend, dtype, seed, threads }), tokenizer }
}

const labelFields = ({ names, problemType }: LabelSet) => ({
  numLabels: names.length,
  id2label: { ...names },
  problemType,
})

async function createModel(options: TrainOptions, labels: LabelSet, seed: number | undefined, io: Io) {
  const { backend, dtype, model: nameOrFolder, threads } = options
  if (nameOrFolder === undefined) return createFromScratch(options, labels, seed)
  const hub = hubOptions(options, io)
  const tokenizer = await BertTokenizer.fromPretrained(nameOrFolder, hub)
  const settings = { ...labelFields(labels), ...hub, backend, dtype, seed, threads }
  return { model: await BertForSequenceClassification.fromPretrained(nameOrFolder, settings), tokenizer }
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

/** Runs the training and shows its events. */
async function watch(trainer: Trainer, json: boolean, io: Io): Promise<LogRecord> {
  const progress = createProgress(io, { quiet: json })
  const run = trainer.train()
  try {
    for await (const event of run) {
      progress.show(event)
      if (json) writeEvent(event, io)
    }
  } finally {
    progress.stop()
  }
  return resultOf(await run)
}

/** Bad usage where the arguments do not fit the data. */
function trainerOf(options: TrainerOptions): Trainer {
  try {
    return new Trainer(options)
  } catch (error) {
    throw flagError(error)
  }
}

async function train(options: TrainOptions, io: Io): Promise<void> {
  checkModelSource(options)
  checkDataOptions(options)
  const args = argumentsOf(options)
  const json = options.json === true
  const problemType = problemOf(options)
  const trainData = await readData(options.trainFile, options, 'required', problemType)
  const evalData = options.evalFile && (await readData(options.evalFile, options, 'required', problemType))
  const labels = inferLabels(trainData)
  const { model, tokenizer } = await createModel(options, labels, args.seed, io)
  using _ = model
  const maxLength = maxLengthOf(options, model.config)
  const trainDataset = await encodeLabelled(trainData, labels, tokenizer, maxLength, io.signal)
  const evalDataset = evalData ? await encodeLabelled(evalData, labels, tokenizer, maxLength, io.signal) : undefined
  const trainer = trainerOf({
    model,
    args,
    trainDataset,
    evalDataset,
    tokenizer,
    computeMetrics: metricsFor(problemType),
    signal: io.signal,
  })
  if (!json) {
    const tested = evalDataset === undefined ? '' : ` and ${grouped(evalDataset.length)} evaluation`
    io.stderr.write(
      `${grouped(trainDataset.length)} training${tested} examples, ${problemType}, ${labels.names.length} labels, ${model.dtype}\n`,
    )
    const { missing = [] } = model.loadReport ?? {}
    if (missing.length > 0 && !trainer.args.resumeFromCheckpoint)
      io.stderr.write(`new weights: ${missing.join(', ')}\n`)
  }
  const result = await watch(trainer, json, io)
  await model.savePretrained(options.outputDir)
  await tokenizer.savePretrained(options.outputDir)
  if (json) writeJsonLine(io.stdout, { ...result, output_dir: options.outputDir })
  else writeTable(io.stdout, [...metricRows(result), ['saved to', options.outputDir]])
}

export function addTrain(program: Command, io: Io): void {
  const command = program
    .command('train')
    .description('fine-tune a model, or train one from scratch')
    .option('--task <name>', 'what to learn: sequence-classification', parseTask, 'sequence-classification')
    .option('--model <name>', 'model folder or Hub id to start from')
    .option('--config <file>', 'config.json of a new model (with --vocab)')
    .option('--vocab <file>', 'vocab.txt of a new model (with --config)')
    .requiredOption('--train-file <file>', 'labelled data: .csv, .tsv or .jsonl, each also .gz')
    .option('--eval-file <file>', 'labelled data to evaluate on')
    .requiredOption('--output-dir <folder>', 'for checkpoints and the trained model')
  command.addHelpText(
    'after',
    '\nIt saves a checkpoint after each epoch; with --eval-file it evaluates then too, keeps the best and the newest checkpoint,' +
      '\nand ends with the best weights. Ctrl-C saves a checkpoint; --resume-from-checkpoint continues exactly there.',
  )
  addProblemType(addDataOptions(addRevision(command)))
  addTrainingOptions(addModelOptions(command), OWN_DEFAULTS).action((options: TrainOptions) => train(options, io))
}
