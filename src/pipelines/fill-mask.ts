// The words that fit a mask: transformers/pipelines/fill_mask.py.

import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { IGNORE_INDEX } from '../labels.ts'
import { atLeast } from '../options.ts'
import { BertForMaskedLM } from '../session/models.ts'
import { Best } from './best.ts'
import { fillerOf } from './filled-text.ts'
import {
  type Context,
  checkText,
  encodeWhole,
  infer,
  type Pause,
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

/** Logits of a batch hold a number for each mask and word: 2^26 of them are 256 MiB. */
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

/** The words that fit a mask best. `logits`: of the whole vocabulary, [words]. `fill`: the text with a word in the mask's place. */
async function fillWith(
  logits: Float32Array,
  { topK, candidates }: { topK: number; candidates: readonly number[] | undefined },
  tokenizer: BertTokenizer,
  fill: (token: number) => string,
  pause: Pause,
): Promise<FilledMask[]> {
  let highest = Number.NEGATIVE_INFINITY
  for (let id = 0; id < logits.length; id++) highest = Math.max(highest, logits[id])
  let total = 0
  for (let id = 0; id < logits.length; id++) total += Math.exp(logits[id] - highest)
  const best = new Best<number>(topK)
  if (candidates) for (const id of candidates) best.add(logits[id], id)
  else for (let id = 0; id < logits.length; id++) best.add(logits[id], id)
  const filled: FilledMask[] = []
  for (const { score, item: token } of await best.ranked(pause)) {
    await pause()
    const tokenStr = tokenizer.decode([token])
    filled.push({ score: Math.exp(score - highest) / total, token, tokenStr, sequence: fill(token) })
  }
  return filled
}

export const fillMask: Task<BertForMaskedLM, string, FillMaskOptions, Float32Array, FillMaskOutput> = {
  name: 'fill-mask',
  modelClass: BertForMaskedLM,
  architectures: ['BertForMaskedLM', 'BertForPreTraining', 'BertLMHeadModel'],
  checks: {
    topK: atLeast(1),
    targets: [
      'a word or a list of words',
      (value) => typeof value === 'string' || (Array.isArray(value) && value.every((word) => typeof word === 'string')),
    ],
    tokenizerKwargs: textOptions,
  },
  maxTokens: ({ model }) => Math.floor(MAX_LOGITS / model.config.vocabSize),

  start(text, { topK = 5, targets, tokenizerKwargs }, context: Context<BertForMaskedLM>) {
    checkText(text)
    const { tokenizer } = context
    const candidates = targets === undefined ? undefined : targetIds(targets, tokenizer)
    const { inputIds, tokenTypeIds } = encodeWhole(context, text, undefined, tokenizerKwargs ?? {})
    const masks = inputIds.flatMap((id, position) => (id === tokenizer.maskTokenId ? [position] : []))
    if (masks.length === 0) throw new ArgumentError(`Expected a text with ${tokenizer.maskToken} but it has none`)
    const isOnly = masks.length === 1
    return {
      sequences: [{ inputIds, tokenTypeIds, wanted: masks }],
      async finish([logits], pause) {
        const { vocabSize } = context.model.config
        // without special tokens other masks would be left out
        const filler = fillerOf(inputIds, tokenizer, isOnly)
        const filled: FilledMask[][] = []
        for (const [i, position] of masks.entries()) {
          await pause()
          const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
          filled.push(await fillWith(row, { topK, candidates }, tokenizer, filler(position), pause))
        }
        return isOnly ? filled[0] : filled
      },
    }
  },

  async compute({ model }, sequences, signal) {
    // a label marks a token whose logits are wanted; which word it is does not matter to them
    const labels = sequences.map(({ inputIds, wanted = [] }) => {
      const marked = new Array<number>(inputIds.length).fill(IGNORE_INDEX)
      for (const position of wanted) marked[position] = inputIds[position]
      return marked
    })
    const { logits } = await infer(model, sequences, signal, labels)
    return tokenRowsOf(logits, sequences)
  },
}
