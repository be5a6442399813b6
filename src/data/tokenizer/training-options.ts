// Options of BertTokenizer.train, checked and filled in.
import { ArgumentError } from '../../errors.ts'
import { quote } from '../../json.ts'
import { atLeast, type Check, checkOptions } from '../../options.ts'
import { DEFAULT_SPECIAL, type SpecialTokens } from './files.ts'
import { listOf, TOKENIZER_CHECKS, TOKENS, type TokenizerOptions } from './options.ts'
import type { TokenizerTrainingProgress, WordPieceTrainerOptions } from './trainer.ts'

/** How a tokenizer is trained, and how it is built then; the defaults are those of `WordPieceTrainer` and BertWordPieceTokenizer. */
export interface TrainTokenizerOptions extends Omit<TokenizerOptions, 'additionalSpecialTokens'> {
  /** Tokens of the vocabulary, special ones and characters included; fewer if the texts do not have as many. Default 30,000. */
  vocabSize?: number
  /** Only pairs of pieces that are seen at least this often are joined. Default 0: all are. */
  minFrequency?: number
  /** Distinct characters to keep at most, the most frequent first. Default 1,000. */
  limitAlphabet?: number
  /** Characters that the vocabulary has before others, in the texts or not; default none. */
  initialAlphabet?: readonly string[]
  /**
   * The first tokens of the vocabulary, in this order; default `padToken`, `unkToken`, `clsToken`, `sepToken`, `maskToken`, which it has
   * to hold. Texts are not searched for them.
   */
  specialTokens?: readonly string[]
  /** Called a few times in every second, and after each stage. */
  onProgress?: (progress: TokenizerTrainingProgress) => void
  /** Stops the training with an AbortedError. */
  signal?: AbortSignal
}

const DEFAULTS = { vocabSize: 30_000, minFrequency: 0, limitAlphabet: 1000 }
/** Of the vocabulary, padding first, as in the vocabularies of BERT. */
const ORDER = ['padToken', 'unkToken', 'clsToken', 'sepToken', 'maskToken'] as const satisfies (keyof SpecialTokens)[]

const isCharacter = (value: unknown): boolean =>
  typeof value === 'string' && [...value].length === 1 && !/\p{Surrogate}/u.test(value)

const { additionalSpecialTokens: _, ...tokenizerChecks } = TOKENIZER_CHECKS
const CHECKS: Record<keyof TrainTokenizerOptions, Check> = {
  ...tokenizerChecks,
  vocabSize: atLeast(1),
  minFrequency: atLeast(0),
  limitAlphabet: atLeast(1),
  initialAlphabet: listOf('single characters', isCharacter),
  specialTokens: TOKENS,
  onProgress: ['a function', (value) => typeof value === 'function'],
  signal: ['an AbortSignal', (value) => value instanceof AbortSignal],
}

/** What the trainer needs, and what the tokenizer of its vocabulary is built with. @throws ArgumentError */
export function resolveTrainTokenizerOptions(options: TrainTokenizerOptions): {
  trainer: WordPieceTrainerOptions
  tokenizer: TokenizerOptions
} {
  checkOptions('BertTokenizer.train', options, CHECKS)
  const { vocabSize, minFrequency, limitAlphabet, initialAlphabet, specialTokens, onProgress, signal, ...tokenizer } =
    options
  const named = ORDER.map((name) => tokenizer[name] ?? DEFAULT_SPECIAL[name])
  const special = specialTokens ?? named
  const missing = named.find((token) => !special.includes(token))
  if (missing !== undefined) {
    throw new ArgumentError(`Expected specialTokens to have ${missing} among them but received ${quote(special)}`)
  }
  return {
    trainer: {
      vocabSize: vocabSize ?? DEFAULTS.vocabSize,
      minFrequency: minFrequency ?? DEFAULTS.minFrequency,
      limitAlphabet: limitAlphabet ?? DEFAULTS.limitAlphabet,
      initialAlphabet: initialAlphabet ?? [],
      specialTokens: special,
      normalizer: {
        cleanText: tokenizer.cleanText ?? true,
        tokenizeChineseChars: tokenizer.tokenizeChineseChars ?? true,
        stripAccents: tokenizer.stripAccents ?? null,
        doLowerCase: tokenizer.doLowerCase ?? true,
      },
      onProgress,
      signal,
    },
    tokenizer: { ...tokenizer, additionalSpecialTokens: special.filter((token) => !named.includes(token)) },
  }
}
