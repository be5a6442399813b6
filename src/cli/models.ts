// From what a command line names to a model and its tokenizer.
import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { ConfigError, UsageError, WeightsError } from '../errors.ts'
import { readText } from '../formats/files.ts'
import { resolveModelFolder } from '../formats/hub.ts'
import { parseJson } from '../json.ts'
import { BertConfig } from '../model/config.ts'
import type { Task, TaskModel, TaskName, TaskOptions } from '../train/tasks/task.ts'
import { createTask, taskOfClass } from '../train/tasks/tasks.ts'
import { hubOptions } from './hub.ts'
import type { Io } from './io.ts'
import { checkTaskOptions, type DataOptions, type ModelOptions } from './options.ts'
import { readVocabulary } from './vocabulary.ts'

/** Where a model to train comes from: a folder or Hub id, or a config and a vocabulary. */
export interface ModelSource extends ModelOptions {
  readonly model?: string
  readonly config?: string
  readonly vocab?: string
}

export interface OpenModel {
  readonly model: TaskModel
  readonly tokenizer: BertTokenizer
}

export function checkModelSource({ config, model, vocab }: ModelSource): void {
  const fromScratch = config !== undefined && vocab !== undefined
  const half = (config === undefined) !== (vocab === undefined)
  if (half || fromScratch === (model !== undefined)) {
    throw new UsageError('Expected --model, or --config and --vocab to train from scratch')
  }
}

type ModelFields = ReturnType<Task['modelFields']>

/** A model to be, without weights. */
export interface Blueprint {
  readonly config: BertConfig
  readonly tokenizer: BertTokenizer
}

/** A config.json of any name. */
export async function readConfig(file: string): Promise<BertConfig> {
  const json = parseJson(await readText(file), (reason) => new ConfigError(`${file}: ${reason}`))
  return BertConfig.fromJSON(json, file)
}

async function readBlueprint({ config = '', vocab = '' }: ModelSource): Promise<Blueprint> {
  const tokenizer = await readVocabulary(vocab)
  return { config: await readConfig(config), tokenizer }
}

function createFromScratch(
  task: Task,
  { config, tokenizer }: Blueprint,
  fields: ModelFields,
  { backend, dtype, threads, config: file = 'the config', vocab = 'the vocabulary' }: ModelSource,
  seed: number | undefined,
): OpenModel {
  if (tokenizer.vocabSize > config.vocabSize)
    throw new ConfigError(
      `${vocab} has ${tokenizer.vocabSize} tokens, but vocab_size in ${file} is ${config.vocabSize}`,
    )
  return { model: new task.model(config.with(fields, file), { backend, dtype, seed, threads }), tokenizer }
}

/** The names of the labels of the model to train, in the order of its head's rows; undefined where nothing names them. */
export async function labelsOfSource(task: Task, source: ModelSource, io: Io): Promise<string[] | undefined> {
  const { config: file, model } = source
  if (task.collectLabels === undefined) return undefined
  if (model !== undefined) return (await BertConfig.fromPretrained(model, hubOptions(source, io))).labels
  return file === undefined ? undefined : (await readConfig(file)).labels
}

/** The model to train: its head is new where the folder has none for the task. */
export async function createModel(
  task: Task,
  source: ModelSource,
  fields: ModelFields,
  seed: number | undefined,
  io: Io,
  blueprint = (): Promise<Blueprint> => readBlueprint(source),
): Promise<OpenModel> {
  const { backend, dtype, model: nameOrFolder, threads } = source
  if (nameOrFolder === undefined) return createFromScratch(task, await blueprint(), fields, source, seed)
  const hub = hubOptions(source, io)
  const tokenizer = await BertTokenizer.fromPretrained(nameOrFolder, hub)
  const settings = { ...fields, ...hub, backend, dtype, seed, threads }
  // a head of another task or number of labels is made anew
  const model = await task.model.fromPretrained(nameOrFolder, { ...settings, ignoreMismatchedSizes: true })
  const embeddings = model.loadReport?.mismatched.find(({ name }) => !/^(classifier|qa_outputs)\./.test(name))
  if (embeddings !== undefined) {
    model.dispose()
    throw new WeightsError(
      `${nameOrFolder}: expected ${embeddings.name} of shape [${embeddings.expected}] but found [${embeddings.found}]`,
    )
  }
  return { model, tokenizer }
}

/** What a model for pre-training can be used for as it is. */
const PARTS: readonly TaskName[] = ['masked-lm', 'next-sentence']

/** The task of a fine-tuned model: `wanted`, or the one that its config names. Throws UsageError where they are not the same. */
async function taskOf(
  nameOrFolder: string,
  wanted: TaskName | undefined,
  options: ModelOptions,
  io: Io,
): Promise<TaskName> {
  const folder = await resolveModelFolder(nameOrFolder, 'model', hubOptions(options, io))
  const { architectures } = await BertConfig.fromPretrained(folder)
  const made = architectures?.map(taskOfClass).find((task) => task !== undefined)
  if (
    wanted !== undefined &&
    made !== undefined &&
    made !== wanted &&
    !(made === 'pretraining' && PARTS.includes(wanted))
  )
    throw new UsageError(`Expected a model for --task ${wanted} but ${nameOrFolder} is one for ${made}`)
  const task = wanted ?? made
  if (task !== undefined) return task
  throw new UsageError(
    `Expected --task, because the config of ${nameOrFolder} does not say what it is for (architectures: ${architectures?.join(', ') ?? 'none'})`,
  )
}

/** Opens a fine-tuned model, a folder or a Hub id, of the task given or of the one that it was made for. */
export async function openModel(
  nameOrFolder: string,
  taskName: TaskName | undefined,
  taskOptions: TaskOptions,
  options: ModelOptions,
  io: Io,
): Promise<OpenModel & { readonly task: Task }> {
  const { backend, dtype, threads } = options
  const hub = hubOptions(options, io)
  const name = await taskOf(nameOrFolder, taskName, options, io)
  checkTaskOptions(name, taskOptions)
  const task = createTask(name, taskOptions)
  const fields = name === 'causal-lm' ? { isDecoder: true } : {}
  // before the model, whose memory nobody would give back if its tokenizer cannot be read
  const tokenizer = await BertTokenizer.fromPretrained(nameOrFolder, hub)
  const model = await task.model.fromPretrained(nameOrFolder, { ...fields, ...hub, backend, dtype, threads })
  const { missing = [] } = model.loadReport ?? {}
  if (missing.length > 0) {
    model.dispose()
    throw new WeightsError(
      `${nameOrFolder}: expected a fine-tuned ${task.model.name} but it has no ${missing[0]}: train one with bertkit train --task ${name} --model ${nameOrFolder}`,
    )
  }
  return { model, task, tokenizer }
}

/**
 * The longest sequence to feed to a model, in tokens. Throws UsageError where more is asked for than it has positions, or less than
 * `leastLength`, the least that the task can use.
 */
export function maxLengthOf(
  { maxLength }: DataOptions,
  { maxPositionEmbeddings }: BertConfig,
  { leastLength = 0 }: Pick<Task, 'leastLength'> = {},
): number {
  if (maxLength !== undefined && maxLength < leastLength)
    throw new UsageError(`Expected --max-length to be an integer of at least ${leastLength} but received ${maxLength}`)
  if (maxLength === undefined || maxLength <= maxPositionEmbeddings) return maxLength ?? maxPositionEmbeddings
  throw new UsageError(
    `Expected --max-length to be at most ${maxPositionEmbeddings}, the model's, but received ${maxLength}`,
  )
}
