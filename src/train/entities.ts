import { ArgumentError } from '../errors.ts'
import { mean } from './metrics/numbers.ts'
import { spansOf } from './metrics/spans.ts'

/** A thing that consecutive words name. */
export interface Entity {
  readonly type: string
  /** [start, end) in the text, in UTF-16 units. */
  readonly start: number
  readonly end: number
  /** The text from start to end. */
  readonly text: string
  /** Mean of its words' probabilities. */
  readonly score: number
}

/** A text and where its words are: [start, end) of each in UTF-16 units. */
export interface WordsOfText {
  readonly text: string
  readonly offsets: readonly (readonly [number, number])[]
}

/**
 * The text of words that were given without one: a space between each two, in Chinese too, where a word is a character. It is the
 * `delimiter` of Transformers' token-classification pipeline for input that is split into words.
 */
export function joinWords(words: readonly string[]): WordsOfText {
  let end = -1
  const offsets = words.map(({ length }): [number, number] => {
    const start = end + 1
    end = start + length
    return [start, end]
  })
  return { text: words.join(' '), offsets }
}

/** A tag with a prefix, or O: one of the schemes' letters, alone or before what separates it from the type. */
const PREFIXED = /^[BIOEMSLU](?![\p{L}\p{N}])/u
/** BILOU's letters for the last word and for the only one, as BIOES has them. */
const BIOES: Readonly<Record<string, string>> = { L: 'E', U: 'S' }

/** The tag as `spansOf` reads it. */
const inScheme = (tag: string): string => (PREFIXED.test(tag) ? (BIOES[tag[0]] ?? tag[0]) + tag.slice(1) : `I-${tag}`)

/**
 * The entities that the tags of a text's words name, by the rules of `spansOf`: BIO, BIOES, BMES or BILOU, and an I- that continues
 * nothing starts an entity. A tag without a prefix, such as PER, is taken as I-PER, as Transformers' pipeline does: the scores follow
 * seqeval there, to which P is the prefix, and L and U are letters without a meaning.
 *
 * @param tags one of each word
 * @param probabilities of each tag
 */
export function entitiesOf(
  { text, offsets }: WordsOfText,
  tags: readonly string[],
  probabilities: ArrayLike<number>,
): Entity[] {
  if (tags.length !== offsets.length || probabilities.length !== offsets.length)
    throw new ArgumentError(
      `Expected a tag and a probability for each of ${offsets.length} words but received ${tags.length} and ${probabilities.length}`,
    )
  return spansOf(tags.map(inScheme)).map((span) => {
    const start = offsets[span.start][0]
    const end = offsets[span.end - 1][1]
    const score = mean(Array.from({ length: span.end - span.start }, (_, i) => probabilities[span.start + i]))
    return { type: span.type, start, end, text: text.slice(start, end), score }
  })
}
