// Options of the tokenizer and of encode, checked: a wrong one is an ArgumentError, never ignored.
import { atLeast, BOOLEAN, type Check, checkOptions, defined, oneOf } from '../../options.ts'
import type { SpecialTokens, TokenizerFolder } from './files.ts'
import type { TruncationSide, TruncationStrategy } from './truncation.ts'

/** How a tokenizer is built; the defaults are Transformers'. */
export interface TokenizerOptions extends Partial<SpecialTokens> {
  /** Default true. */
  doLowerCase?: boolean
  /** Default null: as `doLowerCase`. */
  stripAccents?: boolean | null
  /** Split ideographs into words of their own; default true. */
  tokenizeChineseChars?: boolean
  /** Remove control characters; default true. */
  cleanText?: boolean
  /** Code points above which a word is unknown; default 100. */
  maxInputCharsPerWord?: number
  /** Tokens; default Infinity. */
  modelMaxLength?: number
  /** Which end of a text is cut off where it is too long; default 'right'. */
  truncationSide?: TruncationSide
  /** Take special tokens that stand in a text, as [MASK], for text; default false. */
  splitSpecialTokens?: boolean
  /** What `decode` does where its `cleanUp` is not given; default false. */
  cleanUpTokenizationSpaces?: boolean
  /** Further special tokens; those outside the vocabulary get the next ids. */
  additionalSpecialTokens?: readonly string[]
}

export interface EncodeOptions {
  /** Put [CLS] and [SEP] around; default true. */
  addSpecialTokens?: boolean
  /** Cut to `maxLength`, on the tokenizer's `truncationSide`; true is 'longest_first'. Default false, or true if `maxLength` is given. */
  truncation?: boolean | TruncationStrategy
  /** Tokens, special ones included; default `modelMaxLength`. */
  maxLength?: number
  /** Tokens that an overflowing part shares with the one before; default 0. */
  stride?: number
  returnOverflowingTokens?: boolean
  returnOffsets?: boolean
  /** What offsets count: UTF-16 units, as JavaScript's strings, or code points, as Python's. Default 'utf16'. */
  offsetUnit?: 'utf16' | 'codepoint'
  /** Whether texts are lists of words; only to assert it, a list always is. */
  isSplitIntoWords?: boolean
}

export interface ResolvedEncodeOptions {
  addSpecialTokens: boolean
  strategy: TruncationStrategy
  /** Infinity if nothing is to be cut. */
  maxLength: number
  stride: number
  returnOverflowingTokens: boolean
  returnOffsets: boolean
  codePoints: boolean
  isSplitIntoWords: boolean | undefined
}

export const TOKEN: Check = ['a string that is not empty', (value) => typeof value === 'string' && value !== '']

/** `Array.from` makes undefined of holes, which `every` would not see. */
export const listOf = (what: string, accepts: (value: unknown) => boolean): Check => [
  `a list of ${what}`,
  (value) => Array.isArray(value) && Array.from(value).every(accepts),
]
export const TOKENS = listOf('strings', TOKEN[1])

const ENCODE_CHECKS: Record<keyof EncodeOptions, Check> = {
  addSpecialTokens: BOOLEAN,
  truncation: oneOf(true, false, 'longest_first', 'only_first', 'only_second'),
  maxLength: atLeast(1),
  stride: atLeast(0),
  returnOverflowingTokens: BOOLEAN,
  returnOffsets: BOOLEAN,
  offsetUnit: oneOf('utf16', 'codepoint'),
  isSplitIntoWords: BOOLEAN,
}

export const TOKENIZER_CHECKS: Record<keyof TokenizerOptions, Check> = {
  doLowerCase: BOOLEAN,
  stripAccents: oneOf(true, false, null),
  tokenizeChineseChars: BOOLEAN,
  cleanText: BOOLEAN,
  maxInputCharsPerWord: atLeast(1),
  modelMaxLength: ['an integer of at least 1, or Infinity', (value) => value === Infinity || atLeast(1)[1](value)],
  splitSpecialTokens: BOOLEAN,
  truncationSide: oneOf('left', 'right'),
  cleanUpTokenizationSpaces: BOOLEAN,
  additionalSpecialTokens: TOKENS,
  unkToken: TOKEN,
  sepToken: TOKEN,
  padToken: TOKEN,
  clsToken: TOKEN,
  maskToken: TOKEN,
}

const DECODE_CHECKS = { skipSpecialTokens: BOOLEAN, cleanUp: BOOLEAN }

export interface DecodeOptions {
  /** Default false. */
  skipSpecialTokens?: boolean
  /**
   * Remove spaces across tokens, too, as in contractions: `it's` instead of `it ' s`. The space before a full stop, a comma, a question
   * or an exclamation mark goes in any case. Default: the tokenizer's `cleanUpTokenizationSpaces`.
   */
  cleanUp?: boolean
}

export function resolveDecodeOptions(options: DecodeOptions, cleanUp: boolean): Required<DecodeOptions> {
  checkOptions('decode', options, DECODE_CHECKS)
  return { skipSpecialTokens: options.skipSpecialTokens ?? false, cleanUp: options.cleanUp ?? cleanUp }
}

/** Fills in defaults as Transformers does: `maxLength` alone asks for truncation, truncation alone cuts to the model's limit. */
export function resolveEncodeOptions(options: EncodeOptions, modelMaxLength: number): ResolvedEncodeOptions {
  checkOptions('encode', options, ENCODE_CHECKS)
  const { truncation = options.maxLength !== undefined } = options
  return {
    addSpecialTokens: options.addSpecialTokens ?? true,
    strategy: typeof truncation === 'string' ? truncation : 'longest_first',
    maxLength: truncation === false ? Number.POSITIVE_INFINITY : (options.maxLength ?? modelMaxLength),
    stride: truncation === false ? 0 : (options.stride ?? 0),
    returnOverflowingTokens: options.returnOverflowingTokens ?? false,
    returnOffsets: options.returnOffsets ?? false,
    codePoints: options.offsetUnit === 'codepoint',
    isSplitIntoWords: options.isSplitIntoWords,
  }
}

/** What a folder says, with the user's options before it. */
export function withOptions(folder: TokenizerFolder, options: TokenizerOptions): TokenizerFolder {
  checkOptions('BertTokenizer', options, TOKENIZER_CHECKS)
  const { unkToken, sepToken, padToken, clsToken, maskToken, additionalSpecialTokens = [], ...given } = options
  const special = defined({ unkToken, sepToken, padToken, clsToken, maskToken })
  return {
    ...folder,
    ...defined(given),
    special: { ...folder.special, ...special },
    furtherTokens: [...folder.furtherTokens, ...additionalSpecialTokens],
  }
}
