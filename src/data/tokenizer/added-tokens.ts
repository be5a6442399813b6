// Tokens that are found in the text before it is split into words: [MASK] and what users add.
import { characterAt, characterLength, unicodeData, WHITESPACE, WORD } from './unicode.ts'

/** A token matched as a whole; the fields are those of tokenizer.json's added_tokens. */
export interface AddedToken {
  id: number
  content: string
  /** Match only where no word character touches it. */
  singleWord: boolean
  /** Swallow the white space on its left. */
  lstrip: boolean
  /** Swallow the white space on its right. */
  rstrip: boolean
  /** Match in the normalised text instead of the original one. */
  normalized: boolean
  /** Left out by `decode` on request. */
  special: boolean
}

/** A token as special tokens are by default: found everywhere, as it is written. */
export const specialToken = (content: string): Omit<AddedToken, 'id'> => ({
  content,
  singleWord: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
})

export interface Match {
  token: AddedToken
  start: number
  end: number
}

interface Node {
  next: Map<number, Node>
  token?: AddedToken
}

/**
 * Finds added tokens from left to right, the longest one at each place, without overlaps; as the Rust library's
 * src/tokenizer/added_vocabulary.rs. Linear in the text for tokens of bounded length.
 */
export class AddedTokenMatcher {
  readonly #kinds = unicodeData().kinds
  readonly #root: Node = { next: new Map() }
  /** The only unit that tokens start with, if there is only one. */
  readonly #first: string | undefined

  readonly #splitsSpecial: boolean

  /**
   * `patterns`: what to look for, and the token that it stands for; empty ones are never found. With `splitsSpecial` special ones are
   * passed over, together with what overlaps them.
   */
  constructor(patterns: Iterable<[string, AddedToken]>, splitsSpecial: boolean) {
    this.#splitsSpecial = splitsSpecial
    for (const [pattern, token] of patterns) {
      if (pattern.length === 0) continue
      let node = this.#root
      for (let i = 0; i < pattern.length; i++) {
        const unit = pattern.charCodeAt(i)
        let next = node.next.get(unit)
        if (next === undefined) {
          next = { next: new Map() }
          node.next.set(unit, next)
        }
        node = next
      }
      node.token = token
    }
    const starts = [...this.#root.next.keys()]
    if (starts.length === 1) this.#first = String.fromCharCode(starts[0])
  }

  get isEmpty(): boolean {
    return this.#root.next.size === 0
  }

  /** The first match in `text[from, ...)`, widened by the white space that its token swallows (but not before `from`). */
  next(text: string, from: number): Match | null {
    for (let at = this.#candidate(text, from); at >= 0 && at < text.length; at = this.#candidate(text, at)) {
      const match = this.#longest(text, at)
      if (match === null) at++
      else if (this.#isPassedOver(text, match)) at = match.end
      else return this.#widen(text, match, from)
    }
    return null
  }

  #candidate(text: string, from: number): number {
    if (this.#first !== undefined) return text.indexOf(this.#first, from)
    let at = from
    while (at < text.length && !this.#root.next.has(text.charCodeAt(at))) at++
    return at
  }

  #longest(text: string, start: number): Match | null {
    let match: Match | null = null
    let node: Node | undefined = this.#root
    for (let at = start; at < text.length; at++) {
      node = node.next.get(text.charCodeAt(at))
      if (node === undefined) break
      if (node.token !== undefined) match = { token: node.token, start, end: at + 1 }
    }
    return match
  }

  #isPassedOver(text: string, match: Match): boolean {
    const { special, singleWord } = match.token
    return (special && this.#splitsSpecial) || (singleWord && this.#touchesWord(text, match))
  }

  #touchesWord(text: string, { start, end }: Match): boolean {
    return (this.#kindBefore(text, start) & WORD) !== 0 || (this.#kindAt(text, end) & WORD) !== 0
  }

  #widen(text: string, { token, start, end }: Match, from: number): Match {
    if (token.lstrip) while (start > from && (this.#kindBefore(text, start) & WHITESPACE) !== 0) start--
    if (token.rstrip) while ((this.#kindAt(text, end) & WHITESPACE) !== 0) end++
    return { token, start, end }
  }

  #kindAt(text: string, at: number): number {
    return at < text.length ? this.#kinds[characterAt(text, at, characterLength(text, at))] : 0
  }

  #kindBefore(text: string, at: number): number {
    if (at === 0) return 0
    const pair = at > 1 && characterLength(text, at - 2) === 2
    return this.#kindAt(text, pair ? at - 2 : at - 1)
  }
}
