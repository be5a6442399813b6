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

/** At least twice as many as `nodes`, a power of two. */
const freeSlots = (nodes: number) => new Int32Array(2 ** Math.ceil(Math.log2(nodes * 2)))

/** Two tries in one: from WORD_START every token, from CONTINUATION those with the prefix, without it. */
class VocabularyTrie {
  #count = 2
  #parents: Int32Array
  #codes: Int32Array
  #ids: Int32Array
  /** Open addressing: node number + 1, 0 is free. */
  #slots: Int32Array

  /** Room for `nodes` nodes. */
  constructor(nodes: number) {
    this.#parents = new Int32Array(nodes + 2)
    this.#codes = new Int32Array(nodes + 2)
    this.#ids = new Int32Array(nodes + 2).fill(NONE)
    this.#slots = freeSlots(nodes + 2)
  }

  /** Gives back the room that shared beginnings did not need, which also keeps lookups nearer to each other. */
  compact(): void {
    this.#parents = this.#parents.slice(0, this.#count)
    this.#codes = this.#codes.slice(0, this.#count)
    this.#ids = this.#ids.slice(0, this.#count)
    this.#slots = freeSlots(this.#count)
    for (let node = CONTINUATION + 1; node < this.#count; node++) {
      this.#slots[this.#slot(this.#parents[node], this.#codes[node])] = node + 1
    }
  }

  add(root: number, text: string, id: number): void {
    let node = root
    for (let at = 0; at < text.length; ) {
      const code = text.codePointAt(at)!
      at += code > 0xffff ? 2 : 1
      const slot = this.#slot(node, code)
      let next = this.#slots[slot] - 1
      if (next === NONE) {
        next = this.#count++
        this.#parents[next] = node
        this.#codes[next] = code
        this.#slots[slot] = next + 1
      }
      node = next
    }
    this.#ids[node] = id
  }

  child(node: number, code: number): number {
    return this.#slots[this.#slot(node, code)] - 1
  }

  /** The token that ends at `node`, or NONE. */
  id(node: number): number {
    return this.#ids[node]
  }

  #slot(node: number, code: number): number {
    const mask = this.#slots.length - 1
    let hash = Math.imul(node, 0x9e3779b1) ^ Math.imul(code, 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
    let slot = (hash ^ (hash >>> 13)) & mask
    for (; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const found = this.#slots[slot] - 1
      if (this.#parents[found] === node && this.#codes[found] === code) break
    }
    return slot
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
    let nodes = 0
    for (const token of vocabulary.keys()) nodes += token.length * (token.startsWith(prefix) ? 2 : 1)
    this.#trie = new VocabularyTrie(nodes)
    for (const [token, id] of vocabulary) {
      if (token.length === 0) continue
      this.#trie.add(WORD_START, token, id)
      if (token.startsWith(prefix) && token.length > prefix.length) {
        this.#trie.add(CONTINUATION, token.slice(prefix.length), id)
      }
    }
    this.#trie.compact()
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
