// WordPiece: greedy longest-match-first over a trie of the vocabulary.

/** Where the pieces of a word go; `start` and `end` are positions in the characters given to `tokenize`. */
export interface PieceSink {
  readonly length: number
  push(id: number, start: number, end: number): void
  /** Forgets the pieces after the first `length`. */
  rewind(length: number): void
}

const NONE = -1
const WORD_START = 0
const CONTINUATION = 1

/** A power of two, at least twice as many as `nodes`. */
const slotsFor = (nodes: number) => 2 ** Math.ceil(Math.log2(nodes * 2))

const hashOf = (node: number, code: number): number => {
  const hash = Math.imul(node, 0x9e3779b1) ^ Math.imul(code, 0x85ebca6b)
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return mixed ^ (mixed >>> 13)
}

/** Two tries in one: from WORD_START every token, from CONTINUATION those with the prefix, without it. */
class VocabularyTrie {
  readonly #parents: Int32Array
  readonly #codes: Int32Array
  readonly #ids: Int32Array
  /** Open addressing: node number + 1, 0 is free. */
  readonly #slots: Int32Array

  /** One loop over local variables: it runs once, mostly before the engine has compiled it well. */
  constructor(vocabulary: ReadonlyMap<string, number>, prefix: string) {
    let most = 2
    for (const token of vocabulary.keys()) most += token.length * (token.startsWith(prefix) ? 2 : 1)
    const parents = new Int32Array(most)
    const codes = new Int32Array(most)
    const ids = new Int32Array(most).fill(NONE)
    const slots = new Int32Array(slotsFor(most))
    const mask = slots.length - 1
    let count = 2
    for (const [token, id] of vocabulary) {
      const isContinuation = token.length > prefix.length && token.startsWith(prefix)
      for (let root = WORD_START; root <= (isContinuation ? CONTINUATION : WORD_START); root++) {
        let node = root
        for (let at = root === CONTINUATION ? prefix.length : 0; at < token.length; ) {
          const code = token.codePointAt(at)!
          at += code > 0xffff ? 2 : 1
          let slot = hashOf(node, code) & mask
          let next = slots[slot] - 1
          while (next !== NONE && (parents[next] !== node || codes[next] !== code)) {
            slot = (slot + 1) & mask
            next = slots[slot] - 1
          }
          if (next === NONE) {
            next = count++
            parents[next] = node
            codes[next] = code
            slots[slot] = next + 1
          }
          node = next
        }
        if (node !== root) ids[node] = id
      }
    }
    // gives back the room that shared beginnings did not need, which also keeps lookups nearer to each other
    this.#parents = parents.slice(0, count)
    this.#codes = codes.slice(0, count)
    this.#ids = ids.slice(0, count)
    this.#slots = new Int32Array(slotsFor(count))
    const lastSlot = this.#slots.length - 1
    for (let node = CONTINUATION + 1; node < count; node++) {
      let slot = hashOf(parents[node], codes[node]) & lastSlot
      while (this.#slots[slot] !== 0) slot = (slot + 1) & lastSlot
      this.#slots[slot] = node + 1
    }
  }

  /** NONE where there is none. */
  child(node: number, code: number): number {
    const mask = this.#slots.length - 1
    for (let slot = hashOf(node, code) & mask; ; slot = (slot + 1) & mask) {
      const found = this.#slots[slot] - 1
      if (found === NONE || (this.#parents[found] === node && this.#codes[found] === code)) return found
    }
  }

  /** The token that ends at `node`, or NONE. */
  id(node: number): number {
    return this.#ids[node]
  }
}

/**
 * Splits words into vocabulary pieces (Wu et al. 2016; the Rust library's src/models/wordpiece/mod.rs): the longest piece
 * that fits, again and again; a word that cannot be covered, or is longer than `maxInputCharsPerWord` code points, is one unknown token.
 */
export class WordPiece {
  readonly #trie: VocabularyTrie
  readonly #unknown: number
  readonly #maxChars: number

  constructor(
    vocabulary: ReadonlyMap<string, number>,
    prefix: string,
    unknownId: number,
    maxInputCharsPerWord: number,
  ) {
    this.#trie = new VocabularyTrie(vocabulary, prefix)
    this.#unknown = unknownId
    this.#maxChars = maxInputCharsPerWord
  }

  /** Appends the pieces of the word `codes[start, end)` to `sink`. */
  tokenize(codes: Int32Array, start: number, end: number, sink: PieceSink): void {
    if (end - start > this.#maxChars) {
      sink.push(this.#unknown, start, end)
      return
    }
    const before = sink.length
    for (let at = start; at < end; ) {
      let id = NONE
      let stop = at
      let node = at === start ? WORD_START : CONTINUATION
      for (let i = at; i < end; i++) {
        node = this.#trie.child(node, codes[i])
        if (node === NONE) break
        const found = this.#trie.id(node)
        if (found !== NONE) {
          id = found
          stop = i + 1
        }
      }
      if (id === NONE) {
        sink.rewind(before)
        sink.push(this.#unknown, start, end)
        return
      }
      sink.push(id, at, stop)
      at = stop
    }
  }
}
