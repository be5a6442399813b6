// What a model says about its own generation: generation_config.json, or what a config.json says of it.
import { ConfigError } from '../errors.ts'
import { isJsonObject, type JsonObject, kindOf, quote, snakeCase } from '../json.ts'
import { type GenerateOptions, type Origin, RULES } from './options.ts'

/** The options of generate() that may be a model's own; null is "not set". */
export type GenerationConfigFields = Omit<GenerateOptions, 'seed' | 'signal'>

type Field = keyof GenerationConfigFields
/** Each field and its key in generation_config.json. */
const FIELDS: readonly (readonly [field: Field, key: string])[] = Object.keys(RULES)
  .filter((name) => name !== 'seed' && name !== 'signal')
  .map((name) => [name as Field, snakeCase(name)])

type Applies = (value: unknown, options: GenerateOptions) => boolean
const above =
  (neutral: number): Applies =>
  (value) =>
    !(typeof value === 'number' && value <= neutral)
const below =
  (neutral: number): Applies =>
  (value) =>
    !(typeof value === 'number' && value >= neutral)
const between: Applies = (value, options) => above(0)(value, options) && below(1)(value, options)
const anything: Applies = () => true
const someTokens: Applies = (value) => !(Array.isArray(value) && value.length === 0)
const isTrue: Applies = (value) => value === true
const hasBeams = ({ numBeams }: GenerateOptions): boolean => (numBeams ?? 1) > 1
const sampling =
  (applies: Applies): Applies =>
  (value, options) =>
    options.doSample === true && applies(value, options)

/**
 * Keys by which Transformers would generate other tokens and which generate() here does not have, each with when it would. Where one
 * applies, generating is an error: the tokens would not be those that the model's makers meant. Transformers' generation/utils.py,
 * _get_logits_processor and _get_stopping_criteria, and generation/configuration_utils.py, get_generation_mode.
 */
const UNSUPPORTED: Readonly<Record<string, Applies>> = {
  bad_words_ids: anything,
  begin_suppress_tokens: someTokens,
  constraints: anything,
  dola_layers: (_, options) => !hasBeams(options),
  encoder_no_repeat_ngram_size: above(0),
  encoder_repetition_penalty: (value) => value !== 1,
  epsilon_cutoff: sampling(between),
  eta_cutoff: sampling(between),
  exponential_decay_length_penalty: anything,
  force_words_ids: anything,
  forced_bos_token_id: anything,
  forced_eos_token_id: anything,
  guidance_scale: (value) => value !== 1,
  max_time: anything,
  min_p: sampling(above(0)),
  no_repeat_ngram_size: above(0),
  num_beam_groups: (value, options) => hasBeams(options) && above(1)(value, options),
  penalty_alpha: (value, options) =>
    !hasBeams(options) && options.doSample !== true && (options.topK ?? 50) > 1 && above(0)(value, options),
  // the most probable token stays that
  renormalize_logits: (value, options) => hasBeams(options) && isTrue(value, options),
  sequence_bias: anything,
  stop_strings: anything,
  suppress_tokens: someTokens,
  token_healing: isTrue,
  top_h: sampling(anything),
  typical_p: sampling(below(1)),
  watermarking_config: anything,
}

/** Keys that say how to compute or what to return, and change no token: they are kept, and not read. */
const WITHOUT_EFFECT: readonly string[] = [
  'assistant_confidence_threshold',
  'assistant_early_exit',
  'assistant_ensemble_weight',
  'assistant_lookbehind',
  'cache_config',
  'cache_implementation',
  'compile_config',
  'decoder_start_token_id',
  'disable_compile',
  'diversity_penalty',
  'is_assistant',
  'low_memory',
  'max_cache_len',
  'max_matching_ngram_size',
  'num_assistant_tokens',
  'num_assistant_tokens_schedule',
  'output_attentions',
  'output_hidden_states',
  'output_logits',
  'output_scores',
  'prefill_chunk_size',
  'prompt_lookup_num_tokens',
  'remove_invalid_values',
  'return_dict_in_generate',
  'speculation_type',
  'target_lookbehind',
  'use_cache',
  'use_mtp',
]

/** Where Transformers refuses an integer. */
const FLOAT_KEYS: readonly string[] = [
  'assistant_confidence_threshold',
  'diversity_penalty',
  'encoder_repetition_penalty',
  'epsilon_cutoff',
  'eta_cutoff',
  'guidance_scale',
  'length_penalty',
  'max_time',
  'min_p',
  'penalty_alpha',
  'repetition_penalty',
  'temperature',
  'top_h',
  'top_p',
  'typical_p',
]

/**
 * A model's own options of generate(), checked when they are made, and the same ever after. null: not set. A mistake is a ConfigError
 * that names the file and the field as generation_config.json spells it. Transformers' GenerationConfig,
 * generation/configuration_utils.py.
 */
export class GenerationConfig implements Required<GenerationConfigFields> {
  declare readonly maxNewTokens: number | null
  declare readonly maxLength: number | null
  declare readonly minNewTokens: number | null
  declare readonly minLength: number | null
  declare readonly doSample: boolean | null
  declare readonly temperature: number | null
  declare readonly topK: number | null
  declare readonly topP: number | null
  declare readonly repetitionPenalty: number | null
  declare readonly numBeams: number | null
  declare readonly lengthPenalty: number | null
  declare readonly earlyStopping: boolean | 'never' | null
  declare readonly numReturnSequences: number | null
  declare readonly eosTokenId: number | readonly number[] | null
  /** Of prompts; sequences that come out are filled only where the call says with what. */
  declare readonly padTokenId: number | null
  declare readonly bosTokenId: number | null
  /** Keys of the file that are no options of generate(), kept for writing it again. */
  readonly extra: Readonly<JsonObject>
  /** The file, or whatever else it is from, as errors name it. */
  readonly where: string
  /** The file's own text. */
  readonly #text: string | undefined

