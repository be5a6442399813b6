// Checks of labels that several heads share. An error names the input and the first label that is wrong.

import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { IGNORE_INDEX } from '../labels.ts'
import { elementsOf, type InputTensor, isTensor } from '../tensor.ts'
import type { GivenShape, Labels, LabelTerm } from './head.ts'

/**
 * 64-bit integers, which the tokenizers and readers of others give, are BigInts. What is too large for a number is no class either, and
 * is refused as one.
 */
const toNumber = (value: number | bigint): number => (typeof value === 'bigint' ? Number(value) : value)

/** A number, or the numbers of its columns. */
export type LabelRow = number | readonly number[]

/** One entry for each of `count` rows; `what` they are, such as sequences. */
export function labelRows(name: string, labels: Labels, count: number, what: string): readonly LabelRow[] {
  const rows = rowsOf(name, labels)
  if (rows.length !== count)
    throw new ArgumentError(`Expected ${name} for ${count} ${what} but received ${rows.length}`)
  return rows
}

/** The number of a row that has just one, else NaN. */
export const oneNumber = (row: LabelRow): number =>
  typeof row === 'number' ? row : row.length === 1 ? row[0] : Number.NaN

function rowsOf(name: string, labels: Labels): readonly LabelRow[] {
  if (Array.isArray(labels))
    return Array.from(labels, (row: unknown, i) => {
      if (typeof row === 'number' || typeof row === 'bigint') return toNumber(row)
      if (Array.isArray(row) || ArrayBuffer.isView(row)) return Array.from(row as ArrayLike<number | bigint>, toNumber)
      throw new ArgumentError(`Expected ${name}[${i}] to be a number or an array of numbers but received ${quote(row)}`)
    })
  const { data, shape } = tensor(name, labels)
  if (data.length === 0) return []
  const count = shape[0] ?? 1
  const width = elementsOf(shape.slice(1))
  return Array.from({ length: count }, (_, i) =>
    shape.length < 2 ? toNumber(data[i]) : Array.from({ length: width }, (_, j) => toNumber(data[i * width + j])),
  )
}

function tensor(name: string, labels: Labels): InputTensor {
  if (!isTensor(labels)) throw new ArgumentError(`Expected ${name} to be an array or a tensor { data, shape }`)
  const { data, shape } = labels
  const count = elementsOf(shape)
  if (data.length !== count)
    throw new ArgumentError(`Expected ${name} of shape [${shape}] to hold ${count} numbers but received ${data.length}`)
  return { data, shape }
}

const isClass = (label: number, classes: number): boolean =>
  Number.isInteger(label) && (label === IGNORE_INDEX || (label >= 0 && label < classes))

const expectedClass = (classes: number): string => `a class from 0 to ${classes - 1} (or ${IGNORE_INDEX})`

/** One integer for each of `count` rows. */
export function oneEach(name: string, labels: Labels, count: number, what: string): number[] {
  return labelRows(name, labels, count, what).map((row, i) => {
    const value = oneNumber(row)
    if (!Number.isInteger(value))
      throw new ArgumentError(`Expected ${name}[${i}] to be an integer but received ${quote(row)}`)
    return value
  })
}

/** A class for each of `count` rows. */
export function classLabels(
  name: string,
  labels: Labels,
  { count, what, classes }: { readonly count: number; readonly what: string; readonly classes: number },
): Int32Array {
  return Int32Array.from(labelRows(name, labels, count, what), (row, i) => {
    const label = oneNumber(row)
    if (!isClass(label, classes))
      throw new ArgumentError(`Expected ${name}[${i}] to be ${expectedClass(classes)} but received ${quote(row)}`)
    return label
  })
}

/** A class for each token as it was given: number[][] for ragged input, [batch, length] for padded. */
export function tokenLabels(name: string, labels: Labels, shape: GivenShape, classes: number): Int32Array {
  const { sequences, starts, padded } = shape
  const flat = new Int32Array(starts[sequences])
  const put = (b: number, t: number, given: number | bigint) => {
    const label = toNumber(given)
    if (!isClass(label, classes))
      throw new ArgumentError(
        `Expected ${name}[${b}][${t}] to be ${expectedClass(classes)} but received ${quote(label)}`,
      )
    flat[starts[b] + t] = label
  }
  if (!Array.isArray(labels)) {
    const given = tensor(name, labels)
    if (!padded || String(given.shape) !== String(padded))
      throw new ArgumentError(
        `Expected ${name} of the shape of inputIds, ${padded ? `[${padded}]` : `${sequences} ragged sequences`}, but received [${given.shape}]`,
      )
    for (let b = 0; b < sequences; b++) for (let t = 0; t < padded[1]; t++) put(b, t, given.data[b * padded[1] + t])
    return flat
  }
  if (labels.length !== sequences)
    throw new ArgumentError(`Expected ${name} for ${sequences} sequences but received ${labels.length}`)
  labels.forEach((row: unknown, b) => {
    const length = starts[b + 1] - starts[b]
    if (!Array.isArray(row) && !ArrayBuffer.isView(row))
      throw new ArgumentError(`Expected ${name}[${b}] to be an array of ${length} classes but received ${quote(row)}`)
    const values = row as ArrayLike<number | bigint>
    if (values.length !== length)
      throw new ArgumentError(
        `Expected ${name}[${b}] to have ${length} elements, as inputIds[${b}], but received ${values.length}`,
      )
    for (let t = 0; t < length; t++) put(b, t, values[t])
  })
  return flat
}

export const sequenceTerm = (data: Float32Array | Int32Array, width = 1): LabelTerm => ({
  rows: 'sequences',
  data,
  width,
})
export const tokenTerm = (data: Int32Array): LabelTerm => ({ rows: 'tokens', data, width: 1 })
