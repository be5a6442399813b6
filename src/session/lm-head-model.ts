import { ArgumentError, ConfigError } from '../errors.ts'
import type { ModelFiles } from '../formats/model-files.ts'
import { GENERATION_CONFIG_NAME, readGenerationConfigFile } from '../formats/model-folder.ts'
import type { FilesToSave } from '../formats/save-files.ts'
import { type Generation, generate } from '../generation/generate.ts'
import { GenerationConfig, type GenerationConfigFields } from '../generation/generation-config.ts'
import type { GenerateOptions } from '../generation/options.ts'
import type { HeadConstructor, LabelInputs } from '../heads/head.ts'
import { LMHead } from '../heads/lm-head.ts'
import { parseJson } from '../json.ts'
import { type BertConfig, type BertConfigFields, TRANSFORMERS_VERSION } from '../model/config.ts'
import type { Tensor } from '../tensor.ts'
import { CachedDecoder } from './cached-decoder.ts'
import { type DecoderInputs, type DecoderOptions, forwardCached, usesCache, withoutCache } from './cached-forward.ts'
import { type EncoderInputs, prepareEncoder } from './encoder.ts'
import { readFields, type TokenInput } from './inputs.ts'
import type { KeyValueCache } from './key-value-cache.ts'
import type { LoadSettings, ModelOptions } from './options.ts'
import type { CrossObservations, Loss } from './outputs.ts'
import { PreTrainedModel } from './pretrained.ts'

export interface CausalLMOutput extends CrossObservations, Loss {
  /** [batch, length, V], or [tokens, V] for ragged input. */
  logits: Tensor
  /** With useCache or pastKeyValues: what later calls read on from; dispose() it. */
  pastKeyValues?: KeyValueCache
}

export interface CausalLMInputs extends DecoderInputs, Pick<LabelInputs, 'labels'> {}

/** What BertLMHeadModel.generate continues. */
export interface GenerateInputs extends EncoderInputs {
  /** One prompt each; without any, one that is bosTokenId alone. */
  readonly inputIds?: TokenInput
  /**
   * 0 leaves a token out: the padding of prompts in one tensor. Without a mask, padTokenId is left out of such a tensor where it is
   * no eosTokenId; lists have no padding.
   */
  readonly attentionMask?: TokenInput
}

/** The next word at each token; labels are the input's own words, shifted by the loss. Transformers' BertLMHeadModel. */
export class BertLMHeadModel extends PreTrainedModel<CausalLMInputs, CausalLMOutput> {
  static override readonly architecture: string = 'BertLMHeadModel'
  static override readonly head: HeadConstructor = LMHead
  #generationConfig: GenerationConfig

  constructor(config: BertConfig, options: ModelOptions = {}) {
    super(config, options)
    this.#generationConfig = GenerationConfig.fromModelConfig(config.toJSON())
  }

  /** @internal GenerationMixin.adjust_generation_fn. */
  override async readGenerationConfig(files: ModelFiles, { generationConfig, config }: LoadSettings): Promise<void> {
    const own = generationConfig === undefined ? await fileOf(files, config) : given(generationConfig)
    if (own) this.#generationConfig = own
  }

  /** What generate() does where a call does not say; null: nothing is said of it. */
  get generationConfig(): GenerationConfig {
    return this.#generationConfig
  }

