import { type Command, Option } from 'commander'
import type { ClassificationProblem } from '../data/label-names.ts'
import { COLUMN_FORMATS, formatOfName, NAMED_FORMATS, type RowFormat } from '../data/readers/rows.ts'
import { TEXT_LAYOUTS, type TextLayout } from '../data/readers/text.ts'
import { ArgumentError, type BertkitError, UsageError } from '../errors.ts'
import { isRevision } from '../formats/hub-options.ts'
import { getScheduler } from '../optim/schedules.ts'
import {
  type ArgumentRule,
  argumentRules,
  refusedArguments,
  type TrainingArgumentsInput,
} from '../train/argument-rules.ts'
import { resolveTrainingArguments, type TrainingArguments } from '../train/arguments.ts'
import type { ResumeError } from '../train/resume.ts'
import { type ReadSettings, TASK_NAMES, type TaskName, type TaskOptions } from '../train/tasks/task.ts'

/** Options that every command which runs a model has. */
export interface ModelOptions {
  readonly backend: 'auto' | 'cpu' | 'cuda' | 'wasm'
  readonly dtype: 'float32' | 'bfloat16' | 'int8' | 'auto'
  readonly threads?: number
  readonly revision?: string
  readonly json?: boolean
}

/** What the backend takes. */
const MOST_THREADS = 256

export function parseTask(task: string): TaskName {
  const found = TASK_NAMES.find((name) => name === task)
  if (found === undefined)
    throw new UsageError(`Expected --task to be one of ${TASK_NAMES.join(', ')} but received '${task}'`)
  return found
}

/** A parser for commander that accepts integers of at least `least`, and of at most `most`. */
export const integerOption =
  (flag: string, least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (Number.isSafeInteger(value) && value >= least && value <= most) return value
    const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
    throw new UsageError(`Expected ${flag} to be an integer ${range} but received '${text}'`)
  }

const FILE_FORMATS: readonly RowFormat[] = [...NAMED_FORMATS, 'conll', 'txt']
/** Of files of running text. */
export const TEXT_FORMATS: readonly RowFormat[] = [...NAMED_FORMATS, 'txt']
const PROBLEM_TYPES: readonly ClassificationProblem[] = [
  'single_label_classification',
  'multi_label_classification',
  'regression',
]

export function oneOf<Name extends string>(flag: string, available: readonly Name[]) {
  return (text: string): Name => {
    const found = available.find((name) => name === text)
    if (found !== undefined) return found
    throw new UsageError(`Expected ${flag} to be one of ${available.join(', ')} but received '${text}'`)
  }
}

/** --revision, for commands that have --model. */
export const addRevision = (command: Command): Command =>
  command.option('--revision <name>', 'branch, tag or commit of a model of the Hub (default: main)', parseRevision)

function parseRevision(text: string): string {
  if (isRevision(text)) return text
  throw new UsageError(`Expected --revision to be the name of a branch, a tag or a commit but received '${text}'`)
}

const DTYPES = ['float32', 'bfloat16', 'int8', 'auto'] as const

/** --dtype of a command that trains. */
function trainingDtype(text: string): string {
  if (text === 'int8')
    throw new UsageError(
      'Expected --dtype float32, bfloat16 or auto: int8 is for predict, evaluate, generate and fill-mask, whole numbers cannot be trained',
    )
  return oneOf(
    '--dtype',
    DTYPES.filter((name) => name !== 'int8'),
  )(text)
}

/** --backend, --dtype, --bf16, --threads and --json; `trains`: int8 is refused. */
export function addModelOptions(command: Command, { trains = false } = {}): Command {
  return command
    .option(
      '--backend <name>',
      'where to run: cpu, the native kernels; cuda, an NVIDIA GPU; wasm, the kernels as WebAssembly; or auto, the best that there is',
      oneOf('--backend', ['auto', 'cpu', 'cuda', 'wasm']),
      'auto',
    )
    .option(
      '--dtype <name>',
      `arithmetic of this run: float32; bfloat16, which takes less memory, and less time where the CPU multiplies it (bertkit info); or auto, the faster one. ${trains ? 'Saved weights are float32' : 'int8: weights of a quarter of the size, products of them, outputs a little less exact'}`,
      trains ? trainingDtype : oneOf('--dtype', DTYPES),
      'float32',
    )
    .option(
      '--threads <integer>',
      'threads (default: the CPUs that may be used)',
      integerOption('--threads', 1, MOST_THREADS),
    )
    .option('--json', 'write one JSON object a line to standard output and nothing else')
    .option('--bf16', 'the same as --dtype bfloat16')
    .hook('preAction', (given) => {
      const { bf16, dtype } = given.opts<{ bf16?: boolean; dtype: string }>()
      if (!bf16) return
      if (given.getOptionValueSource('dtype') === 'cli' && dtype !== 'bfloat16')
        throw new UsageError(`Expected --bf16 or --dtype ${dtype} but received both`)
      given.setOptionValue('dtype', 'bfloat16')
    })
}

