// Philox4x32-10, the counter-based generator of Salmon et al. (2011), "Parallel Random Numbers: As Easy as 1, 2, 3",
// and bertkit's mapping from a dropout element to one of its words (native/philox.h computes the same bits).
import type { Keep } from './dropout.ts'

type Words2 = readonly [number, number]
type Words4 = readonly [number, number, number, number]

/** The high 32 bits of a 32 x 32 bit product, from four 16 x 16 bit products. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const low = aLow * bLow
  const middle = aHigh * bLow + (low >>> 16)
  const cross = aLow * bHigh + (middle & 0xffff)
  return (aHigh * bHigh + (middle >>> 16) + (cross >>> 16)) >>> 0
}

/** Four random 32-bit words for a counter and a key of 32-bit words. */
export function philox4x32(counter: Words4, key: Words2): Words4 {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
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

/** The 16-bit draw of element (row, column). Columns go by blocks of 128: 16 counters, of which each half of a word serves 16 columns. */
export function philoxDraw({ seed, step, microStep, site }: DropoutKey, row: number, column: number): number {
  const block = column >>> 7
  const inBlock = column & 127
  const group = block * 16 + (inBlock & 15)
  const words = philox4x32([group >>> 0, row >>> 0, step >>> 0, microStep >>> 0], [seed >>> 0, site >>> 0])
  return (words[(inBlock >>> 4) & 3] >>> (inBlock < 64 ? 0 : 16)) & 0xffff
}

/**
 * The elements that dropout with probability p keeps. Rows and columns: dropout, layer_norm: row of the batch, hidden index;
 * attention: query row of the batch * A + head, key index inside its sequence.
 *
 * p is rounded to float32 first, as a record's attribute is.
 */
export function philoxKeep(key: DropoutKey, p: number): Keep {
  const threshold = Math.floor(Math.fround(p) * 2 ** 16)
  return (row, column) => philoxDraw(key, row, column) >= threshold
}
