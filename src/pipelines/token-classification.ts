// Labels of tokens and entities: transformers/pipelines/token_classification.py.

import type { BertTokenizer, Encoding } from '../data/tokenizer/tokenizer.ts'
import { cut, type Window } from '../data/tokenizer/truncation.ts'
import { ArgumentError } from '../errors.ts'
import { kindOf } from '../json.ts'
import { atLeast, BOOLEAN, oneOf } from '../options.ts'
import { softmax } from '../scores.ts'
import { BertForTokenClassification } from '../session/models.ts'
import {
  type AggregationStrategy,
  aggregate,
  type EntityGroup,
  labelTokens,
  type ScoredToken,
  type TokenEntity,
  withoutOverlaps,
} from './entities.ts'
import { codePointLength, OFFSET_UNIT, type OffsetUnit, offsetConverter } from './offsets.ts'
import { type Context, checkText, infer, type Sequence, type Task, tokenRowsOf } from './task.ts'

export interface TokenClassificationOptions {
  /**
   * What becomes one entity. none (the default): each token; simple: neighbours with the same tag; first, average, max: the same of
   * words, whose label is that of their first token, of the mean of all, or of the most certain one.
   */
  readonly aggregationStrategy?: AggregationStrategy
  /** Labels to leave out, or groups; default ['O']. */
  readonly ignoreLabels?: readonly string[]
  /** Read a long text whole, in windows that share so many tokens; without it a text is cut. Not with the strategy none. */
  readonly stride?: number
  /** Inputs are lists of words, not texts. */
  readonly isSplitIntoWords?: boolean
  /** With isSplitIntoWords: what is between words in the text that offsets refer to; default a space. */
  readonly delimiter?: string
  /** What start and end count; default utf16, as JavaScript's strings. */
  readonly offsetUnit?: OffsetUnit
}

export type TextOrWords = string | readonly string[]

/** The text that offsets refer to, and where each word begins in it. */
function textOf(input: TextOrWords, delimiter: string): { text: string; starts: number[] } {
  if (typeof input === 'string') return { text: input, starts: [] }
  let at = 0
  const starts = input.map((word) => {
    const start = at
    at += word.length + delimiter.length
    return start
  })
  return { text: input.join(delimiter), starts }
}

/** The tokens of a window, with the probabilities of their labels. `logits`: [tokens, labels], those of [CLS] and [SEP] around included. */
function scoreTokens(
  { inputIds, offsets = [], wordIds }: Encoding,
  { from, to }: Window,
  logits: Float32Array,
  { text, starts }: { text: string; starts: readonly number[] },
  { tokenizer, model }: Context<BertForTokenClassification>,
): ScoredToken[] {
  const { numLabels } = model.config
  const ids = inputIds.slice(from, to)
  const names = tokenizer.convertIdsToTokens(ids)
  return ids.map((id, i) => {
    const index = i + 1
    const shift = starts[wordIds[from + i] ?? 0] ?? 0
    const [start, end] = offsets[from + i].map((offset) => offset + shift)
    const written = text.slice(start, end)
    const isUnknown = id === tokenizer.unkTokenId
    return {
      word: isUnknown ? written : names[i],
      scores: softmax(logits.subarray(index * numLabels, (index + 1) * numLabels)),
      index,
      start,
      end,
      // its ## makes a token longer than its text
      isSubword: !isUnknown && codePointLength(names[i]) !== codePointLength(written),
    }
  })
}

/** `[CLS] window [SEP]` of each window. */
function* sequencesOf(
  { inputIds }: Encoding,
  windows: readonly Window[],
  { clsTokenId, sepTokenId }: BertTokenizer,
): Generator<Sequence> {
  for (const { from, to } of windows) {
    const ids = [clsTokenId, ...inputIds.slice(from, to), sepTokenId]
    yield { inputIds: ids, tokenTypeIds: ids.map(() => 0) }
  }
}