/** Options that say how a data file is read. */
export interface DataOptions {
  readonly fileFormat?: RowFormat
  readonly columns?: string
  readonly header?: boolean
  readonly textColumn?: string
  readonly textPairColumn?: string
  readonly labelColumn?: string
  readonly textLayout?: TextLayout
  readonly maxLength?: number
}

export const textLayoutOption = (): Option =>
  new Option(
    '--text-layout <name>',
    'txt: lines (a passage on each line, blank lines between documents) or paragraphs (as in books: passages of several lines, a blank line between them, more between documents)',
  )
    .argParser(oneOf('--text-layout', TEXT_LAYOUTS))
    .default(undefined, 'lines')

/** How a file of texts is read, but for --text-layout. */
export const addTextOptions = (command: Command, formats = FILE_FORMATS): Command =>
  command
    .option(
      '--file-format <name>',
      `${formats.join(', ')} (default: by the name of the file)`,
      oneOf('--file-format', formats),
    )
    .option(
      '--columns <names>',
      'names of the columns from the left, separated by commas; _ skips one, further ones on the right are ignored (where only some rows of a .csv have them, end with ,_)',
    )
    .option('--header', 'the first line is a header, whose names --columns replaces')
    .option('--no-header', 'the first line is data (with --columns)')
    .option('--text-column <name>', "column of the text (default: 'text')")

/** `labels`: whether the command reads them. */
export function addDataOptions(command: Command, { labels = true } = {}): Command {
  addTextOptions(command).option(
    '--text-pair-column <name>',
    "column of the second text (default: 'text_pair' where there is one)",
  )
  if (labels)
    command.option(
      '--label-column <name>',
      "column of the label, or several of sequence-classification, with commas between (default: 'label')",
    )
  return command
    .addOption(textLayoutOption())
    .option(
      '--max-length <integer>',
      "longest sequence in tokens (default: the model's)",
      integerOption('--max-length', 3),
    )
}

/** How a data file is read, as the options of a command say. */
export const readSettings = (options: DataOptions): ReadSettings => ({
  format: options.fileFormat,
  columns: options.columns?.split(',').map((name) => name.trim()),
  header: options.columns === undefined ? undefined : (options.header ?? true),
  textColumn: options.textColumn,
  textPairColumn: options.textPairColumn,
  labelColumn: options.labelColumn,
  textLayout: options.textLayout,
})

/** Which tasks have an option of single tasks; to the others it would mean nothing. */
const TASKS_OF: Readonly<Record<keyof TaskOptions, readonly TaskName[]>> = {
  problemType: ['sequence-classification'],
  docStride: ['question-answering'],
  maxAnswerLength: ['question-answering'],
  nBestSize: ['question-answering'],
  version2WithNegative: ['question-answering'],
  nullScoreDiffThreshold: ['question-answering'],
  mlmProbability: ['masked-lm', 'pretraining'],
  wholeWordMask: ['masked-lm', 'pretraining'],
  lineByLine: ['masked-lm', 'causal-lm'],
  shortSeqProb: ['next-sentence', 'pretraining'],
}
const TASK_OPTIONS = Object.keys(TASKS_OF) as (keyof TaskOptions)[]

/** The options of single tasks among those of a command. */
export const taskOptions = (options: TaskOptions): TaskOptions =>
  Object.fromEntries(TASK_OPTIONS.map((name) => [name, options[name]])) as TaskOptions

/** Throws UsageError for an option that the task does not have. */
export function checkTaskOptions(task: TaskName, options: TaskOptions): void {
  const strange = TASK_OPTIONS.find((name) => options[name] !== undefined && !TASKS_OF[name].includes(task))
  if (strange === undefined) return
  throw new UsageError(
    `Expected ${flagOf(strange)} with ${TASKS_OF[strange].join(' or ')} only but the task is ${task}`,
  )
}

/** A parser for commander that accepts numbers in a range. */
export const numberOption =
  (flag: string, expected: string, accepts: (value: number) => boolean) =>
  (text: string): number => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (Number.isFinite(value) && accepts(value)) return value
    throw new UsageError(`Expected ${flag} to be ${expected} but received '${text}'`)
  }

const probabilityOption = (flag: string) =>
  numberOption(flag, 'a number from 0 to 1', (value) => value >= 0 && value <= 1)

