import { ConfigError } from '../errors.ts'
import type { HubOptions } from '../formats/hub-options.ts'
import type { ModelFiles } from '../formats/model-files.ts'
import { readConfigFile } from '../formats/model-folder.ts'
import { openModelFiles, type PretrainedSource } from '../formats/pretrained-source.ts'
import { isJsonObject, type JsonObject, kindOf, parseJson, quote } from '../json.ts'
import { isGenerated, resolveLabels } from './labels.ts'

export type ProblemType = 'regression' | 'single_label_classification' | 'multi_label_classification'

/** The fields of Transformers' BertConfig in camelCase; defaults and rules: configuration_bert.py, configuration_utils.py. */
export interface BertConfigFields {
  vocabSize: number
  hiddenSize: number
  numHiddenLayers: number
  numAttentionHeads: number
  intermediateSize: number
  /** A key of `HIDDEN_ACTS`. */
  hiddenAct: string
  hiddenDropoutProb: number
  attentionProbsDropoutProb: number
  /** The longest sequence, in tokens. */
  maxPositionEmbeddings: number
  typeVocabSize: number
  /** Standard deviation of new weights. */
  initializerRange: number
  layerNormEps: number
  padTokenId: number | null
  useCache: boolean
  /** null: `hiddenDropoutProb`. */
  classifierDropout: number | null
  isDecoder: boolean
  addCrossAttention: boolean
  bosTokenId: number | null
  eosTokenId: number | number[] | null
  tieWordEmbeddings: boolean
  outputHiddenStates: boolean
  outputAttentions: boolean
  returnDict: boolean
  chunkSizeFeedForward: number
  isEncoderDecoder: boolean
  /** The dtype of the stored weights, such as 'float32'. */
  dtype: string | null
  architectures: string[] | null
  /** null: decided at the first loss and then written here. */
  problemType: ProblemType | null
  /** Wins over `id2label` when the two disagree: names become LABEL_0, LABEL_1, ... */
  numLabels: number
  id2label: Readonly<Record<number, string>>
  label2id: Readonly<Record<string, number>>
  /** Only 'absolute' is computed; anything else is refused by name. */
  positionEmbeddingType: string
}

/** hidden_act (every key of Transformers' ACT2FN) -> the name in native/ops.def of the activation or, with parameters, of the op. */
export const HIDDEN_ACTS: Readonly<Record<string, string>> = {
  gelu: 'gelu',
  gelu_10: 'gelu_10',
  gelu_accurate: 'gelu_new',
  gelu_python: 'gelu',
  gelu_python_tanh: 'gelu_new',
  gelu_new: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  gelu_fast: 'gelu_fast',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
  tanh: 'tanh',
  sigmoid: 'sigmoid',
  linear: 'linear',
  hardswish: 'hardswish',
  laplace: 'laplace',
  leaky_relu: 'leaky_relu',
  mish: 'mish',
  relu2: 'relu2',
  relu6: 'relu6',
  sqrtsoftplus: 'sqrtsoftplus',
  prelu: 'prelu',
  xielu: 'xielu',
}

/** The name in native/ops.def of a `hiddenAct`; a ConfigError names those that are supported. */
export function activationOf(hiddenAct: string, where = 'BertConfig'): string {
  if (Object.hasOwn(HIDDEN_ACTS, hiddenAct)) return HIDDEN_ACTS[hiddenAct]
  throw new ConfigError(
    `${where}: hidden_act ${quote(hiddenAct)} is not supported; expected one of ${Object.keys(HIDDEN_ACTS).join(', ')}`,
  )
}

type Check = (value: unknown) => boolean
interface Rule {
  /** What a valid value is, for the error message. */
  expected: string
  valid: Check
}

const isInteger = (value: unknown, least: number, most: number): boolean =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const isString: Check = (value) => typeof value === 'string'
const orNull = (rule: Rule): Rule => ({
  expected: `${rule.expected}, or null`,
  valid: (value) => value === null || rule.valid(value),
})

const INT32_MAX = 2 ** 31 - 1
// More layers than any BERT has; the bound keeps a hostile config from making millions of names before a weight is read.
const MAX_LAYERS = 4096
const size: Rule = {
  expected: 'an integer from 1 to 2147483647',
  valid: (value) => isInteger(value, 1, INT32_MAX),
}
const probability: Rule = {
  expected: 'a number >= 0 and < 1',
  valid: (value) => isNumber(value) && value >= 0 && Math.fround(value) < 1,
}
const notNegative: Rule = { expected: 'a number >= 0', valid: (value) => isNumber(value) && value >= 0 }
const flag: Rule = { expected: 'true or false', valid: (value) => typeof value === 'boolean' }
const text: Rule = { expected: 'a string', valid: isString }
const tokenId: Rule = {
  expected: 'an integer from 0 to 2147483647',
  valid: (value) => isInteger(value, 0, INT32_MAX),
}
const problemTypes: readonly unknown[] = ['regression', 'single_label_classification', 'multi_label_classification']

