// Merges pairs of neighbouring symbols of words, the most frequent pair first, and keeps the counts of all pairs.
import { type Pair, PairQueue } from './pair-queue.ts'
import type { Pause } from './word-counter.ts'

/** Ids of symbols are below it, and a pair of them is an exact number. */
const ID_LIMIT = 2 ** 26
/** Words between two looks at the clock. */
const WORDS_AT_A_TIME = 64

/** Words as lists of symbols, each with how often it occurs. */
export class SymbolWords {
  length = 0
  counts = new Float64Array(1024)
  /** Of word i: `symbols[starts[i], ends[i])`; the room of a word is never given to another. */
  starts = new Int32Array(1024)
  ends = new Int32Array(1024)
  symbols = new Int32Array(8192)
  #used = 0

  /** Adds a word. One that cannot have a pair is left out. */
  push(symbols: readonly number[], count: number): void {
    if (symbols.length < 2) return
    if (this.length === this.starts.length) {
      this.counts = doubled(this.counts, Float64Array)
      this.starts = doubled(this.starts, Int32Array)
      this.ends = doubled(this.ends, Int32Array)
    }
    while (this.#used + symbols.length > this.symbols.length) this.symbols = doubled(this.symbols, Int32Array)
    this.symbols.set(symbols, this.#used)
    this.counts[this.length] = count
    this.starts[this.length] = this.#used
    this.#used += symbols.length
    this.ends[this.length++] = this.#used
  }
}

function doubled<Numbers extends Float64Array | Int32Array>(old: Numbers, kind: new (length: number) => Numbers) {
  const larger = new kind(old.length * 2)
  larger.set(old)
  return larger
}

/**
 * The loop of `BpeTrainer` of the Rust library `tokenizers` 0.23 (src/models/bpe/trainer.rs), which its WordPieceTrainer is.
 *
 * Merging goes through all words, so that equal stretches of text with no piece across their ends are always split alike. A piece is
 * therefore always made of the same two pieces, in one merge, and a pair comes into being only in the merge that makes the later one of
 * its two symbols: from then on its count falls, and the words in which it stands are known.
 */
export class Merger {
  readonly #words: SymbolWords
  readonly #pause: Pause
  readonly #queue = new PairQueue()
  /** Those that stand in some word. */
  readonly #pairs = new Map<number, Pair>()
  /** Those that are not queued yet. */
  #fresh: Pair[] = []

  constructor(words: SymbolWords, pause: Pause) {
    this.#words = words
    this.#pause = pause
  }

  /** Counts the pairs of all words. */
  async countPairs(): Promise<void> {
    const { counts, ends, length, starts, symbols } = this.#words
    for (let word = 0; word < length; word++) {
      for (let at = starts[word] + 1; at < ends[word]; at++)
        this.#raise(symbols[at - 1], symbols[at], counts[word], word)
      if (word % WORDS_AT_A_TIME === 0) await this.#pause()
    }
    this.#enqueue()
  }

  /** Takes out the pair that is to be merged next, the most frequent one; undefined if there is none. */
  next(): Pair | undefined {
    return this.#queue.pop()
  }

  /** Puts the symbol `merged` in the place of a pair in all words. */
  async merge({ left, right, words }: Pair, merged: number): Promise<void> {
    this.#pairs.delete(left * ID_LIMIT + right)
    for (let i = 0; i < words.length; i++) {
      this.#mergeIn(words[i], left, right, merged)
      if (i % WORDS_AT_A_TIME === 0) await this.#pause()
    }
    this.#enqueue()
  }

  #mergeIn(word: number, left: number, right: number, merged: number): void {
    const { counts, ends, starts, symbols } = this.#words
    const count = counts[word]
    const start = starts[word]
    const end = ends[word]
    let to = start
    for (let at = start; at < end; to++) {
      if (symbols[at] !== left || at + 1 === end || symbols[at + 1] !== right) {
        symbols[to] = symbols[at++]
        continue
      }
      at += 2
      if (to > start) {
        this.#lower(symbols[to - 1], left, count)
        this.#raise(symbols[to - 1], merged, count, word)
      }
      if (at < end) {
        this.#lower(right, symbols[at], count)
        this.#raise(merged, symbols[at], count, word)
      }
      symbols[to] = merged
    }
    ends[word] = to
  }

  #lower(left: number, right: number, count: number): void {
    const key = left * ID_LIMIT + right
    const pair = this.#pairs.get(key)
    if (pair === undefined) return
    pair.count -= count
    if (pair.count > 0) return
    this.#pairs.delete(key)
    pair.words = []
  }

  #raise(left: number, right: number, count: number, word: number): void {
    const key = left * ID_LIMIT + right
    let pair = this.#pairs.get(key)
    if (pair === undefined) {
      pair = { left, right, count: 0, priority: 0, words: [] }
      this.#pairs.set(key, pair)
      this.#fresh.push(pair)
    }
    pair.count += count
    if (pair.words[pair.words.length - 1] !== word) pair.words.push(word)
  }

  #enqueue(): void {
    for (const pair of this.#fresh) if (pair.count > 0) this.#queue.push(pair)
    this.#fresh = []
  }
}