  constructor(fields: GenerationConfigFields = {}, where = 'GenerationConfig', extra: JsonObject = {}, text?: string) {
    if (kindOf(fields) !== 'an object')
      throw new ConfigError(`${where}: expected an object, but found ${kindOf(fields)}`)
    for (const name of Object.keys(fields))
      if (!FIELDS.some(([field]) => field === name))
        throw new ConfigError(
          `${where}: there is no field ${quote(name)}; there are ${FIELDS.map(([field]) => field).join(', ')}`,
        )
    const values = FIELDS.map(([field, key]): [Field, unknown] => {
      const value: unknown = fields[field] ?? null
      const { expects, accepts } = RULES[field]
      if (value !== null && !accepts(value))
        throw new ConfigError(`${where}: expected ${key} to be ${expects}, but it is ${quote(value)}`)
      return [field, Array.isArray(value) ? [...value] : value]
    })
    Object.assign(this, Object.fromEntries(values))
    this.extra = { ...extra }
    this.where = where
    this.#text = text
  }

  /** From the content of a generation_config.json; `where` names it in errors. With its `text`, it is written again as it was. */
  static fromJSON(json: unknown, where = 'generation_config.json', text?: string): GenerationConfig {
    if (!isJsonObject(json)) throw new ConfigError(`${where}: expected an object, but found ${kindOf(json)}`)
    const known = new Set(FIELDS.map(([, key]) => key))
    const fields = FIELDS.flatMap(([field, key]) => (Object.hasOwn(json, key) ? [[field, json[key]]] : []))
    const extra = Object.entries(json).filter(([key]) => !known.has(key))
    return new GenerationConfig(Object.fromEntries(fields), where, Object.fromEntries(extra), text)
  }

  /**
   * Of a model without a generation_config.json: what its config.json says of generation, which older versions of Transformers wrote
   * there. GenerationConfig.from_model_config.
   */
  static fromModelConfig(config: JsonObject, where = 'config.json'): GenerationConfig {
    const keys = [...FIELDS.map(([, key]) => key), ...Object.keys(UNSUPPORTED), ...WITHOUT_EFFECT]
    const said = keys.filter((key) => Object.hasOwn(config, key) && config[key] !== null)
    const json = Object.fromEntries(said.map((key) => [key, config[key]]))
    // a config may say so of no token; as an option it would say nothing
    if (Array.isArray(json.eos_token_id) && json.eos_token_id.length === 0) delete json.eos_token_id
    if (said.some((key) => key.startsWith('output_') && json[key] === true)) json.return_dict_in_generate = true
    return GenerationConfig.fromJSON({ ...json, _from_model_config: true }, where)
  }

  /** The same with some fields set. */
  with(fields: GenerationConfigFields): GenerationConfig {
    const own = Object.fromEntries(FIELDS.map(([field]) => [field, this[field]]))
    return new GenerationConfig({ ...own, ...fields }, this.where, this.extra)
  }

  /**
   * The options of a call with this config's where it gives none, and which these are. An id beyond the vocabulary is none: such a
   * config is that of another tokenizer or the rest of a larger vocabulary, the token can never come, and Transformers generates without
   * it. GenerationMixin._prepare_generation_config.
   */
  complete(
    options: GenerateOptions,
    vocabSize: number,
  ): { readonly options: GenerateOptions; readonly origin: Origin } {
    const inVocabulary = (id: number): boolean => id < vocabSize
    const ends = [this.eosTokenId ?? []].flat().filter(inVocabulary)
    const own: GenerationConfigFields = {
      ...Object.fromEntries(FIELDS.map(([field]) => [field, this[field]])),
      bosTokenId: this.bosTokenId !== null && inVocabulary(this.bosTokenId) ? this.bosTokenId : null,
      eosTokenId: ends.length > 0 ? ends : null,
      padTokenId: null,
    }
    const taken = FIELDS.filter(([field]) => options[field] === undefined && own[field] !== null)
    const completed = { ...options, ...Object.fromEntries(taken.map(([field]) => [field, own[field]])) }
    return { options: completed, origin: { where: this.where, names: new Set(taken.map(([field]) => field)) } }
  }

  /** A ConfigError for a key by which Transformers would generate something else with these options. */
  refuseUnsupported(options: GenerateOptions): void {
    for (const [key, value] of Object.entries(this.extra))
      if (value !== null && Object.hasOwn(UNSUPPORTED, key) && UNSUPPORTED[key](value, options))
        throw new ConfigError(
          `generate: ${this.where} sets ${key} to ${quote(value)}, which bertkit cannot do and Transformers would; to generate without it, load the model with the option generationConfig, which takes the place of that file`,
        )
  }

  /**
   * The text of generation_config.json: that of the file where it comes from one and nothing has been set since, else laid out as
   * Transformers does, with what is not set left out. A whole number in a field of kind float is written with ".0".
   */
  toText(transformersVersion: string): string {
    if (this.#text !== undefined) return this.#text
    const set = FIELDS.filter(([field]) => this[field] !== null).map(([field, key]) => [key, this[field]])
    const json = { ...this.extra, ...Object.fromEntries(set), transformers_version: transformersVersion }
    const sorted = Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1)))
    const whole = new RegExp(`^(  "(?:${FLOAT_KEYS.join('|')})": -?\\d+)(,?)$`, 'gm')
    return `${JSON.stringify(sorted, null, 2).replace(whole, '$1.0$2')}\n`
  }
}
