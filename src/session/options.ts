import type { BackendOptions } from '../backend/open.ts'
import { ArgumentError } from '../errors.ts'
import { type HubOptions, splitHubOptions } from '../formats/hub-options.ts'
import type { WeightsMatch } from '../formats/names.ts'
import type { GenerationConfigFields } from '../generation/generation-config.ts'
import { kindOf, quote } from '../json.ts'
import { type BertConfigFields, isConfigField } from '../model/config.ts'
import { checkObject, checkOptionNames } from '../options.ts'

export interface ModelOptions extends BackendOptions {
  /**
   * float32 (the default), bfloat16, int8, or auto: the faster of the first two here. In bfloat16 activations are stored in that type and products
   * are of it, with float32 sums; weights, their gradients, AdamW's moments, LayerNorm, softmax and losses stay float32.
   * In int8 a model only predicts: matrices of its weights, the words' embeddings too, are rounded row by row while they are loaded, to
   * whole numbers from -127 to 127 times a scale, and products round their inputs so, 64 columns of a token by one scale. Everything else is float32.
   * `stateDict` gives what the rounded weights stand for; gradients, optimisers and `savePretrained` are an ArgumentError.
   */
  readonly dtype?: 'float32' | 'bfloat16' | 'int8' | 'auto'
  /** Of new weights and of dropout. */
  readonly seed?: number
}

export interface LoadOptions {
  /** Tensors of another shape than the folder's are new, as those that it lacks; else they are a WeightsError. */
  readonly ignoreMismatchedSizes?: boolean
  /** How a BertLMHeadModel generates where a call does not say; takes the place of its generation_config.json. */
  readonly generationConfig?: GenerationConfigFields
}

export type FromPretrainedOptions = ModelOptions & HubOptions & LoadOptions & Partial<Omit<BertConfigFields, 'dtype'>>

export interface ForwardOptions {
  readonly outputHiddenStates?: boolean
  readonly outputAttentions?: boolean
  /** Outputs of tokens have only the rows of those with a label (not -100), one after another: less work, for metrics. */
  readonly labelledOnly?: boolean
  /** Of the loss; see LossOptions. */
  readonly labelSmoothing?: number
  readonly signal?: AbortSignal
}

/** Names of ForwardOptions. */
const FORWARD_OPTIONS: readonly string[] = [
  'outputHiddenStates',
  'outputAttentions',
  'labelledOnly',
  'labelSmoothing',
  'signal',
] satisfies (keyof ForwardOptions)[]

export interface LossOptions {
  /** From 0 to below 1: this share of each label is spread evenly over all classes. Losses that are not over classes ignore it. */
  readonly labelSmoothing?: number
  readonly signal?: AbortSignal
}

/** What became of a folder's tensors in a load. */
export type LoadReport = Omit<WeightsMatch, 'sources' | 'twins' | 'rowwise'>

/** A parameter as `model.parameters()` lists it. */
export interface ParameterInfo {
  readonly name: string
  readonly shape: readonly number[]
  readonly size: number
  /** Not frozen. */
  readonly trainable: boolean
}

const DEFAULT_SEED = 42

/** The seed; an ArgumentError for a dtype or a seed that cannot be. */
export function checkModelOptions(options: ModelOptions): number {
  checkObject('A model', options)
  const { dtype = 'float32', seed = DEFAULT_SEED } = options
  if (!['float32', 'bfloat16', 'int8', 'auto'].includes(dtype))
    throw new ArgumentError(`Expected dtype to be float32, bfloat16, int8 or auto but received ${quote(dtype)}`)
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32)
    throw new ArgumentError(`Expected seed to be an integer from 0 to 2^32 - 1 but received ${String(seed)}`)
  return seed
}

/** The options of fromPretrained by what they are for: the Hub, the model, the weights, the config. An ArgumentError for any other. */
export function splitLoadOptions(options: FromPretrainedOptions) {
  checkObject('fromPretrained', options)
  const [hub, { backend, threads, wasm, dtype, seed, ignoreMismatchedSizes = false, generationConfig, ...config }] =
    splitHubOptions(options)
  for (const name of Object.keys(config))
    if (!isConfigField(name)) throw new ArgumentError(`fromPretrained: there is no option or config field '${name}'`)
  return { hub, model: { backend, threads, wasm, dtype, seed }, ignoreMismatchedSizes, generationConfig, config }
}

export type LoadSettings = ReturnType<typeof splitLoadOptions>

/** An ArgumentError where a class that does not generate is told how to. */
export function refuseGenerationConfig({ generationConfig }: LoadSettings, architecture: string): void {
  if (generationConfig !== undefined)
    throw new ArgumentError(`fromPretrained: the option generationConfig is of BertLMHeadModel, not of ${architecture}`)
}

/** The same as checkOptionNames, of a call that can be aborted: the signal must be one, or the run would go on without its caller. */
export function checkCall(call: string, options: { readonly signal?: AbortSignal }, known: readonly string[]): void {
  checkOptionNames(call, options, known)
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal))
    throw new ArgumentError(
      `${call}: expected the option signal to be an AbortSignal but received ${kindOf(options.signal)}`,
    )
}

/** Checks the options of `forward`, and of one that takes `more`. */
export function checkForward(options: ForwardOptions, more: readonly string[] = []): void {
  checkCall('forward', options, [...FORWARD_OPTIONS, ...more])
  for (const name of ['outputHiddenStates', 'outputAttentions', 'labelledOnly'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'boolean')
      throw new ArgumentError(`forward: expected ${name} to be true or false but received ${quote(options[name])}`)
  checkSmoothing(options.labelSmoothing ?? 0)
}

/** An ArgumentError for a label smoothing that cannot be. */
export function checkSmoothing(labelSmoothing: number): void {
  if (typeof labelSmoothing !== 'number' || !(labelSmoothing >= 0 && labelSmoothing < 1))
    throw new ArgumentError(`Expected labelSmoothing from 0 to below 1 but received ${labelSmoothing}`)
}
