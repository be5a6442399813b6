// From a task and a model to a function that runs it.

import { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError, ConfigError, WeightsError } from '../errors.ts'
import { isFileMap } from '../formats/given-files.ts'
import { type HubOptions, splitHubOptions } from '../formats/hub-options.ts'
import { ModelFiles } from '../formats/model-files.ts'
import { openModelFiles, type PretrainedSource } from '../formats/pretrained-source.ts'
import { readSentenceTransformer } from '../formats/sentence-transformers.ts'
import { kindOf } from '../json.ts'
import { atLeast, checkOptions, defined } from '../options.ts'
import * as models from '../session/models.ts'
import type { ModelOptions } from '../session/options.ts'
import { PreTrainedModel } from '../session/pretrained.ts'
import { runAll, type Work } from './run.ts'
import type { Context, ModelNeeds, Task } from './task.ts'

/** Options of a call beside the task's. */
export interface CallOptions {
  /** The most sequences to compute at once; default 32. Outputs do not depend on it. */
  readonly batchSize?: number
  /** Stops the call with an AbortedError. */
  readonly signal?: AbortSignal
}

/** Where and how a model that a pipeline loads is run. */
type RunOptions = Pick<ModelOptions, 'backend' | 'dtype' | 'threads' | 'wasm'>

/**
 * How a pipeline is made; the task's own options beside these are the defaults of its calls. Options of loading are for what the
 * pipeline loads: beside a model that is loaded those of running it are an ArgumentError, and those of the Hub unless they are for its
 * tokenizer.
 */
export interface PipelineOptions extends RunOptions, HubOptions {
  /** A tokenizer, or where to load it from; default: the model's. */
  readonly tokenizer?: BertTokenizer | PretrainedSource
  readonly batchSize?: number
}

/** What every pipeline has beside being called. */
export interface OpenPipeline<Model> {
  readonly task: string
  readonly model: Model
  readonly tokenizer: BertTokenizer
  /** Frees the model's memory, if the pipeline loaded it: a model that was given stays its owner's. */
  dispose(): void
  [Symbol.dispose](): void
}

type Inputs<Input> = Input | readonly Input[] | Iterable<Input> | AsyncIterable<Input>

/** A pipeline before its task's types. */
export interface Callable<Model> extends OpenPipeline<Model> {
  (inputs: Inputs<unknown>, options?: object): unknown
}

const DEFAULT_BATCH_SIZE = 32

type Source = PretrainedSource | ModelFiles

const isSource = (value: unknown): value is PretrainedSource =>
  typeof value === 'string' || value instanceof URL || isFileMap(value)

type Found<Model> = Context<Model> & { readonly isOwn: boolean }

/** Loads a model, and refuses one that was made for another task. */
async function load<Model extends PreTrainedModel>(
  { name, modelClass, architectures, unused, embeds }: ModelNeeds<Model>,
  source: Source,
  hub: HubOptions,
  options: RunOptions,
): Promise<Pick<Context<Model>, 'model' | 'embedding'>> {
  const model = (await modelClass.fromPretrained.call(modelClass as never, source, {
    ...hub,
    ...options,
  })) as Model
  try {
    const wanted = `${source instanceof ModelFiles ? source.where : String(source)}: expected a model for ${name}`
    const missing = model.loadReport?.missing.find((weight) => !unused?.test(weight))
    if (missing !== undefined) throw new WeightsError(`${wanted}, ${modelClass.name}, but it has no ${missing}`)
    const saved = model.config.architectures?.filter((each) => Object.hasOwn(models, each)) ?? []
    if (architectures && saved.length > 0 && !saved.some((each) => architectures.includes(each)))
      throw new ConfigError(`${wanted}, ${modelClass.name}, but its config says that it is a ${saved[0]}`)
    const embedding = embeds ? await readSentenceTransformer(await openModelFiles(source, 'model', hub)) : undefined
    return { model, embedding }
  } catch (error) {
    model.dispose()
    throw error
  }
}

async function openTokenizer(
  tokenizer: BertTokenizer | PretrainedSource | undefined,
  model: Source | undefined,
  hub: HubOptions,
): Promise<BertTokenizer> {
  if (tokenizer instanceof BertTokenizer) return tokenizer
  const source = tokenizer === undefined ? model : isSource(tokenizer) ? tokenizer : undefined
  if (source !== undefined) return BertTokenizer.fromPretrained(source, hub)
  throw new ArgumentError(
    tokenizer === undefined
      ? 'Expected the option tokenizer beside a model that is loaded'
      : `Expected tokenizer to be a BertTokenizer, a folder or a Hub id but received ${kindOf(tokenizer)}`,
  )
}