/** The flag of an option of single tasks, and its help, which begins with their names. */
const taskOption = (name: keyof TaskOptions, help: string, placeholder = ''): Option =>
  new Option(`${flagOf(name)} ${placeholder}`.trimEnd(), `${TASKS_OF[name].join(', ')}: ${help}`)

/**
 * Options of single tasks; see TaskOptions. `examples`: whether the command makes examples, with masks, pairs and answers, of what it
 * reads.
 */
export function addTaskOptions(command: Command, { examples = true } = {}): Command {
  const integer = (name: keyof TaskOptions, help: string, least = 1) =>
    command.addOption(taskOption(name, help, '<integer>').argParser(integerOption(flagOf(name), least)))
  integer('docStride', 'tokens that windows of a long context share (default: 128, less in short windows)', 0)
  integer('maxAnswerLength', 'longest answer in tokens (default: 30)')
  integer('nBestSize', 'starts and ends to choose from (default: 20)')
  const threshold = flagOf('nullScoreDiffThreshold')
  command
    .addOption(taskOption('version2WithNegative', 'questions may have no answer, as in SQuAD 2.0'))
    .addOption(
      taskOption(
        'nullScoreDiffThreshold',
        'how much better "no answer" has to score (default: 0)',
        '<number>',
      ).argParser(numberOption(threshold, 'a number', () => true)),
    )
  // where there are answers, some may be missing, which has the same effect as the flag
  if (!examples)
    return command.hook('preAction', (given) => {
      const { nullScoreDiffThreshold, version2WithNegative } = given.opts<TaskOptions>()
      if (nullScoreDiffThreshold !== undefined && !version2WithNegative)
        throw new UsageError(`Expected ${flagOf('version2WithNegative')} because of ${threshold} but received none`)
    })
  const probability = (name: keyof TaskOptions, help: string) =>
    command.addOption(taskOption(name, help, '<number>').argParser(probabilityOption(flagOf(name))))
  probability('mlmProbability', 'share of tokens to predict (default: 0.15)')
  probability('shortSeqProb', 'share of shorter pairs (default: 0.1)')
  return command
    .addOption(taskOption('wholeWordMask', 'predict all pieces of a word or none'))
    .addOption(taskOption('lineByLine', 'each passage is a sequence; else those of a document are joined'))
}

/** Throws UsageError for a combination that cannot be read; of `files` one at least has to have what --columns names. */
export function checkDataOptions(
  { columns, fileFormat, header }: Pick<DataOptions, 'columns' | 'fileFormat' | 'header'>,
  files: readonly (string | undefined)[],
): void {
  if (header === false && columns === undefined)
    throw new UsageError('Expected --columns because of --no-header but received none')
  if (columns === undefined) return
  const given = files.filter((file) => file !== undefined)
  const formats = given.map((file) => fileFormat ?? formatOfName(file))
  // of standard input nothing else is known
  if (formats.length === 0 && fileFormat !== undefined) formats.push(fileFormat)
  if (given.length > 0 && !formats.some((format) => COLUMN_FORMATS.some((each) => each === format)))
    throw new UsageError(`Expected --columns with ${COLUMN_FORMATS.join(' or ')} but ${given[0]} is ${formats[0]}`)
  // what is taken for a header is not read
  const table = formats.find((format) => format === 'csv' || format === 'tsv')
  if (table !== undefined && header === undefined)
    throw new UsageError(
      `Expected --no-header or --header beside --columns, because a ${table} file may begin with names or with data, but received neither`,
    )
}

export function addProblemType(command: Command): Command {
  const names = PROBLEM_TYPES.join(', ')
  const option = taskOption('problemType', `${names} (default: the first)`, '<name>')
  return command.addOption(option.argParser(oneOf('--problem-type', PROBLEM_TYPES)))
}

/** A digit that words follow is a word: version2WithNegative, but adamBeta1. */
const kebab = (name: string): string => name.replace(/[A-Z]|\d(?=[A-Z])/g, (character) => `-${character.toLowerCase()}`)

export const flagOf = (name: string): string => `--${kebab(name)}`

/** Names of options of the API in a message become the flags that were typed. */
function withFlags(message: string): string {
  const others = ['warmupRatio', 'maxLength', 'vocabSize', 'limitAlphabet', ...TASK_OPTIONS]
  const names = [...Object.keys(argumentRules), ...others].join('|')
  return message.replace(new RegExp(`\\b(${names})\\b`, 'g'), flagOf)
}

