import { ArgumentError, ConfigError } from '../errors.ts'
import { type Generation, generate } from '../generation/generate.ts'
import type { GenerateOptions } from '../generation/options.ts'
import type { HeadConstructor, LabelInputs } from '../heads/head.ts'
import { LMHead } from '../heads/lm-head.ts'
import type { BertConfig } from '../model/config.ts'
import type { Tensor } from '../tensor.ts'
import { CachedDecoder } from './cached-decoder.ts'
import { type DecoderInputs, type DecoderOptions, forwardCached, usesCache, withoutCache } from './cached-forward.ts'
import { type EncoderInputs, prepareEncoder } from './encoder.ts'
import { readFields, type TokenInput } from './given.ts'
import type { KeyValueCache } from './key-value-cache.ts'
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
  /** 0 leaves a token out: the padding of prompts in one tensor. */
  readonly attentionMask?: TokenInput
}

/** The next word at each token; labels are the input's own words, shifted by the loss. Transformers' BertLMHeadModel. */
export class BertLMHeadModel extends PreTrainedModel<CausalLMInputs, CausalLMOutput> {
  static override readonly head: HeadConstructor = LMHead

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
   * bosTokenId and eosTokenId are the config's unless given; null: none. Transformers' GenerationMixin.generate.
   */
  generate(inputs: GenerateInputs = {}, options: GenerateOptions = {}): Generation {
    const { config, runtime } = this
    if (!config.isDecoder)
      throw new ConfigError('BertLMHeadModel.generate needs a decoder: a config with is_decoder true')
    const prompts = inputs?.inputIds === undefined ? undefined : promptsOf(inputs, config)
    const open = () => {
      for (const name of Object.keys(inputs ?? {}))
        if (!GENERATE_INPUTS.includes(name))
          throw new ArgumentError(`generate: there is no input '${name}'; there are ${GENERATE_INPUTS.join(', ')}`)
      return new CachedDecoder(runtime, config, prepareEncoder(inputs ?? {}, config, prompts?.length ?? 1))
    }
    const { bosTokenId, eosTokenId } = config
    return generate(open, prompts, options && { bosTokenId, eosTokenId, ...options })
  }
}

const GENERATE_INPUTS: readonly string[] = ['inputIds', 'attentionMask', 'encoderHiddenStates', 'encoderAttentionMask']

/** Each prompt without what its mask hides. Ragged prompts without a mask are left to generate's own checks. */
function promptsOf({ inputIds, attentionMask }: GenerateInputs, config: BertConfig): readonly (readonly number[])[] {
  if (Array.isArray(inputIds) && attentionMask === undefined) return inputIds
  const { ids, mask, shape } = readFields({ inputIds: inputIds!, attentionMask }, config.maxPositionEmbeddings, false)
  return Array.from({ length: shape.sequences }, (_, b) =>
    ids
      .integers(b, config.vocabSize, 'vocab_size')
      .filter((_, t) => !mask || mask.integer(b, t, 2, 'a mask is 0 or 1; below') === 1),
  )
}
