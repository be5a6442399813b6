// Masked language modelling (Devlin et al. 2019, section 3.1). Transformers' data/data_collator.py: DataCollatorForLanguageModeling.

import { ArgumentError } from '../../errors.ts'
import { IGNORE_INDEX } from '../../labels.ts'
import type { RandomStream } from '../../random.ts'
import { checkAtLeast, checkProbability, type LabelledTokens, type SequenceExample } from '../features/example.ts'
import type { BertTokenizer } from '../tokenizer/tokenizer.ts'

/** BERT's. */
export const MLM_PROBABILITY = 0.15

export interface MaskingOptions {
  /** Chance of each token, or word, to be predicted; default 0.15. */
  readonly mlmProbability?: number
  /** Share of the predicted tokens that the model sees as [MASK]; default 0.8. */
  readonly maskReplaceProb?: number
  /** Share of them that it sees as a random token; default 0.1. The rest it sees as they are. */
  readonly randomReplaceProb?: number
  /**
   * Predict all pieces of a word or none; default false. Each piece is replaced by itself with the probabilities above, as in Google's
   * create_pretraining_data.py. Transformers 5.18 replaces them all by [MASK] then, whatever was asked for, which is
   * `maskReplaceProb: 1, randomReplaceProb: 0` here.
   */
  readonly wholeWordMask?: boolean
  /** Most tokens to predict in a sequence: of the words drawn, random ones are let go. Google's max_predictions_per_seq; default: all. */
  readonly maxPredictions?: number
}

/** What masking must know of a vocabulary. */
interface MaskingVocabulary {
  readonly maskTokenId: number
  /** Random tokens are ids below it, special ones among them, as in Transformers. */
  readonly size: number
  /** Of each id `CONTINUATION`, `SPECIAL`, or 0 for what begins a word. */
  readonly kinds: Uint8Array
}

const CONTINUATION = 1
const SPECIAL = 2

/**
 * Pieces are told apart by their ids: the tokenizer splits at punctuation and so never begins a word with the prefix of later pieces.
 * So a Chinese character is a word, as in Google's, where Transformers takes all that no space separates for one word.
 */
function maskingVocabulary(tokenizer: BertTokenizer): MaskingVocabulary {
  const vocabulary = tokenizer.getVocab()
  const prefix = tokenizer.continuingSubwordPrefix
  let largest = 0
  for (const id of vocabulary.values()) largest = Math.max(largest, id)
  const kinds = new Uint8Array(largest + 1)
  for (const [token, id] of vocabulary)
    if (token.startsWith(prefix) && token.length > prefix.length) kinds[id] = CONTINUATION
  for (const id of tokenizer.allSpecialIds) kinds[id] = SPECIAL
  return { maskTokenId: tokenizer.maskTokenId, size: tokenizer.vocabSize, kinds }
}

/** Masks an example, and labels the masked tokens with what they were and the others with `IGNORE_INDEX`; its other fields stay. */
export type Masking = <Input extends SequenceExample>(example: Input, random: RandomStream) => Input & LabelledTokens

/**
 * Masking with a tokenizer's vocabulary. It is a function of the example and of the numbers of the stream. Special tokens are never
 * masked, [UNK] included. A sequence may end up without a label.
 * @throws ArgumentError for options out of range.
 */
export function createMasking(tokenizer: BertTokenizer, options: MaskingOptions = {}): Masking {
  const {
    mlmProbability = MLM_PROBABILITY,
    maskReplaceProb = 0.8,
    randomReplaceProb = 0.1,
    wholeWordMask = false,
  } = options
  const { maxPredictions = Number.POSITIVE_INFINITY } = options
  for (const [name, value] of Object.entries({ mlmProbability, maskReplaceProb, randomReplaceProb }))
    checkProbability(name, value)
  if (maskReplaceProb + randomReplaceProb > 1) {
    const sum = maskReplaceProb + randomReplaceProb
    throw new ArgumentError(`Expected maskReplaceProb and randomReplaceProb to sum to at most 1 but received ${sum}`)
  }
  if (maxPredictions !== Number.POSITIVE_INFINITY) checkAtLeast('maxPredictions', maxPredictions, 1)
  const { maskTokenId, size, kinds } = maskingVocabulary(tokenizer)

  return (example, random) => {
    const inputIds = example.inputIds.slice()
    const labels = new Array<number>(inputIds.length).fill(IGNORE_INDEX)
    const drawn = wordsOf(inputIds, kinds, wholeWordMask).filter(() => random.uniform() < mlmProbability)
    for (const { from, to } of atMost(drawn, maxPredictions, random))
      for (let i = from; i < to; i++) {
        labels[i] = inputIds[i]
        const fate = random.uniform()
        if (fate < maskReplaceProb) inputIds[i] = maskTokenId
        else if (fate < maskReplaceProb + randomReplaceProb) inputIds[i] = random.below(size)
      }
    return { ...example, inputIds, labels }
  }
}

/** Tokens `[from, to)` that are masked together. */
interface Word {
  readonly from: number
  to: number
}

/** All tokens that are not special, alone or by words. A later piece whose first one was cut off begins a word. */
function wordsOf(ids: readonly number[], kinds: Uint8Array, whole: boolean): Word[] {
  const words: Word[] = []
  let last: Word | undefined
  ids.forEach((id, i) => {
    if (kinds[id] === SPECIAL) last = undefined
    else if (whole && kinds[id] === CONTINUATION && last !== undefined) last.to = i + 1
    else {
      last = { from: i, to: i + 1 }
      words.push(last)
    }
  })
  return words
}

/** Words in a random order as long as they have at most `limit` tokens together; one that would exceed it is left out. */
function atMost(words: Word[], limit: number, random: RandomStream): Word[] {
  let tokens = words.reduce((sum, { from, to }) => sum + to - from, 0)
  if (tokens <= limit) return words
  for (let last = words.length - 1; last > 0; last--) {
    const other = random.below(last + 1)
    ;[words[last], words[other]] = [words[other], words[last]]
  }
  tokens = 0
  return words.filter(({ from, to }) => {
    if (tokens + to - from > limit) return false
    tokens += to - from
    return true
  })
}
