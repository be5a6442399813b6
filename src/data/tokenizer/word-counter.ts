// How often each word of a text occurs, in bounded memory.
import { NormalizedText, Normalizer, type NormalizerOptions } from './normalizer.ts'
import { wordEnd } from './pre-tokenizer.ts'
import { DROPPED, IDEOGRAPH, PUNCTUATION, unicodeData, WHITESPACE } from './unicode.ts'

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
      if (this.counts.size > this.#maxWords) await this.#forgetRareWords(pause)
      const due = pause()
      if (due !== undefined) await due
    }
    this.#normalized.clear()
  }

  /** Somewhere after `from`, behind a character that ends a word whatever follows: the words are those of the whole text. */
  #spanEnd(text: string, from: number): number {
    for (let at = from + SPAN; at < text.length; at++) {
      const kind = this.#kinds[text.charCodeAt(at)]
      if ((kind & this.#border) !== 0 && (kind & this.#noBorder) === 0) return at + 1
    }
    return text.length
  }

  #countWords(): void {
    const { codes, length } = this.#normalized
    for (let at = 0, end = 0; at < length; at = Math.max(end, at + 1)) {
      end = wordEnd(this.#kinds, codes, at, length)
      if (end === at) continue
      this.words++
      if (end - at > MAX_WORD_LENGTH) continue
      let word = ''
      for (let i = at; i < end; i++) word += String.fromCodePoint(codes[i])
      this.counts.set(word, (this.counts.get(word) ?? 0) + 1)
    }
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
