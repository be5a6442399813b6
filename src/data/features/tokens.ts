// Words and their tags as tokens and labels. Transformers' examples/pytorch/token-classification/run_ner.py: tokenize_and_align_labels.

import { ArgumentError } from '../../errors.ts'
import { IGNORE_INDEX } from '../../labels.ts'
import type { BertTokenizer } from '../tokenizer/tokenizer.ts'
import { cut, type Window } from '../tokenizer/truncation.ts'
import { checkAtLeast, type LabelledTokens, type SequenceExample } from './example.ts'

/** A place among the tokens of several windows. */
export interface TokenPlace {
  readonly window: number
  readonly token: number
}

/** A sentence for prediction: all of it, in as many windows as it takes. */
export interface WordWindows {
  readonly windows: readonly SequenceExample[]
  /**
   * Where the first piece of each word is; of several windows the one that shows most of what is around it. null for a word
   * without a piece: the tokenizer drops control characters and empty words.
   */
  readonly words: readonly (TokenPlace | null)[]
}

/** The pieces of all words, and for each piece its word. */
function piecesOf(words: readonly string[], tokenizer: BertTokenizer): { ids: number[]; wordIds: (number | null)[] } {
  const { inputIds, wordIds } = tokenizer.encode(words, { addSpecialTokens: false, truncation: false })
  return { ids: inputIds, wordIds }
}

/** `[CLS]`, the pieces of the window, `[SEP]`. */
const around = (ids: readonly number[], { from, to }: Window, tokenizer: BertTokenizer): number[] => [
  tokenizer.clsTokenId,
  ...ids.slice(from, to),
  tokenizer.sepTokenId,
]

/**
 * `[CLS] words [SEP]`, cut to `maxLength` tokens, with the label of each word on its first piece and `IGNORE_INDEX` on every other token.
 * `labelId` gives the class of a tag, or throws; `onCut` is called for a sentence that is longer.
 * @throws ArgumentError if there are not as many tags as tokens.
 */
export function encodeTokens(
  { tokens, tags }: { readonly tokens: readonly string[]; readonly tags: readonly string[] },
  tokenizer: BertTokenizer,
  options: { readonly maxLength: number; readonly labelId: (tag: string) => number; readonly onCut?: () => void },
): LabelledTokens {
  const { maxLength, labelId, onCut } = options
  checkAtLeast('maxLength', maxLength, 3)
  if (tags.length !== tokens.length)
    throw new ArgumentError(`Expected ${tokens.length} tags, one for each token, but received ${tags.length}`)
  const { ids, wordIds } = piecesOf(tokens, tokenizer)
  const [kept, ...rest] = cut(ids.length, maxLength - 2, 0, tokenizer.truncationSide)
  if (rest.length > 0) onCut?.()
  // a word whose beginning is cut off has its label on the first piece that is left, as in run_ner.py
  const labels = wordIds
    .slice(kept.from, kept.to)
    .map((word, i, words) => (word === null || word === words[i - 1] ? IGNORE_INDEX : labelId(tags[word])))
  return { inputIds: around(ids, kept, tokenizer), labels: [IGNORE_INDEX, ...labels, IGNORE_INDEX] }
}

/**
 * `[CLS] words [SEP]` in windows of at most `maxLength` tokens, of which neighbours share `stride`, so that every word is predicted.
 * @throws ArgumentError if `stride` leaves no progress.
 */
export function encodeWords(
  words: readonly string[],
  tokenizer: BertTokenizer,
  { maxLength, stride }: { readonly maxLength: number; readonly stride: number },
): WordWindows {
  checkAtLeast('maxLength', maxLength, 3)
  checkAtLeast('stride', stride, 0)
  if (stride >= maxLength - 2)
    throw new ArgumentError(`Expected stride below ${maxLength - 2} (maxLength less 2) but received ${stride}`)
  const { ids, wordIds } = piecesOf(words, tokenizer)
  const windows = cut(ids.length, maxLength - 2, stride, tokenizer.truncationSide)
  const places = new Array<TokenPlace | null>(words.length).fill(null)
  const contexts = new Int32Array(words.length).fill(-1)
  windows.forEach(({ from, to }, window) => {
    for (let i = from; i < to; i++) {
      const word = wordIds[i]
      if (word === null || word === wordIds[i - 1]) continue
      // what is missing at either end of the sentence is missing in every window
      const context = Math.min(from === 0 ? ids.length : i - from, to === ids.length ? to : to - 1 - i)
      if (context <= contexts[word]) continue
      contexts[word] = context
      places[word] = { window, token: i - from + 1 }
    }
  })
  return { windows: windows.map((window) => ({ inputIds: around(ids, window, tokenizer) })), words: places }
}