function trainingOption(name: string, rule: ArgumentRule<unknown>, ownDefault: string | undefined): Option {
  const flag = flagOf(name)
  const isFlag = rule.placeholder === undefined
  const valueMayMiss = isFlag || name === 'resumeFromCheckpoint'
  const placeholder = rule.placeholder ?? 'true|false'
  const fallback = ownDefault ?? (rule.fallback === null || rule.fallback === false ? undefined : String(rule.fallback))
  const meaning = ownDefault === undefined ? rule.help : rule.help.replace(/ \(default\b.*\)$/, '')
  const help = fallback === undefined ? meaning : `${meaning} (default: ${fallback})`
  const option = new Option(`${flag} ${valueMayMiss ? `[${placeholder}]` : `<${placeholder}>`}`, help)
  return option.argParser((text: string) => {
    const value = isFlag ? ({ true: true, false: false }[text.toLowerCase()] ?? text) : rule.parse(text)
    if (rule.accepts(value)) return value
    throw new UsageError(`Expected ${flag} to be ${rule.expects} but received '${text}'`)
  })
}

/**
 * One flag for each argument of the Trainer but the output folder; those of Transformers that are refused say why. `defaults`: what
 * the help says where the command has a default of its own.
 */
export function addTrainingOptions(command: Command, defaults: Readonly<Record<string, string>>): Command {
  for (const [name, rule] of Object.entries(argumentRules)) {
    if (name !== 'outputDir') command.addOption(trainingOption(name, rule, defaults[name]))
  }
  const isRatio = (value: number): boolean => value >= 0 && value < 1
  const parseRatio = numberOption('--warmup-ratio', 'a number from 0 to below 1', isRatio)
  command.addOption(new Option('--warmup-ratio <number>').hideHelp().argParser(parseRatio))
  for (const [name, reason] of Object.entries(refusedArguments)) {
    const flag = flagOf(name)
    if (flag === '--bf16') continue // of the command line's own: it loads the model
    command.addOption(new Option(`${flag} [value]`).hideHelp())
    command.on(`option:${flag.slice(2)}`, () => {
      throw new UsageError(`${flag} is not available: ${withFlags(reason)}`)
    })
  }
  return command
}

/** The Trainer's arguments that were given among a command's options, not yet checked together. */
export function givenArguments(options: Readonly<Record<string, unknown>>): TrainingArgumentsInput {
  const names = [...Object.keys(argumentRules), 'warmupRatio'].filter((name) => options[name] !== undefined)
  return Object.fromEntries(names.map((name) => [name, options[name]]))
}

/** An ArgumentError about options of the API as a UsageError about their flags; any other error as it is. */
export const flagError = (error: unknown): unknown =>
  error instanceof ArgumentError ? new UsageError(withFlags(error.message), { cause: error }) : error

/** A call of the API whose errors about options are about their flags. */
export const withFlagErrors = <Result>(call: Promise<Result>): Promise<Result> =>
  call.catch((error) => {
    throw flagError(error)
  })

/** Flags of what a resumed run has to have as before, where they are not called as the arguments are. */
const RESUME_FLAGS: Partial<Record<ResumeError['field'], string>> = {
  dataSeed: '--data-seed (or --seed)',
  maxSteps: '--max-steps (or --num-train-epochs)',
  modelSeed: '--seed',
  trainBatchSize: '--per-device-train-batch-size',
}
/** What no flag alone decides. */
const UNNAMED: readonly ResumeError['field'][] = ['data', 'examples', 'updatesPerEpoch']

/** That a run cannot be resumed with these flags, as a UsageError. */
export function resumeUsage(error: ResumeError): BertkitError {
  const { field, folder, found, saved } = error
  if (UNNAMED.includes(field)) return error
  const flag = RESUME_FLAGS[field] ?? flagOf(field)
  return new UsageError(
    `Expected ${flag} to be ${saved[field]} as in the run that is resumed from ${folder}, but it is ${found[field]}; to train on with other flags, begin a run with --model ${folder}`,
    { cause: error },
  )
}

/** Throws ArgumentError for options that the schedule does not take. How many steps there are to be says nothing of them. */
function checkSchedule({ learningRate: lr, lrSchedulerKwargs, lrSchedulerType }: TrainingArguments): void {
  const steps = { numWarmupSteps: 0, numTrainingSteps: 1 }
  getScheduler(lrSchedulerType, { paramGroups: [], defaults: { lr } }, { ...steps, ...lrSchedulerKwargs })
}

/** Throws UsageError where the arguments cannot work together. */
export function checkArguments(args: TrainingArgumentsInput): TrainingArgumentsInput {
  try {
    checkSchedule(resolveTrainingArguments(args))
    return args
  } catch (error) {
    throw flagError(error)
  }
}
