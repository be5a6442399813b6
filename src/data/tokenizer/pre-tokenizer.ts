import { PUNCTUATION, WHITESPACE } from './unicode.ts'

/**
 * Where the word ends that starts at `start` of the characters `codes[start, to)`; `start` itself if that is white space. Words are split
 * at white space, and every punctuation character is one of its own (src/pre_tokenizers/bert.rs of the Rust library).
 */
export function wordEnd(kinds: Uint16Array, codes: Int32Array, start: number, to: number): number {
  const kind = kinds[codes[start]]
  if ((kind & WHITESPACE) !== 0) return start
  let end = start + 1
  if ((kind & PUNCTUATION) !== 0) return end
  while (end < to && (kinds[codes[end]] & (WHITESPACE | PUNCTUATION)) === 0) end++
  return end
}
