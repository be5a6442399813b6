// Philox4x32, the counter-based generator of Salmon et al. (2011), "Parallel Random Numbers: As Easy as 1, 2, 3",
// and bertkit's mapping from a dropout element to bits of its words (native/philox.h computes the same bits).
import type { Keep } from './dropout.ts'

type Words2 = readonly [number, number]
export type Words4 = readonly [number, number, number, number]

/** Rounds of Philox for dropout. */
const DROPOUT_ROUNDS = 7

/** The high 32 bits of a 32 x 32 bit product, from four 16 x 16 bit products. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const low = aLow * bLow
  const middle = aHigh * bLow + (low >>> 16)
  const cross = aLow * bHigh + (middle & 0xffff)
  return (aHigh * bHigh + (middle >>> 16) + (cross >>> 16)) >>> 0
}

/** Four random 32-bit words for a counter and a key of 32-bit words. */
export function philox4x32(counter: Words4, key: Words2, rounds = 10): Words4 {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < rounds; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0)
    const low0 = Math.imul(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2)
    const low1 = Math.imul(0xcd9e8d57, c2)
    ;[c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1 >>> 0, (high0 ^ c3 ^ k1) >>> 0, low0 >>> 0]
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** What a dropout record's bits depend on besides the element: the run's scalars and the record's attribute `site`. */
export interface DropoutKey {
  seed: number
  step: number
  microStep: number
  site: number
}

const turnedLeft = (word: number, n: number) => (word << n) | (word >>> (32 - n))

/** Which bit of a word is a column's, of those of its group. */
export const bitOf = (column: number): number => 8 * (((column >>> 3) & 1) * 2 + (column & 1)) + ((column & 127) >>> 4)

/**
 * The 7-bit draw of a column from the words of its group: a bit of each word that it has for itself, above three sums modulo 2 of bits of
 * others.
 */
export function drawOf(words: Words4, column: number): number {
  const low = [0, 1, 2].map((k) => turnedLeft(words[k], 9) ^ turnedLeft(words[k + 1], 20))
  return [...low, ...words].reduce((draw, word, bit) => draw | (((word >>> bitOf(column)) & 1) << bit), 0)
}

/** The draw of element (row, column). Columns go by blocks of 128: four groups, each of two neighbours of every eight columns. */
export function philoxDraw({ seed, step, microStep, site }: DropoutKey, row: number, column: number): number {
  const group = (column >>> 7) * 4 + ((column & 7) >>> 1)
  const counter = [group >>> 0, row >>> 0, step >>> 0, microStep >>> 0] as const
  return drawOf(philox4x32(counter, [seed >>> 0, site >>> 0], DROPOUT_ROUNDS), column)
}

/** The lowest draw of a row that is kept: p * 128, rounded up where Weyl's sequence is below what that has behind the point. */
export function philoxThreshold({ seed, step, microStep, site }: DropoutKey, p: number, row: number): number {
  const exact = Math.fround(p) * 128
  const steps = Math.imul(step, 0xb5297a4d) + Math.imul(microStep, 0x68e31da5) + Math.imul(row, 0x9e3779b9)
  const weyl = ((Math.imul(seed, 0xc2b2ae35) ^ Math.imul(site, 0x85ebca6b)) + steps) >>> 0
  return Math.floor(exact) + (weyl < Math.floor((exact % 1) * 2 ** 32) ? 1 : 0)
}

/**
 * The elements that dropout with probability p keeps. Rows and columns: dropout, layer_norm: row of the batch, hidden index;
 * attention: query row of the batch * A + head, key index inside its sequence.
 *
 * p is rounded to float32 first, as a record's attribute is.
 */
export function philoxKeep(key: DropoutKey, p: number): Keep {
  return (row, column) => philoxDraw(key, row, column) >= philoxThreshold(key, p, row)
}