  /** @internal */
  override texts(): FilesToSave['texts'] {
    return [[GENERATION_CONFIG_NAME, this.#generationConfig.toText(TRANSFORMERS_VERSION)]]
  }

  /** All logits; of the new tokens only with pastKeyValues. Dropout is off where a cache is used. */
  override async forward(inputs: CausalLMInputs, options: DecoderOptions = {}): Promise<CausalLMOutput> {
    const { config, runtime } = this
    if (!usesCache(inputs, options)) return super.forward(inputs, withoutCache(options))
    const { rows: data, cache } = await forwardCached(runtime, config, inputs, options, 'logits')
    const shape = [data.length / config.vocabSize, config.vocabSize]
    return { loss: null, logits: { data, shape }, pastKeyValues: cache }
  }

  /**
   * Continues prompts, ragged and each as if it were alone: greedy search, sampling or beam search. Await the result for the
   * sequences, or iterate it for tokens as they come. Keys and values of what has been read are kept, so that a token costs the
   * work of one row. `encoderHiddenStates`: of one sequence per prompt. Dropout is off whatever the mode.
   * What the options leave out is the model's `generationConfig`. A ConfigError where that asks for what there is not here.
   * Transformers' GenerationMixin.generate.
   */
  generate(inputs: GenerateInputs = {}, options: GenerateOptions = {}): Generation {
    const { config, generationConfig, runtime } = this
    if (!config.isDecoder)
      throw new ConfigError('BertLMHeadModel.generate needs a decoder: a config with is_decoder true')
    // what is no object is left to generate's own checks
    const isNone = options === null || typeof options !== 'object'
    const { options: settings, origin } = generationConfig.complete(isNone ? {} : options, config.vocabSize)
    const padding = paddingOf(
      options?.padTokenId === undefined ? generationConfig.padTokenId : options.padTokenId,
      settings,
    )
    const prompts = inputs?.inputIds === undefined ? undefined : promptsOf(inputs, config, padding)
    const open = () => {
      for (const name of Object.keys(inputs ?? {}))
        if (!GENERATE_INPUTS.includes(name))
          throw new ArgumentError(`generate: there is no input '${name}'; there are ${GENERATE_INPUTS.join(', ')}`)
      if (!prompts && options?.bosTokenId === undefined) checkStart(generationConfig, config)
      generationConfig.refuseUnsupported(settings)
      return new CachedDecoder(runtime, config, prepareEncoder(inputs ?? {}, config, prompts?.length ?? 1))
    }
    return generate(open, prompts, isNone ? options : settings, origin)
  }
}

const GENERATE_INPUTS: readonly string[] = ['inputIds', 'attentionMask', 'encoderHiddenStates', 'encoderAttentionMask']

const given = (fields: GenerationConfigFields): GenerationConfig =>
  fields instanceof GenerationConfig ? fields : new GenerationConfig(fields, 'The option generationConfig')

/** generation_config.json with the tokens that the caller has set; undefined where there is no such file. */
async function fileOf(
  files: ModelFiles,
  { bosTokenId, eosTokenId, padTokenId }: Partial<BertConfigFields>,
): Promise<GenerationConfig | undefined> {
  const found = await readGenerationConfigFile(files)
  if (!found) return undefined
  const { file, text } = found
  const json = parseJson(text, (reason) => new ConfigError(`${file}: ${reason}`))
  const set = Object.entries({ bosTokenId, eosTokenId, padTokenId }).filter(([, id]) => id !== undefined)
  const read = GenerationConfig.fromJSON(json, file, text)
  return set.length === 0 ? read : read.with(Object.fromEntries(set))
}

/** Where nothing but the model's own bosTokenId can be the prompt, it has to be a token. */
function checkStart({ bosTokenId, where }: GenerationConfig, { vocabSize }: BertConfig): void {
  if (bosTokenId !== null && bosTokenId >= vocabSize)
    throw new ConfigError(
      `generate: without inputIds it starts from bos_token_id of ${where}, but that is ${bosTokenId} and the vocabulary has the ids 0 to ${vocabSize - 1}; give inputIds or bosTokenId`,
    )
}

/**
 * The id of padding in a tensor without a mask; undefined: none. An end token that serves as padding may be part of a prompt.
 * GenerationMixin._prepare_attention_mask_for_generation.
 */
function paddingOf(padTokenId: number | null, { eosTokenId }: GenerateOptions): number | undefined {
  return padTokenId === null || [eosTokenId ?? []].flat().includes(padTokenId) ? undefined : padTokenId
}

/** Each prompt without its padding, which is what its mask hides. Lists without a mask are left to generate's own checks. */
function promptsOf(
  { inputIds, attentionMask }: GenerateInputs,
  config: BertConfig,
  padding: number | undefined,
): readonly (readonly number[])[] {
  if (Array.isArray(inputIds) && attentionMask === undefined) return inputIds
  const { ids, mask, shape } = readFields({ inputIds: inputIds!, attentionMask }, config.maxPositionEmbeddings, false)
  const isShown = (id: number, b: number, t: number): boolean => {
    return mask ? mask.isShown(b, t) : !ids.padded || id !== padding
  }
  return Array.from({ length: shape.sequences }, (_, b) =>
    ids.integers(b, config.vocabSize, 'vocab_size').filter((id, t) => isShown(id, b, t)),
  )
}
