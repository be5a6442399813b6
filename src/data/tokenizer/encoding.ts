// What `encode` gives back, put together from the tokens of one or two sequences.
import type { Window, Windows } from './truncation.ts'

/** The tokens of a text or a pair. All lists have one entry for each token. */
export interface Encoding {
  inputIds: number[]
  /** 0 for the first sequence and its special tokens, 1 for the second. */
  tokenTypeIds: number[]
  attentionMask: number[]
  /** 1 where the tokenizer added a special token; one that stands in the text itself is not marked. */
  specialTokensMask: number[]
  /** The word of its sequence that a token is part of; null for special tokens. */
  wordIds: (number | null)[]
  /** 0 or 1; null for special tokens. */
  sequenceIds: (number | null)[]
  /** [start, end) in the text (in the word, if words were given); [0, 0] for special tokens. With `returnOffsets`. */
  offsets?: [number, number][]
  /** What did not fit, with the same special tokens around. With `returnOverflowingTokens`. */
  overflowing?: Encoding[]
}

/** The tokens of one sequence: ids, word numbers, and offsets. */
export class TokenList {
  length = 0
  ids = new Int32Array(256)
  words = new Int32Array(256)
  starts = new Int32Array(256)
  ends = new Int32Array(256)

  push(id: number, word: number, start: number, end: number): void {
    if (this.length === this.ids.length) this.#resize(this.length * 2)
    this.ids[this.length] = id
    this.words[this.length] = word
    this.starts[this.length] = start
    this.ends[this.length++] = end
  }

  /** Empties it; memory taken by an unusually long text is given back. */
  clear(): void {
    this.length = 0
    if (this.ids.length > KEPT_CAPACITY) this.#resize(KEPT_CAPACITY)
  }

  #resize(capacity: number): void {
    const resized = (old: Int32Array): Int32Array<ArrayBuffer> => {
      const array = new Int32Array(capacity)
      array.set(old.subarray(0, capacity))
      return array
    }
    this.ids = resized(this.ids)
    this.words = resized(this.words)
    this.starts = resized(this.starts)
    this.ends = resized(this.ends)
  }
}

const KEPT_CAPACITY = 1 << 16

export interface SpecialIds {
  cls: number
  sep: number
}

export interface Sequence {
  tokens: TokenList
  windows: Windows
}

/** Lists for `length` tokens, all of them taken for special ones of the first sequence. */
function blank(length: number, offsets: boolean): Encoding {
  return {
    inputIds: new Array<number>(length).fill(0),
    tokenTypeIds: new Array<number>(length).fill(0),
    attentionMask: new Array<number>(length).fill(1),
    specialTokensMask: new Array<number>(length).fill(1),
    wordIds: new Array<number | null>(length).fill(null),
    sequenceIds: new Array<number | null>(length).fill(null),
    ...(offsets ? { offsets: Array.from({ length }, (): [number, number] => [0, 0]) } : {}),
  }
}

function place(encoding: Encoding, at: number, tokens: TokenList, { from, to }: Window, sequence: number): void {
  const { inputIds, wordIds, offsets } = encoding
  for (let i = from, k = at; i < to; i++, k++) {
    inputIds[k] = tokens.ids[i]
    wordIds[k] = tokens.words[i]
  }
  const end = at + to - from
  encoding.tokenTypeIds.fill(sequence, at, end)
  encoding.specialTokensMask.fill(0, at, end)
  encoding.sequenceIds.fill(sequence, at, end)
  if (offsets === undefined) return
  for (let i = from, k = at; i < to; i++, k++) offsets[k] = [tokens.starts[i], tokens.ends[i]]
}

/**
 * `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`, without the special tokens if `special` is null. Overflowing encodings pair
 * every window of A with every window of B, in the order of the Rust library's `Encoding::merge_with`: each
 * overflowing window of A with all of B, then what stays of A with the overflowing ones of B.
 */
export function assemble(
  first: Sequence,
  second: Sequence | null,
  special: SpecialIds | null,
  { offsets, overflowing }: { offsets: boolean; overflowing: boolean },
): Encoding {
  const margin = special === null ? 0 : 1
  const build = (one: Window, two: Window | null): Encoding => {
    const middle = margin + one.to - one.from
    const start = middle + margin
    const end = two === null ? start : start + two.to - two.from + margin
    const encoding = blank(end, offsets)
    place(encoding, margin, first.tokens, one, 0)
    if (second !== null && two !== null) place(encoding, start, second.tokens, two, 1)
    if (special !== null) {
      encoding.inputIds[0] = special.cls
      encoding.inputIds[middle] = encoding.inputIds[end - 1] = special.sep
      if (two !== null) encoding.tokenTypeIds[end - 1] = 1
    }
    return encoding
  }
  const [kept, ...rest] = first.windows
  const pairs: (Window | null)[] = second === null ? [null] : second.windows
  const encoding = build(kept, pairs[0])
  if (overflowing) {
    encoding.overflowing = [
      ...rest.flatMap((window) => pairs.map((pair) => build(window, pair))),
      ...pairs.slice(1).map((pair) => build(kept, pair)),
    ]
  }
  return encoding
}
