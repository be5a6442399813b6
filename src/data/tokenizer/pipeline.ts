// From a text to its tokens: added tokens, normalisation, words, pieces.
import { type AddedToken, AddedTokenMatcher } from './added-tokens.ts'
import type { TokenList } from './encoding.ts'
import { NormalizedText, Normalizer, type NormalizerOptions } from './normalizer.ts'
import { characterLength, PUNCTUATION, unicodeData, WHITESPACE } from './unicode.ts'
import { type PieceSink, WordPiece } from './word-piece.ts'

/** All that decides which tokens a text has. */
export interface TokenizerSpec {
  normalizer: NormalizerOptions
  /** Pieces and their ids, without added tokens that are no pieces. */
  vocabulary: Map<string, number>
  addedTokens: AddedToken[]
  unkToken: string
  continuingSubwordPrefix: string
  maxInputCharsPerWord: number
}

/** Appends pieces to a token list, giving each the place of its characters in the text. */
class Collector implements PieceSink {
  list: TokenList
  /** The number that the next word gets. */
  word = 0
  text = ''
  normalized = new NormalizedText()

  constructor(list: TokenList) {
    this.list = list
  }

  get length(): number {
    return this.list.ids.length
  }

  push(id: number, start: number, end: number): void {
    const last = this.normalized.starts[end - 1]
    this.place(id, this.normalized.starts[start], last + characterLength(this.text, last))
  }

  place(id: number, start: number, end: number): void {
    this.list.ids.push(id)
    this.list.words.push(this.word)
    this.list.starts.push(start)
    this.list.ends.push(end)
  }

  rewind(length: number): void {
    const { ids, words, starts, ends } = this.list
    ids.length = words.length = starts.length = ends.length = length
  }
}

/** Splits texts into tokens as the Rust library `tokenizers` 0.23 does with BERT's components. Not reentrant. */
export class Pipeline {
  readonly #normalizer: Normalizer
  readonly #wordPiece: WordPiece
  readonly #kinds = unicodeData().kinds
  readonly #literal: AddedTokenMatcher
  readonly #normalizedTokens: AddedTokenMatcher
  readonly #scratch = new NormalizedText()

  constructor(spec: TokenizerSpec, unkTokenId: number) {
    this.#normalizer = new Normalizer(spec.normalizer)
    this.#wordPiece = new WordPiece(
      spec.vocabulary,
      spec.continuingSubwordPrefix,
      unkTokenId,
      spec.maxInputCharsPerWord,
    )
    const tokens = spec.addedTokens
    this.#literal = new AddedTokenMatcher(tokens.filter((each) => !each.normalized).map((each) => [each.content, each]))
    this.#normalizedTokens = new AddedTokenMatcher(
      tokens.filter((each) => each.normalized).map((each) => [this.#normalize(each.content), each]),
    )
  }

  /**
   * Appends the tokens of `text` to `list`, with offsets in UTF-16 units. Words are numbered from 0, or all get
   * `wordNumber`. Takes time linear in the text.
   */
  tokenize(text: string, list: TokenList, wordNumber: number | null = null): void {
    const collector = new Collector(list)
    collector.text = text
    collector.normalized = this.#scratch
    collector.word = wordNumber ?? 0
    const step = wordNumber === null ? 1 : 0
    for (let at = 0; at < text.length; ) {
      const match = this.#literal.next(text, at)
      const end = match === null ? text.length : match.start
      if (end > at) this.#tokenizeSpan(at, end, collector, step)
      if (match !== null) {
        collector.place(match.token.id, match.start, match.end)
        collector.word += step
      }
      at = match === null ? text.length : match.end
    }
    this.#scratch.clear()
  }

  #tokenizeSpan(from: number, to: number, collector: Collector, step: number): void {
    const { normalized } = collector
    this.#normalizer.normalize(collector.text, from, to, normalized)
    if (this.#normalizedTokens.isEmpty) {
      this.#tokenizeWords(0, normalized.length, collector, step)
      return
    }
    const { text, places } = asText(normalized)
    for (let at = 0; at < text.length; ) {
      const match = this.#normalizedTokens.next(text, at)
      const end = match === null ? text.length : match.start
      this.#tokenizeWords(places[at], places[end], collector, step)
      if (match !== null) {
        collector.push(match.token.id, places[match.start], places[match.end])
        collector.word += step
      }
      at = match === null ? text.length : match.end
    }
  }

  /** Splits characters `[from, to)` at white space and around punctuation (src/pre_tokenizers/bert.rs of the library). */
  #tokenizeWords(from: number, to: number, collector: Collector, step: number): void {
    const { codes } = collector.normalized
    const kinds = this.#kinds
    for (let at = from; at < to; ) {
      const kind = kinds[codes[at]]
      const start = at++
      if ((kind & WHITESPACE) !== 0) continue
      if ((kind & PUNCTUATION) === 0) {
        while (at < to && (kinds[codes[at]] & (WHITESPACE | PUNCTUATION)) === 0) at++
      }
      this.#wordPiece.tokenize(codes, start, at, collector)
      collector.word += step
    }
  }

  #normalize(text: string): string {
    this.#normalizer.normalize(text, 0, text.length, this.#scratch)
    return asText(this.#scratch).text
  }
}

/** Normalised characters as a string, and the character that each of its units, and its end, belongs to. */
function asText(normalized: NormalizedText): { text: string; places: Int32Array } {
  const { codes, length } = normalized
  const places = new Int32Array(length * 2 + 1)
  let text = ''
  for (let i = 0; i < length; i++) {
    const start = text.length
    text += String.fromCodePoint(codes[i])
    places.fill(i, start, text.length)
  }
  places[text.length] = length
  return { text, places }
}
