// How often each word of a text occurs, in bounded memory.
import { NormalizedText, Normalizer, type NormalizerOptions } from './normalizer.ts'
import { wordEnd } from './pre-tokenizer.ts'
import {
  characterAt,
  characterLength,
  DECOMPOSES,
  DROPPED,
  IDEOGRAPH,
  PUNCTUATION,
  RANK,
  unicodeData,
  WHITESPACE,
} from './unicode.ts'

/** Different words that are kept before rare ones go: about 150 MB. */
const MAX_WORDS = 2 ** 20
/** Code points. A longer word is left out: no tokenizer will know it, and it would cost time quadratic in its length. */
export const MAX_WORD_LENGTH = 1000
/** UTF-16 units that are normalised at a time, in about a millisecond. */
const SPAN = 2 ** 13
/** Words between two looks at the clock. */
const WORDS_AT_A_TIME = 1024

/** Give the event loop its turn when one is due; called between small pieces of work. */
export type Pause = () => Promise<void> | undefined

/** Counts words as BERT's normaliser and pre-tokenizer make them. Special tokens in the text are text. */
export class WordCounter {
  /** How often each word came. */
  readonly counts = new Map<string, number>()
  /** All words, repeated ones and those that are not kept included. */
  words = 0
  /** The word that the span before has not ended: its characters, as long as it can be kept, and how many it has. */
  #word = ''
  #length = 0
  readonly #normalizer: Normalizer
  readonly #normalized = new NormalizedText()
  readonly #kinds = unicodeData().kinds
  readonly #maxWords: number
  readonly #border: number
  readonly #noBorder: number

  constructor(options: NormalizerOptions, maxWords = MAX_WORDS) {
    this.#normalizer = new Normalizer(options)
    this.#maxWords = maxWords
    this.#border = WHITESPACE | PUNCTUATION | (options.tokenizeChineseChars ? IDEOGRAPH : 0)
    this.#noBorder = options.cleanText ? DROPPED : 0
  }

  /**
   * Counts the words of a text. Where there are more than `maxWords` different ones, the rarest so far are forgotten until half
   * of that is left: what is kept depends on the texts and their order alone.
   */
  async add(text: string, pause: Pause): Promise<void> {
    for (let at = 0; at < text.length; ) {
      const end = this.#spanEnd(text, at)
      this.#normalizer.normalize(text, at, end, this.#normalized)
      this.#countWords()
      at = end
      if (at === text.length) this.#endWord()
      if (this.counts.size > this.#maxWords) await this.#forgetRareWords(pause)
      const due = pause()
      if (due !== undefined) await due
    }
    this.#normalized.clear()
  }

  /**
   * Where a span from `from` on ends, so that spans have the characters of the whole text: behind one that ends a word; if none comes
   * soon, before one that marks are not moved across. Only a run of nothing but marks has no end in between.
   */
  #spanEnd(text: string, from: number): number {
    for (let at = from + SPAN; at < text.length; at++) {
      const kind = this.#kinds[text.charCodeAt(at)]
      if ((kind & this.#border) !== 0 && (kind & this.#noBorder) === 0) return at + 1
      if (at >= from + 2 * SPAN && this.#isBase(text, at)) return at
    }
    return text.length
  }

  /** Whether a character starts at `at` that stays where it is, together with all that follows it. */
  #isBase(text: string, at: number): boolean {
    // the second half of a pair reads as U+FFFD, which is dropped
    const kind = this.#kinds[characterAt(text, at, characterLength(text, at))]
    return kind >>> RANK === 0 && (kind & (DROPPED | DECOMPOSES)) === 0
  }

  /** Counts the words of a span; one that goes on behind it is kept for the next. */
  #countWords(): void {
    const { codes, length } = this.#normalized
    for (let at = 0, end = 0; at < length; at = Math.max(end, at + 1)) {
      const isBorder = (this.#kinds[codes[at]] & (WHITESPACE | PUNCTUATION)) !== 0
      if (isBorder) this.#endWord()
      end = wordEnd(this.#kinds, codes, at, length)
      this.#length += end - at
      if (this.#length <= MAX_WORD_LENGTH) for (let i = at; i < end; i++) this.#word += String.fromCodePoint(codes[i])
      if (isBorder || end < length) this.#endWord()
    }
  }

  #endWord(): void {
    if (this.#length === 0) return
    this.words++
    if (this.#length <= MAX_WORD_LENGTH) this.counts.set(this.#word, (this.counts.get(this.#word) ?? 0) + 1)
    this.#word = ''
    this.#length = 0
  }

  async #forgetRareWords(pause: Pause): Promise<void> {
    for (let most = 1; this.counts.size > this.#maxWords / 2; most++) {
      let seen = 0
      for (const [word, count] of this.counts) {
        if (count <= most) this.counts.delete(word)
        if (++seen % WORDS_AT_A_TIME === 0) await pause()
      }
    }
  }
}
