// What labels are called, and which id a name has.
import { quote } from '../json.ts'

export type ClassificationProblem = 'regression' | 'single_label_classification' | 'multi_label_classification'

/** The classes of a data set or of a model: names by id. For regression the names stand for columns. */
export interface LabelSet {
  problemType: ClassificationProblem
  names: string[]
}

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?$/

function withoutZeros(digits: string): string {
  let end = digits.length
  while (digits[end - 1] === '0') end--
  return digits.slice(0, end)
}

/** The same for "1", "1.0" and "01", which are one number, of any number of digits; other names are their own. */
export function labelKey(name: string): string {
  const [, sign, whole = '', decimals = ''] = DECIMAL.exec(name) ?? []
  if (whole === '' && decimals === '') return name
  const fraction = withoutZeros(decimals)
  const digits = `${whole.replace(/^0+/, '') || '0'}${fraction === '' ? '' : `.${fraction}`}`
  return sign === '-' && digits !== '0' ? `-${digits}` : digits
}

const isNumeric = (name: string): boolean => name.trim() !== '' && Number.isFinite(Number(name))

/** Names in the order of their ids: by value where all are numbers, else sorted by UTF-16 code units. */
export function sortLabels(names: Iterable<string>): string[] {
  const sorted = [...new Set(names)].sort()
  return sorted.every(isNumeric) ? sorted.sort((a, b) => Number(a) - Number(b)) : sorted
}

/** Whether the labels have names of their own, which are not numbers. */
export const areNames = (names: readonly string[]): boolean =>
  names.length > 0 && !names.some((name) => isNumeric(name) || /^LABEL_\d+$/.test(name))

/**
 * The same labels in the order of `order`, where that has the same names: a head that is trained on has its rows in that order. Labels
 * that are numbers become the names at those places of `order`, if it has names of its own. Any others are returned unchanged.
 */
export function inLabelOrder(labels: LabelSet, order: readonly string[]): LabelSet {
  const arePlaces = labels.names.every((name) => /^\d{1,9}$/.test(name) && Number(name) < order.length)
  if (labels.problemType !== 'regression' && arePlaces && areNames(order)) return { ...labels, names: [...order] }
  const keys = new Set(labels.names.map(labelKey))
  const ordered = new Set(order.map(labelKey))
  const isSame = order.length === keys.size && ordered.size === keys.size && [...ordered].every((key) => keys.has(key))
  return isSame ? { ...labels, names: [...order] } : labels
}

/**
 * The id of a name among `names`: of the same name, else of the same number. Where no name is a number (LABEL_0, ...), a number is an id
 * itself; `onFault` hears of that where the ids have names of their own, which numbers of others may not mean.
 */
export function idsOfLabels(
  names: readonly string[],
  onFault?: (what: string) => void,
): (name: string) => number | undefined {
  const ids = new Map(names.map((name, id) => [name, id]))
  const keys = new Map(names.map((name, id) => [labelKey(name), id]))
  // a model may have learnt "1" and "1.0" as two
  const areNumbers = keys.size === names.length
  const acceptsIds = !names.some(isNumeric)
  const shown = names.slice(0, 4).map((name, id) => `${id} is ${quote(name, 30)}`)
  const taken = `labels are numbers, taken as places among the labels of the model: ${shown.join(', ')}${names.length > 4 ? ', ...' : ''}`
  const isTold = areNames(names)
  const idOfKey = (key: string): number | undefined => {
    const id = areNumbers ? keys.get(key) : undefined
    if (id !== undefined) return id
    if (!acceptsIds || !/^\d{1,9}$/.test(key) || Number(key) >= names.length) return undefined
    if (isTold) onFault?.(taken)
    return Number(key)
  }
  return (name) => ids.get(name) ?? idOfKey(labelKey(name))
}
