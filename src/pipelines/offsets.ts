// Positions in a text: UTF-16 units, as JavaScript's strings count, or code points, as Python's.
import { oneOf } from '../options.ts'

export type OffsetUnit = 'utf16' | 'codepoint'

export const OFFSET_UNIT = oneOf('utf16', 'codepoint')

/** The length of a text in code points. */
export function codePointLength(text: string): number {
  let length = 0
  for (const _ of text) length++
  return length
}

/** Whether a unit is the second one of a character. */
const endsPair = (text: string, i: number): boolean =>
  i > 0 && (text.charCodeAt(i) & 0xfc00) === 0xdc00 && (text.charCodeAt(i - 1) & 0xfc00) === 0xd800

/** What turns positions in a text, counted in UTF-16 units, into the unit that is wanted. */
export function offsetConverter(text: string, unit: OffsetUnit): (offset: number) => number {
  if (unit === 'utf16' || !/[\uD800-\uDFFF]/.test(text)) return (offset) => offset
  const points = new Uint32Array(text.length + 1)
  let count = 0
  for (let i = 0; i < text.length; i++) {
    if (!endsPair(text, i)) count++
    points[i + 1] = count
  }
  return (offset) => points[offset]
}
