// From a text to its tokens: added tokens, normalisation, words, pieces.
import { type AddedToken, AddedTokenMatcher } from './added-tokens.ts'
import { TokenList } from './encoding.ts'
import { NormalizedText, Normalizer, type NormalizerOptions } from './normalizer.ts'
import { wordEnd } from './pre-tokenizer.ts'
import { characterLength, unicodeData } from './unicode.ts'
import { type PieceSink, WordPiece } from './word-piece.ts'

/** All that decides which tokens a text has. */
export interface TokenizerSpec {
  normalizer: NormalizerOptions
  /** Pieces and their ids, without added tokens that are no pieces. */
  vocabulary: Map<string, number>
  addedTokens: AddedToken[]
  /** Of these, special ones that have a name beside BERT's five, by the key that files have for it. */
  namedTokens: ReadonlyMap<string, string>
  /** Special tokens in a text are text. */
  splitSpecialTokens: boolean
  unkToken: string
  continuingSubwordPrefix: string
  maxInputCharsPerWord: number
}

/** Appends pieces to a token list, giving each the place of its characters in the text. */
class Collector implements PieceSink {
  readonly normalized = new NormalizedText()
  list = new TokenList()
  text = ''
  /** The number that the next word gets, and what is added to it after each word. */
  word = 0
  step = 1

  get length(): number {
    return this.list.length
  }

  push(id: number, start: number, end: number): void {
    const last = this.normalized.starts[end - 1]
    this.list.push(id, this.word, this.normalized.starts[start], last + characterLength(this.text, last))
  }

  rewind(length: number): void {
    this.list.length = length
  }
}

/** Splits texts into tokens as the Rust library `tokenizers` 0.23 does with BERT's components. Not reentrant. */
export class Pipeline {
  readonly #normalizer: Normalizer
  readonly #wordPiece: WordPiece
  readonly #kinds = unicodeData().kinds
  readonly #literal: AddedTokenMatcher
  readonly #normalizedTokens: AddedTokenMatcher
  readonly #collector = new Collector()

  constructor(spec: TokenizerSpec, unkTokenId: number) {
    this.#normalizer = new Normalizer(spec.normalizer)
    this.#wordPiece = new WordPiece(
      spec.vocabulary,
      spec.continuingSubwordPrefix,
      unkTokenId,
      spec.maxInputCharsPerWord,
    )
    const tokens = spec.addedTokens
    this.#literal = new AddedTokenMatcher(
      tokens.filter((each) => !each.normalized).map((each) => [each.content, each]),
      spec.splitSpecialTokens,
    )
    this.#normalizedTokens = new AddedTokenMatcher(
      tokens.filter((each) => each.normalized).map((each) => [this.normalize(each.content), each]),
      spec.splitSpecialTokens,
    )
  }

  /**
   * Appends the tokens of `text` to `list`, with offsets in UTF-16 units. Words are numbered from 0, or all get
   * `wordNumber`. Takes time linear in the text.
   */
  tokenize(text: string, list: TokenList, wordNumber: number | null = null): void {
    const collector = this.#collector
    collector.text = text
    collector.list = list
    collector.word = wordNumber ?? 0
    collector.step = wordNumber === null ? 1 : 0
    for (let at = 0; at < text.length; ) {
      const match = this.#literal.next(text, at)
      const end = match === null ? text.length : match.start
      if (end > at) this.#tokenizeSpan(at, end)
      if (match !== null) {
        list.push(match.token.id, collector.word, match.start, match.end)
        collector.word += collector.step
      }
      at = match === null ? text.length : match.end
    }
    collector.normalized.clear()
    collector.text = ''
  }

  #tokenizeSpan(from: number, to: number): void {
    const collector = this.#collector
    const { normalized } = collector
    this.#normalizer.normalize(collector.text, from, to, normalized)
    if (this.#normalizedTokens.isEmpty) {
      this.#tokenizeWords(0, normalized.length)
      return
    }
    const { text, places } = asText(normalized)
    for (let at = 0; at < text.length; ) {
      const match = this.#normalizedTokens.next(text, at)
      const end = match === null ? text.length : match.start
      this.#tokenizeWords(places[at], places[end])
      if (match !== null) {
        collector.push(match.token.id, places[match.start], places[match.end])
        collector.word += collector.step
      }
      at = match === null ? text.length : match.end
    }
  }

  #tokenizeWords(from: number, to: number): void {
    const collector = this.#collector
    const { codes } = collector.normalized
    const kinds = this.#kinds
    for (let at = from, end = from; at < to; at = Math.max(end, at + 1)) {
      end = wordEnd(kinds, codes, at, to)
      if (end === at) continue
      this.#wordPiece.tokenize(codes, at, end, collector)
      collector.word += collector.step
    }
  }

  /** The normalised form of a text. */
  normalize(text: string): string {
    const { normalized } = this.#collector
    this.#normalizer.normalize(text, 0, text.length, normalized)
    return asText(normalized).text
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
