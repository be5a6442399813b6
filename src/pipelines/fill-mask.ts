// The words that fit a mask: transformers/pipelines/fill_mask.py.
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { Best } from '../scores.ts'
import { BertForMaskedLM } from '../session/models.ts'
import {
  type Context,
  checkText,
  encodeWhole,
  infer,
  POSITIVE,
  type Task,
  type TextOptions,
  textOptions,
  tokenRowsOf,
} from './task.ts'

export interface FillMaskOptions {
  /** How many words for each mask; default 5. */
  readonly topK?: number
  /** Only these words; one that is no token stands for its first piece. Their scores stay those among all words. */
  readonly targets?: string | readonly string[]
  /** Options of the tokenizer: truncation, maxLength. */
  readonly tokenizerKwargs?: TextOptions
}

export interface FilledMask {
  /** The word's probability, from 0 to 1. */
  readonly score: number
  /** Its id. */
  readonly token: number
  readonly tokenStr: string
  /** The text with the word in the mask's place; of several masks the other ones stay. */
  readonly sequence: string
}

/** Words by descending score; a list of them for each mask where there are several, each as if the other masks stayed. */
export type FillMaskOutput = FilledMask[] | FilledMask[][]

/** Logits of a batch hold a number for each token and word: 2^26 of them are 256 MiB. */
const MAX_LOGITS = 2 ** 26

/** The ids of target words, each once. */
function targetIds(targets: string | readonly string[], tokenizer: BertTokenizer): number[] {
  const words = typeof targets === 'string' ? [targets] : targets
  const ids = words.flatMap((word) => {
    const [id] = tokenizer.convertTokensToIds([word])
    if (id !== tokenizer.unkTokenId || word === tokenizer.unkToken) return [id]
    return tokenizer.encode(word, { addSpecialTokens: false }).inputIds.slice(0, 1)
  })
  if (ids.length > 0) return [...new Set(ids)]
  throw new ArgumentError(`Expected targets to be one or more words but received ${quote(targets)}`)
}

/** Fills the mask at `position` with the words that fit best. */
function fill(
  logits: Float32Array,
  position: number,
  inputIds: readonly number[],
  { topK, candidates, isOnly }: { topK: number; candidates: readonly number[] | undefined; isOnly: boolean },
  tokenizer: BertTokenizer,
): FilledMask[] {
  const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0)
  const best = new Best<number>(topK)
  if (candidates) for (const id of candidates) best.add(logits[id], id)
  else for (let id = 0; id < logits.length; id++) best.add(logits[id], id)
  return best.ranked.map(({ score, item: token }) => {
    const filled = inputIds.with(position, token).filter((id) => id !== tokenizer.padTokenId)
    return {
      score: Math.exp(score - highest) / total,
      token,
      tokenStr: tokenizer.decode([token]),
      // without special tokens other masks would be left out
      sequence: tokenizer.decode(filled, { skipSpecialTokens: isOnly }),
    }
  })
}

export const fillMask: Task<BertForMaskedLM, string, FillMaskOptions, Float32Array, FillMaskOutput> = {
  name: 'fill-mask',
  modelClass: BertForMaskedLM,
  architectures: ['BertForMaskedLM', 'BertForPreTraining', 'BertLMHeadModel'],
  checks: {
    topK: POSITIVE,
    targets: [
      'a word or a list of words',
      (value) => typeof value === 'string' || (Array.isArray(value) && value.every((word) => typeof word === 'string')),
    ],
    tokenizerKwargs: textOptions,
  },
  maxTokens: ({ model }) => Math.floor(MAX_LOGITS / model.config.vocabSize),

  start(text, { topK = 5, targets, tokenizerKwargs = {} }, context: Context<BertForMaskedLM>) {
    checkText(text)
    const { tokenizer } = context
    const candidates = targets === undefined ? undefined : targetIds(targets, tokenizer)
    const { inputIds, tokenTypeIds } = encodeWhole(context, text, undefined, tokenizerKwargs)
    const masks = inputIds.flatMap((id, position) => (id === tokenizer.maskTokenId ? [position] : []))
    if (masks.length === 0) throw new ArgumentError(`Expected a text with ${tokenizer.maskToken} but it has none`)
    const isOnly = masks.length === 1
    return {
      sequences: [{ inputIds, tokenTypeIds }],
      finish([logits]) {
        const { vocabSize } = context.model.config
        const filled = masks.map((position) => {
          const row = logits.subarray(position * vocabSize, (position + 1) * vocabSize)
          return fill(row, position, inputIds, { topK, candidates, isOnly }, tokenizer)
        })
        return isOnly ? filled[0] : filled
      },
    }
  },

  async compute(model, sequences, signal) {
    const { logits } = await infer(model, sequences, signal)
    return tokenRowsOf(logits, sequences)
  },
}