/** Options about loading are no wish of a caller who gives what is loaded: each that nobody would read is an ArgumentError. */
function refuseUnread(
  { name }: ModelNeeds<unknown>,
  modelIsLoaded: boolean,
  tokenizer: unknown,
  options: RunOptions & HubOptions,
): void {
  if (!modelIsLoaded) return
  const { backend, dtype, threads, wasm, ...hub } = options
  const unread = Object.keys(defined({ backend, dtype, threads, wasm }))
  if (tokenizer instanceof BertTokenizer) unread.push(...Object.keys(defined(hub)))
  if (unread.length > 0)
    throw new ArgumentError(
      `Expected no ${unread.join(', ')} for ${name} beside a model that is loaded: that is for one which the pipeline loads`,
    )
}

async function openModel<Model extends PreTrainedModel>(
  task: ModelNeeds<Model>,
  given: unknown,
  hub: HubOptions,
  { tokenizer: givenTokenizer, ...options }: RunOptions & Pick<PipelineOptions, 'tokenizer'>,
): Promise<Found<Model>> {
  if (given === undefined || given === null)
    throw new ArgumentError(`Expected a model for ${task.name} but received none: there is no default model`)
  // opened once: what is read once may be given
  const source = isFileMap(given) ? await openModelFiles(given, 'model', hub) : isSource(given) ? given : undefined
  if (!source && !(given instanceof task.modelClass)) {
    const found = given instanceof PreTrainedModel ? `a ${given.constructor.name}` : kindOf(given)
    throw new ArgumentError(
      `Expected a folder, a Hub id or a ${task.modelClass.name} for ${task.name} but received ${found}`,
    )
  }
  refuseUnread(task, !source, givenTokenizer, { ...hub, ...options })
  // before the model, which takes longer
  const tokenizer = await openTokenizer(givenTokenizer, source, hub)
  const opened = source ? await load(task, source, hub, options) : { model: given as Model, embedding: undefined }
  const maxLength = Math.min(tokenizer.modelMaxLength, opened.model.config.maxPositionEmbeddings)
  return { ...opened, tokenizer, maxLength, isOwn: source !== undefined }
}

const isStream = (inputs: unknown): inputs is Iterable<unknown> | AsyncIterable<unknown> =>
  typeof inputs === 'object' &&
  inputs !== null &&
  !Array.isArray(inputs) &&
  (Symbol.iterator in inputs || Symbol.asyncIterator in inputs)

const CALL_CHECKS = {
  batchSize: atLeast(1),
  signal: ['an AbortSignal', (value: unknown) => value instanceof AbortSignal],
} as const

/**
 * Opens what runs the task: a call with an input promises its output, with a list a list of outputs, and with another iterable gives
 * them as they are ready.
 */
export async function open<Model extends PreTrainedModel, Input, Options extends object, Rows, Output>(
  task: Task<Model, Input, Options, Rows, Output>,
  given: unknown,
  options: PipelineOptions & Options,
): Promise<Callable<Model>> {
  const [hub, { tokenizer: _, backend, dtype, threads, wasm, ...defaults }] = splitHubOptions(options)
  const checks = { ...task.checks, batchSize: CALL_CHECKS.batchSize }
  checkOptions(task.name, defaults, checks)
  const context = await openModel(task, given, hub, { tokenizer: options.tokenizer, backend, dtype, threads, wasm })
  const { model, tokenizer, isOwn } = context

  /** The options of a call, after those of the pipeline. */
  function optionsOf(called: object): Options & CallOptions {
    checkOptions(task.name, called, { ...checks, signal: CALL_CHECKS.signal })
    const merged = { ...defaults, ...defined(called) } as Options & CallOptions
    task.check?.(merged, context)
    return merged
  }

  function outputsOf(
    inputs: Iterable<Input> | AsyncIterable<Input>,
    options: Options & CallOptions,
    nameOf: Work<Input, Rows, Output>['nameOf'],
  ): AsyncGenerator<Output> {
    const { batchSize = DEFAULT_BATCH_SIZE, signal } = options
    return runAll(inputs, {
      start: (input) => task.start(input, options, context),
      compute: (sequences, pause) => task.compute(context, sequences, signal, pause),
      batchSize,
      maxTokens: task.maxTokens?.(context) ?? Number.POSITIVE_INFINITY,
      signal,
      nameOf,
    })
  }

  /** The output of one input, or of a list of them. */
  async function collect(given: unknown, called: object): Promise<unknown> {
    const options = optionsOf(called)
    const listOf = task.listOf ?? ((inputs) => (Array.isArray(inputs) ? inputs : undefined))
    const list = listOf(given, options)
    const nameOf = (index: number) => (list ? `inputs[${index}]` : 'The input')
    const outputs: Output[] = []
    for await (const output of outputsOf(list ?? [given as Input], options, nameOf)) outputs.push(output)
    if (list) return outputs
    return task.single ? task.single(outputs[0], given as Input, called as Options) : outputs[0]
  }

  const call = (inputs: unknown, called: object = {}): unknown =>
    isStream(inputs)
      ? outputsOf(inputs as Iterable<Input>, optionsOf(called), (index) => `input ${index}`)
      : collect(inputs, called)
  const dispose = () => {
    if (isOwn) model.dispose()
  }
  return Object.assign(call, { task: task.name, model, tokenizer, dispose, [Symbol.dispose]: dispose })
}