function checkInput(input: unknown, words: boolean): asserts input is TextOrWords {
  if (!words) checkText(input, 'a text (with isSplitIntoWords a list of words)')
  else if (!Array.isArray(input)) throw new ArgumentError(`Expected a list of words but received ${kindOf(input)}`)
  else for (const [i, word] of input.entries()) checkText(word, `word ${i} to be a text`)
}

export const tokenClassification: Task<
  BertForTokenClassification,
  TextOrWords,
  TokenClassificationOptions,
  Float32Array,
  (TokenEntity | EntityGroup)[]
> = {
  name: 'token-classification',
  modelClass: BertForTokenClassification,
  architectures: ['BertForTokenClassification'],
  checks: {
    aggregationStrategy: oneOf('none', 'simple', 'first', 'average', 'max'),
    ignoreLabels: [
      'a list of labels',
      (value) => Array.isArray(value) && value.every((label) => typeof label === 'string'),
    ],
    stride: atLeast(0),
    isSplitIntoWords: BOOLEAN,
    delimiter: ['a text', (value) => typeof value === 'string'],
    offsetUnit: OFFSET_UNIT,
  },
  check({ stride, aggregationStrategy = 'none', isSplitIntoWords, delimiter }, { maxLength }) {
    // false may be a call's, before a delimiter that is the pipeline's
    if (delimiter !== undefined && isSplitIntoWords === undefined)
      throw new ArgumentError('Expected isSplitIntoWords beside delimiter, which is what stands between words')
    if (stride === undefined) return
    if (aggregationStrategy === 'none')
      throw new ArgumentError('Expected an aggregationStrategy other than none beside stride')
    if (stride >= maxLength - 2)
      throw new ArgumentError(`Expected stride below ${maxLength - 2}, the tokens of a window, but received ${stride}`)
  },

  start(input, options, context) {
    const { aggregationStrategy = 'none', ignoreLabels = ['O'], stride, isSplitIntoWords = false } = options
    const { delimiter = ' ', offsetUnit = 'utf16' } = options
    checkInput(input, isSplitIntoWords)
    const { tokenizer, model, maxLength } = context
    const room = maxLength - 2
    const limit = stride === undefined ? { truncation: true, maxLength: room } : { truncation: false }
    const encoding = tokenizer.encode(input, { addSpecialTokens: false, returnOffsets: true, ...limit })
    const windows = cut(encoding.inputIds.length, room, stride ?? 0, tokenizer.truncationSide)
    const written = textOf(input, delimiter)
    const { labels } = model.config
    const join = (words: readonly string[]) => tokenizer.convertTokensToString(words)
    return {
      sequences: sequencesOf(encoding, windows, tokenizer),
      async finish(logits, pause) {
        const found: (TokenEntity | EntityGroup)[] = []
        for (const [i, window] of windows.entries()) {
          await pause()
          const tokens = scoreTokens(encoding, window, logits[i], written, context)
          if (aggregationStrategy === 'none')
            found.push(...labelTokens(tokens, labels).filter(({ entity }) => !ignoreLabels.includes(entity)))
          else {
            const groups = aggregate(tokens, labels, aggregationStrategy, join)
            found.push(...groups.filter(({ entityGroup }) => !ignoreLabels.includes(entityGroup)))
          }
        }
        const convert = offsetConverter(written.text, offsetUnit)
        const kept = windows.length > 1 ? withoutOverlaps(found) : found
        return kept.map((each) => ({ ...each, start: convert(each.start), end: convert(each.end) }))
      },
    }
  },

  async compute({ model }, sequences, signal) {
    const { logits } = await infer(model, sequences, signal)
    return tokenRowsOf(logits, sequences)
  },

  // a list of words alone is a list of one input, as in Transformers
  listOf(given, { isSplitIntoWords }) {
    if (!Array.isArray(given)) return undefined
    const isOneInput = isSplitIntoWords && given.length > 0 && given.every((word) => typeof word === 'string')
    return isOneInput ? [given] : given
  },
}
