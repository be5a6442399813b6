// Positions in a text: UTF-16 units, as JavaScript's strings count, or code points, as Python's.
import { oneOf } from '../data/tokenizer/options.ts'

export type OffsetUnit = 'utf16' | 'codepoint'

export const OFFSET_UNIT = oneOf('utf16', 'codepoint')

/** The length of a text in code points. */
export function codePointLength(text: string): number {
  let length = 0
  for (const _ of text) length++
  return length
}

/** What turns positions in a text, counted in UTF-16 units, into the unit that is wanted. */
export function offsetConverter(text: string, unit: OffsetUnit): (offset: number) => number {
  if (unit === 'utf16' || !/[\uD800-\uDFFF]/.test(text)) return (offset) => offset
  const points = new Uint32Array(text.length + 1)
  let [at, count] = [0, 0]
  for (const character of text) {
    at += character.length
    points.fill(++count, at - character.length + 1, at + 1)
  }
  return (offset) => points[offset]
}
