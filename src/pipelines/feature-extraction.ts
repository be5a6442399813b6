// The last hidden state, or one vector of it: transformers/pipelines/feature_extraction.py, with the options of transformers.js.

import { ConfigError } from '../errors.ts'
import type { PoolingMode } from '../formats/sentence-transformers.ts'
import { BOOLEAN, defined, oneOf } from '../options.ts'
import { BertModel } from '../session/models.ts'
import type { Tensor } from '../tensor.ts'
import { normalizeRows, POOLING_MODES, pool } from './pooling.ts'
import {
  type Context,
  checkText,
  encodeWhole,
  infer,
  type Task,
  TEXT_CHECKS,
  type TextOptions,
  textOptions,
  tokenRowsOf,
} from './task.ts'

export interface FeatureExtractionOptions {
  /**
   * How the vectors of tokens become one; none: they do not. Default: as the folder says (modules.json of sentence-transformers), else
   * none. A model that is given loaded has no folder: none, not scaled, and texts are cut to what tokenizer and model have room for.
   */
  readonly pooling?: 'none' | PoolingMode
  /** Scale vectors to length 1. Default: as the folder says where its pooling is used, else false. */
  readonly normalize?: boolean
  /** Cut a text that is too long. Default: true where one vector is wanted, as in sentence-transformers, or maxLength is given. */
  readonly truncation?: TextOptions['truncation']
  /** Options of the tokenizer: truncation, maxLength. */
  readonly tokenizeKwargs?: TextOptions
}

/** The weights of BertModel's pooler, which no hidden state depends on. */
export const POOLER = /^pooler\./

/** How the folder makes one vector of a text; undefined where it does not say. Throws ConfigError where bertkit cannot do it. */
export function folderPooling({ embedding }: Context<BertModel>) {
  if (embedding?.pooling === undefined) return undefined
  const [other] = embedding.others
  if (other !== undefined)
    throw new ConfigError(
      `modules.json: the module ${other} is not supported; with the option pooling it is left out of feature-extraction`,
    )
  return { modes: embedding.pooling, normalize: embedding.normalize }
}

/** Tokenises a text for an embedding: cut to what the folder says, unless told otherwise. */
export function encodeForEmbedding(context: Context<BertModel>, text: string, options: TextOptions = {}) {
  const limit = Math.min(context.embedding?.maxSeqLength ?? Number.POSITIVE_INFINITY, context.maxLength)
  return encodeWhole({ ...context, maxLength: limit }, text, undefined, { truncation: true, ...defined(options) })
}

export const featureExtraction: Task<BertModel, string, FeatureExtractionOptions, Float32Array, Tensor> = {
  name: 'feature-extraction',
  modelClass: BertModel,
  unused: POOLER,
  embeds: true,
  checks: {
    pooling: oneOf('none', ...POOLING_MODES),
    normalize: BOOLEAN,
    truncation: TEXT_CHECKS.truncation,
    tokenizeKwargs: textOptions,
  },
  check: ({ pooling }, context) => void (pooling === undefined && folderPooling(context)),

  start(text, { pooling, normalize, truncation, tokenizeKwargs }, context) {
    checkText(text)
    const given = pooling === undefined || pooling === 'none' ? undefined : { modes: [pooling], normalize: false }
    const pooled = pooling === undefined ? folderPooling(context) : given
    const textOptions = truncation === undefined ? tokenizeKwargs : { ...tokenizeKwargs, truncation }
    const { inputIds, tokenTypeIds } = pooled
      ? encodeForEmbedding(context, text, textOptions)
      : encodeWhole(context, text, undefined, { ...textOptions })
    const width = context.model.config.hiddenSize
    return {
      sequences: [{ inputIds, tokenTypeIds }],
      finish([rows]) {
        const data = pooled ? pool(rows, width, pooled.modes) : rows.slice()
        const shape = pooled ? [1, data.length] : [1, inputIds.length, width]
        if (normalize ?? pooled?.normalize) normalizeRows(data, shape.at(-1)!)
        return { data, shape }
      },
    }
  },

  async compute({ model }, sequences, signal) {
    const { lastHiddenState } = await infer(model, sequences, signal)
    return tokenRowsOf(lastHiddenState, sequences)
  },
}