type PlainField = Exclude<keyof BertConfigFields, 'numLabels' | 'id2label' | 'label2id'>

/** Every field but the labels: its key in config.json, its default, and what it may be. */
const FIELDS: { [Field in PlainField]: [key: string, fallback: BertConfigFields[Field], rule: Rule] } = {
  vocabSize: ['vocab_size', 30522, size],
  hiddenSize: ['hidden_size', 768, size],
  numHiddenLayers: [
    'num_hidden_layers',
    12,
    { expected: `an integer from 1 to ${MAX_LAYERS}`, valid: (value) => isInteger(value, 1, MAX_LAYERS) },
  ],
  numAttentionHeads: ['num_attention_heads', 12, size],
  intermediateSize: ['intermediate_size', 3072, size],
  hiddenAct: ['hidden_act', 'gelu', text],
  hiddenDropoutProb: ['hidden_dropout_prob', 0.1, probability],
  attentionProbsDropoutProb: ['attention_probs_dropout_prob', 0.1, probability],
  maxPositionEmbeddings: ['max_position_embeddings', 512, size],
  typeVocabSize: ['type_vocab_size', 2, size],
  initializerRange: ['initializer_range', 0.02, notNegative],
  layerNormEps: ['layer_norm_eps', 1e-12, probability],
  padTokenId: ['pad_token_id', 0, orNull(tokenId)],
  useCache: ['use_cache', true, flag],
  classifierDropout: ['classifier_dropout', null, orNull(probability)],
  isDecoder: ['is_decoder', false, flag],
  addCrossAttention: ['add_cross_attention', false, flag],
  bosTokenId: ['bos_token_id', null, orNull(tokenId)],
  eosTokenId: [
    'eos_token_id',
    null,
    {
      expected: 'a token id, a list of token ids, or null',
      valid: (value) =>
        value === null || (Array.isArray(value) ? value.every((id) => tokenId.valid(id)) : tokenId.valid(value)),
    },
  ],
  tieWordEmbeddings: ['tie_word_embeddings', true, flag],
  outputHiddenStates: ['output_hidden_states', false, flag],
  outputAttentions: ['output_attentions', false, flag],
  returnDict: ['return_dict', true, flag],
  chunkSizeFeedForward: ['chunk_size_feed_forward', 0, tokenId],
  isEncoderDecoder: ['is_encoder_decoder', false, flag],
  dtype: ['dtype', null, orNull(text)],
  architectures: [
    'architectures',
    null,
    orNull({ expected: 'a list of class names', valid: (value) => Array.isArray(value) && value.every(isString) }),
  ],
  problemType: [
    'problem_type',
    null,
    {
      expected: `${problemTypes.map((type) => quote(type)).join(', ')} or null`,
      valid: (value) => value === null || problemTypes.includes(value),
    },
  ],
  positionEmbeddingType: ['position_embedding_type', 'absolute', text],
}

const PLAIN_FIELDS = Object.keys(FIELDS) as PlainField[]
const LABEL_FIELDS = { numLabels: 'num_labels', id2label: 'id2label', label2id: 'label2id' } as const
/** config.json leaves these out while they have their defaults (PretrainedConfig.to_diff_dict). */
const WRITTEN_IF_CHANGED: ReadonlySet<string> = new Set<PlainField>([
  'outputHiddenStates',
  'outputAttentions',
  'returnDict',
  'chunkSizeFeedForward',
  'isEncoderDecoder',
  'problemType',
  'positionEmbeddingType',
  'architectures',
])
const FLOAT_FIELDS = [
  'hiddenDropoutProb',
  'attentionProbsDropoutProb',
  'classifierDropout',
  'initializerRange',
  'layerNormEps',
] as const
/** Keys of config.json that are not fields and not worth keeping: superseded, or true of the old file only. */
const DROPPED_KEYS: ReadonlySet<string> = new Set([
  'model_type',
  'torch_dtype',
  'transformers_version',
  '_name_or_path',
])
/** What files that are written say they were written by. */
export const TRANSFORMERS_VERSION = '5.18.0'

