// forward with pastKeyValues: of a decoder, whichever class it is.
import { ArgumentError, ConfigError } from '../errors.ts'
import type { BertConfig } from '../model/config.ts'
import { CachedDecoder, type CachedOutput } from './cached-decoder.ts'
import { type EncoderInputs, prepareEncoder } from './encoder.ts'
import { type ModelInputs, readFields } from './inputs.ts'
import { KeyValueCache } from './key-value-cache.ts'
import { checkForward, type ForwardOptions } from './options.ts'
import type { ModelRuntime } from './runtime.ts'

export interface DecoderInputs extends ModelInputs, EncoderInputs {
  /** Of an earlier forward: inputIds are the tokens that follow, as ragged number[][], and attend to all that it holds. */
  readonly pastKeyValues?: KeyValueCache
}

export interface DecoderOptions extends ForwardOptions {
  /** Returns pastKeyValues. For ragged inputIds without labels; hidden states and attentions are not shown. */
  readonly useCache?: boolean
}

/** Whether a forward starts or continues a cache; an ArgumentError for an option that there is not. */
export function usesCache(inputs: DecoderInputs, options: DecoderOptions): boolean {
  checkForward(options, ['useCache'])
  return !!options.useCache || !!inputs?.pastKeyValues
}

export const withoutCache = ({ useCache: _, ...options }: DecoderOptions): ForwardOptions => options

/** The output of each new token, one sequence after another, pooled rows of a head that has them, and the cache. */
export async function forwardCached(
  runtime: ModelRuntime,
  config: BertConfig,
  inputs: DecoderInputs,
  options: DecoderOptions,
  output: CachedOutput,
): Promise<{ rows: Float32Array; poolerOutput: Float32Array | undefined; cache: KeyValueCache }> {
  const tokens = cacheableTokens(inputs, options, config)
  const { pastKeyValues: cache } = inputs
  if (cache) {
    if (!(cache instanceof KeyValueCache && cache.owner === runtime))
      throw new ArgumentError('Expected pastKeyValues that this model has returned, but received those of another')
    const rows = await cache.append(tokens, options.signal)
    return { rows, poolerOutput: cache.poolerOutput, cache }
  }
  const decoder = new CachedDecoder(runtime, config, prepareEncoder(inputs, config, tokens.length), output)
  try {
    const room = { rows: tokens.length, length: config.maxPositionEmbeddings }
    const rows = await decoder.prefill(tokens, room, { allTokens: true }, options.signal)
    return { rows, poolerOutput: decoder.poolerOutput, cache: new KeyValueCache(runtime, config, decoder) }
  } catch (error) {
    decoder.end()
    throw error
  }
}

const CACHEABLE: readonly string[] = ['inputIds', 'pastKeyValues', 'encoderHiddenStates', 'encoderAttentionMask']

/** Token ids of an input that a cache can take: ragged, and nothing that it would have to remember. */
function cacheableTokens(
  inputs: DecoderInputs & { labels?: unknown },
  options: DecoderOptions,
  config: BertConfig,
): number[][] {
  if (!config.isDecoder) throw new ConfigError('useCache needs a decoder: a config with is_decoder true')
  if (!Array.isArray(inputs?.inputIds))
    throw new ArgumentError('useCache: expected inputIds to be number[][], ragged, without padding')
  for (const [name, value] of Object.entries(inputs))
    if (value !== undefined && !CACHEABLE.includes(name))
      throw new ArgumentError(`useCache cannot be combined with ${name}; only with ${CACHEABLE.join(', ')}`)
  for (const name of ['encoderHiddenStates', 'encoderAttentionMask'] as const)
    if (inputs.pastKeyValues && inputs[name] !== undefined)
      throw new ArgumentError(`pastKeyValues holds the encoder already: leave out ${name}`)
  for (const name of ['outputHiddenStates', 'outputAttentions'] as const)
    if (options[name] ?? config[name]) throw new ArgumentError(`useCache cannot be combined with ${name}`)
  const { ids, shape } = readFields({ inputIds: inputs.inputIds }, config.maxPositionEmbeddings, false)
  return Array.from({ length: shape.sequences }, (_, b) => ids.integers(b, config.vocabSize, 'vocab_size'))
}
