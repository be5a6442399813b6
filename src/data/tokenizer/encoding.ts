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
  ids: number[] = []
  words: number[] = []
  starts: number[] = []
  ends: number[] = []
}

export interface SpecialIds {
  cls: number
  sep: number
}

function append(encoding: Encoding, tokens: TokenList, { from, to }: Window, sequence: number): void {
  const { inputIds, tokenTypeIds, attentionMask, specialTokensMask, wordIds, sequenceIds, offsets } = encoding
  for (let i = from; i < to; i++) {
    inputIds.push(tokens.ids[i])
    tokenTypeIds.push(sequence)
    attentionMask.push(1)
    specialTokensMask.push(0)
    wordIds.push(tokens.words[i])
    sequenceIds.push(sequence)
    offsets?.push([tokens.starts[i], tokens.ends[i]])
  }
}

function appendSpecial(encoding: Encoding, id: number, type: number): void {
  encoding.inputIds.push(id)
  encoding.tokenTypeIds.push(type)
  encoding.attentionMask.push(1)
  encoding.specialTokensMask.push(1)
  encoding.wordIds.push(null)
  encoding.sequenceIds.push(null)
  encoding.offsets?.push([0, 0])
}

export interface Sequence {
  tokens: TokenList
  windows: Windows
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
  const build = (one: Window, two: Window | null): Encoding => {
    const encoding: Encoding = {
      inputIds: [],
      tokenTypeIds: [],
      attentionMask: [],
      specialTokensMask: [],
      wordIds: [],
      sequenceIds: [],
      ...(offsets ? { offsets: [] } : {}),
    }
    if (special !== null) appendSpecial(encoding, special.cls, 0)
    append(encoding, first.tokens, one, 0)
    if (special !== null) appendSpecial(encoding, special.sep, 0)
    if (second !== null && two !== null) {
      append(encoding, second.tokens, two, 1)
      if (special !== null) appendSpecial(encoding, special.sep, 1)
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