/** Whether `name` is a field of BertConfig in camelCase, as `fromPretrained`'s options may carry. */
export const isConfigField = (name: string): name is keyof BertConfigFields =>
  Object.hasOwn(FIELDS, name) || Object.hasOwn(LABEL_FIELDS, name)

/**
 * What a BERT model is, checked when it is made: a BertConfig that exists can be built.
 * Mistakes are ConfigErrors that name the field as config.json spells it.
 */
export class BertConfig implements BertConfigFields {
  declare readonly vocabSize: number
  declare readonly hiddenSize: number
  declare readonly numHiddenLayers: number
  declare readonly numAttentionHeads: number
  declare readonly intermediateSize: number
  declare readonly hiddenAct: string
  declare readonly hiddenDropoutProb: number
  declare readonly attentionProbsDropoutProb: number
  declare readonly maxPositionEmbeddings: number
  declare readonly typeVocabSize: number
  declare readonly initializerRange: number
  declare readonly layerNormEps: number
  declare readonly padTokenId: number | null
  declare readonly useCache: boolean
  declare readonly classifierDropout: number | null
  declare readonly isDecoder: boolean
  declare readonly addCrossAttention: boolean
  declare readonly bosTokenId: number | null
  declare readonly eosTokenId: number | number[] | null
  declare readonly tieWordEmbeddings: boolean
  declare readonly outputHiddenStates: boolean
  declare readonly outputAttentions: boolean
  declare readonly returnDict: boolean
  declare readonly chunkSizeFeedForward: number
  declare readonly isEncoderDecoder: boolean
  declare readonly dtype: string | null
  declare readonly architectures: string[] | null
  /** Not readonly: the first loss decides it where it is null. */
  declare problemType: ProblemType | null
  declare readonly positionEmbeddingType: string
  readonly numLabels: number
  readonly id2label: Readonly<Record<number, string>>
  readonly label2id: Readonly<Record<string, number>>
  /** Keys of config.json that bertkit does not know, kept for writing it again. */
  readonly extra: Readonly<JsonObject>

  /** `where` begins error messages; `extra` are unknown keys of config.json. Unnamed fields take Transformers' defaults. */
  constructor(fields: Partial<BertConfigFields> = {}, where = 'BertConfig', extra: JsonObject = {}) {
    if (!isJsonObject(fields))
      throw new ConfigError(`${where}: expected an object of fields, but it is ${kindOf(fields)}`)
    for (const name of Object.keys(fields)) {
      if (!isConfigField(name)) throw new ConfigError(`${where}: there is no field ${quote(name)}`)
    }
    const plain: Record<string, unknown> = {}
    for (const field of PLAIN_FIELDS) {
      const [key, fallback, rule] = FIELDS[field]
      const value = fields[field] === undefined ? fallback : fields[field]
      if (!rule.valid(value)) {
        throw new ConfigError(`${where}: expected ${key} to be ${rule.expected}, but it is ${quote(value)}`)
      }
      plain[field] = Array.isArray(value) ? [...value] : value
    }
    Object.assign(this, plain)
    const labels = resolveLabels(fields, where)
    this.numLabels = labels.names.length
    this.id2label = { ...labels.names }
    this.label2id = labels.ids
    this.extra = { ...extra }
    this.#checkTogether(where)
  }

