// What each code point is to the tokenizer, read from the generated tables.
import * as tables from './unicode-tables.ts'

/** Bits of `UnicodeData.kinds`, below RANK. */
export const DROPPED = 1
export const BLANK = 2
export const WHITESPACE = 4
export const PUNCTUATION = 8
export const IDEOGRAPH = 16
export const NONSPACING = 32
export const WORD = 64
export const LOWERS = 128
export const DECOMPOSES = 256
/** `kind >>> RANK` orders the canonical combining classes; 0 for characters that nothing is moved across. */
export const RANK = 10

const REPLACEMENT = 0xfffd

export interface UnicodeData {
  /** One set of bits for each code point. */
  kinds: Uint16Array
  lower: Map<number, readonly number[]>
  /** Full canonical decompositions, without Hangul syllables, which are computed. */
  decomposition: Map<number, readonly number[]>
}

const CODE_POINTS = 0x110000

const wordsOf = (table: string): string[] => table.trim().split(/\s+/)
const base36 = (word: string): number => Number.parseInt(word, 36)

/** Reads pairs of (gap, length). */
function mark(kinds: Uint16Array, table: string, bit: number): void {
  const words = wordsOf(table)
  let at = 0
  for (let i = 0; i < words.length; i += 2) {
    at += base36(words[i])
    const end = at + base36(words[i + 1])
    for (; at < end; at++) kinds[at] |= bit
  }
}

/** Reads quadruples of (gap, count, step, difference). */
function shifts(table: string, add: (code: number, to: number) => void): void {
  const words = wordsOf(table)
  let start = 0
  for (let i = 0; i < words.length; i += 4) {
    start += base36(words[i])
    const [count, step, difference] = words.slice(i + 1, i + 4).map(base36)
    for (let k = 0; k < count; k++) add(start + k * step, start + k * step + difference)
  }
}

/** Reads pairs of (gap, code points joined by +). */
function expansions(table: string, add: (code: number, to: number[]) => void): void {
  const words = wordsOf(table)
  let code = 0
  for (let i = 0; i < words.length; i += 2) {
    code += base36(words[i])
    add(code, words[i + 1].split('+').map(base36))
  }
}

function load(): UnicodeData {
  const kinds = new Uint16Array(CODE_POINTS)
  const lower = new Map<number, readonly number[]>()
  const decomposition = new Map<number, readonly number[]>()
  mark(kinds, tables.DROPPED, DROPPED)
  mark(kinds, tables.BLANK, BLANK)
  mark(kinds, tables.WHITESPACE, WHITESPACE)
  mark(kinds, tables.PUNCTUATION, PUNCTUATION)
  mark(kinds, tables.IDEOGRAPHS, IDEOGRAPH)
  mark(kinds, tables.NONSPACING, NONSPACING)
  mark(kinds, tables.WORD, WORD)
  shifts(tables.LOWER, (code, to) => lower.set(code, [to]))
  expansions(tables.LOWER_LONGER, (code, to) => lower.set(code, to))
  expansions(tables.DECOMPOSED, (code, to) => decomposition.set(code, to))
  shifts(tables.COMBINING, (code, to) => {
    kinds[code] |= (to - code) << RANK
  })
  for (const code of lower.keys()) kinds[code] |= LOWERS
  for (const code of decomposition.keys()) kinds[code] |= DECOMPOSES
  return { kinds, lower, decomposition }
}

let data: UnicodeData | undefined

/** The tables, expanded on first use (2.2 MB). */
export function unicodeData(): UnicodeData {
  data ??= load()
  return data
}

/** Length in UTF-16 units of the character at `at`; a lone surrogate counts as one. */
export function characterLength(text: string, at: number): number {
  const unit = text.charCodeAt(at)
  if (unit < 0xd800 || unit > 0xdbff || at + 1 >= text.length) return 1
  const next = text.charCodeAt(at + 1)
  return next >= 0xdc00 && next <= 0xdfff ? 2 : 1
}

/** The code point of the `length` units at `at`; a lone surrogate reads as U+FFFD, as it does once encoded in UTF-8. */
export function characterAt(text: string, at: number, length: number): number {
  const unit = text.charCodeAt(at)
  if (length === 2) return ((unit - 0xd800) << 10) + text.charCodeAt(at + 1) - 0xdc00 + 0x10000
  return unit >= 0xd800 && unit <= 0xdfff ? REPLACEMENT : unit
}