  #checkTogether(where: string): void {
    activationOf(this.hiddenAct, where)
    if (this.hiddenSize % this.numAttentionHeads !== 0) {
      throw new ConfigError(
        `${where}: expected hidden_size to be a multiple of num_attention_heads, but ${this.hiddenSize} is not one of ${this.numAttentionHeads}`,
      )
    }
    if (this.positionEmbeddingType !== 'absolute') {
      throw new ConfigError(
        `${where}: position_embedding_type ${quote(this.positionEmbeddingType)} is not supported; only "absolute" is`,
      )
    }
    if (this.padTokenId !== null && this.padTokenId >= this.vocabSize) {
      throw new ConfigError(
        `${where}: expected pad_token_id to be below vocab_size ${this.vocabSize}, but it is ${this.padTokenId}`,
      )
    }
    if (this.addCrossAttention && !this.isDecoder) {
      throw new ConfigError(`${where}: add_cross_attention needs is_decoder to be true`)
    }
    if (this.isEncoderDecoder) throw new ConfigError(`${where}: is_encoder_decoder true is not supported for BERT`)
  }

  /** The dropout probability of the classification heads. */
  get effectiveClassifierDropout(): number {
    return this.classifierDropout ?? this.hiddenDropoutProb
  }

  /** Label names by id. */
  get labels(): string[] {
    return Array.from({ length: this.numLabels }, (_, id) => this.id2label[id])
  }

  /** The same config with some fields changed; a new `numLabels` replaces label names of another number, and vice versa. */
  with(overrides: Partial<BertConfigFields>, where?: string): BertConfig {
    if (!isJsonObject(overrides))
      throw new ConfigError(`${where ?? 'config'}: expected an object of fields, but it is ${kindOf(overrides)}`)
    const fields: Partial<BertConfigFields> = {}
    for (const field of PLAIN_FIELDS) Object.assign(fields, { [field]: this[field] })
    const relabelled = overrides.id2label !== undefined || overrides.label2id !== undefined
    const recounted = overrides.numLabels !== undefined && overrides.numLabels !== this.numLabels
    if (!relabelled && !recounted) Object.assign(fields, { id2label: this.id2label, label2id: this.label2id })
    for (const [name, value] of Object.entries(overrides))
      if (value !== undefined) Object.assign(fields, { [name]: value })
    return new BertConfig(fields, where, this.extra)
  }

  /** From the content of a config.json (`where` names it in errors). Old and unknown keys are accepted; wrong kinds are not. */
  static fromJSON(json: unknown, where = 'config.json'): BertConfig {
    if (!isJsonObject(json)) throw new ConfigError(`${where}: expected an object, but found ${kindOf(json)}`)
    checkArchitecture(json, where)
    const fields: Record<string, unknown> = {}
    const known = new Set(DROPPED_KEYS)
    const take = (field: string, key: string): void => {
      known.add(key)
      if (Object.hasOwn(json, key)) fields[field] = json[key]
    }
    for (const field of PLAIN_FIELDS) take(field, FIELDS[field][0])
    for (const [field, key] of Object.entries(LABEL_FIELDS)) take(field, key)
    // Transformers writes null for "unset" in some of the fields that have no null; absent and null mean the same there.
    for (const field of ['numLabels', 'id2label', 'label2id', 'tieWordEmbeddings', 'positionEmbeddingType']) {
      if (fields[field] === null) delete fields[field]
    }
    fields.dtype ??= json.torch_dtype
    const extra = Object.fromEntries(Object.entries(json).filter(([key]) => !known.has(key)))
    return new BertConfig(fields, where, extra)
  }

  /** Reads config.json of a folder, a Hub id, a URL or given files; Google's bert_config.json, or a sentence-transformer's. */
  static async fromPretrained(source: PretrainedSource | ModelFiles, options?: HubOptions): Promise<BertConfig> {
    const { file, text } = await readConfigFile(await openModelFiles(source, 'config', options))
    return BertConfig.fromJSON(
      parseJson(text, (reason) => new ConfigError(`${file}: ${reason}`)),
      file,
    )
  }

  /** The content of config.json as Transformers 5.18 writes it: keys sorted, labels left out while they are the default two. */
  toJSON(): JsonObject {
    const json: JsonObject = { ...this.extra, model_type: 'bert', transformers_version: TRANSFORMERS_VERSION }
    for (const field of PLAIN_FIELDS) {
      const [key, fallback] = FIELDS[field]
      if (!WRITTEN_IF_CHANGED.has(field) || this[field] !== fallback) json[key] = this[field]
    }
    json.dtype = this.dtype ?? 'float32'
    if (this.numLabels !== 2 || !isGenerated(this.labels)) {
      json.id2label = { ...this.id2label }
      json.label2id = { ...this.label2id }
    }
    return Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  /**
   * The text of config.json, laid out as Transformers does. A whole number in a field of kind float is written
   * with ".0", because Transformers 5 refuses an integer there.
   */
  toText(): string {
    const floats = FLOAT_FIELDS.map((field) => FIELDS[field][0]).join('|')
    const whole = new RegExp(`^(  "(?:${floats})": \\d+)(,?)$`, 'gm')
    return `${JSON.stringify(this, null, 2).replace(whole, '$1.0$2')}\n`
  }
}

/** A model of another architecture would load with most names unmatched; its own name is the clearer error. */
function checkArchitecture(json: JsonObject, where: string): void {
  const found = json.model_type
  if (found !== undefined && found !== null && found !== 'bert') {
    throw new ConfigError(`${where}: the architecture (model_type) is ${quote(found)}; only "bert" is supported`)
  }
  // Configs older than model_type have only the class name; Google's bert_config.json has neither.
  const first = Array.isArray(json.architectures) ? json.architectures[0] : undefined
  if (!found && typeof first === 'string' && !first.startsWith('Bert')) {
    throw new ConfigError(`${where}: the architecture is ${quote(first)}; only BERT's classes are supported`)
  }
}
