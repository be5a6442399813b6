import { ConfigError } from '../errors.ts'
import { isJsonObject, kindOf, quote } from '../json.ts'

/** The three fields of a config that say the same thing; any may be left out. */
export interface LabelFields {
  numLabels?: number
  id2label?: Readonly<Record<number, string>>
  label2id?: Readonly<Record<string, number>>
}

const DEFAULT_LABELS = 2
const MAX_LABELS = 1_000_000

export interface LabelNames {
  names: string[]
  ids: Record<string, number>
}

const generatedNames = (count: number): string[] => Array.from({ length: count }, (_, id) => `LABEL_${id}`)

/** Whether the names are those that stand in where nobody has named the labels. */
export const isGenerated = (names: readonly string[]): boolean => names.every((name, id) => name === `LABEL_${id}`)

/** Names and ids from whichever of the three fields are given (PretrainedConfig.__init__): num_labels wins over both maps. */
export function resolveLabels(fields: LabelFields, where: string): LabelNames {
  const { numLabels, id2label, label2id } = fields
  if (numLabels !== undefined && !(Number.isInteger(numLabels) && numLabels >= 1 && numLabels <= MAX_LABELS)) {
    throw new ConfigError(
      `${where}: expected num_labels to be an integer from 1 to ${MAX_LABELS}, but it is ${quote(numLabels)}`,
    )
  }
  // maps of another number of labels are not looked at
  const isOfOthers = isJsonObject(id2label) && numLabels !== undefined && Object.keys(id2label).length !== numLabels
  const ids = label2id === undefined || isOfOthers ? undefined : checkIds(label2id, where)
  let names: string[] | undefined
  if (isOfOthers) names = undefined
  else if (id2label !== undefined) names = namesById(id2label, where)
  else if (ids !== undefined) names = namesById(Object.fromEntries(Object.entries(ids).map(([k, v]) => [v, k])), where)
  if (names === undefined || (numLabels !== undefined && numLabels !== names.length)) {
    const generated = generatedNames(numLabels ?? DEFAULT_LABELS)
    return { names: generated, ids: idsOf(generated) }
  }
  return { names, ids: ids ?? idsOf(names) }
}

/** A ConfigError where labels are given in another order than the `learnt` ones, those of a head's rows: each answer would be another's. */
export function checkOrder(learnt: readonly string[], given: readonly string[], where: string): void {
  const known = new Set(learnt)
  if (learnt.length !== given.length || !given.every((name) => known.has(name))) return
  const moved = learnt.findIndex((name, id) => name !== given[id])
  if (moved === -1) return
  throw new ConfigError(
    `${where}: expected the labels in the order of the model, where label ${moved} is ${quote(learnt[moved])}, but received ${quote(given[moved])} there; read the data with labelOrder: model.config.labels, or correct config.json`,
  )
}

/** No prototype: a label may be called "constructor" or "__proto__". */
function idsOf(names: readonly string[]): Record<string, number> {
  const ids: Record<string, number> = Object.create(null)
  for (const [id, name] of names.entries()) ids[name] = id
  return ids
}

function checkIds(label2id: unknown, where: string): Record<string, number> {
  if (!isJsonObject(label2id)) {
    throw new ConfigError(`${where}: expected label2id to be an object, but it is ${kindOf(label2id)}`)
  }
  const ids: Record<string, number> = Object.create(null)
  for (const [name, given] of Object.entries(label2id)) {
    const id = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given // Transformers' own type has both
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= MAX_LABELS) {
      throw new ConfigError(`${where}: expected label2id[${quote(name)}] to be a label's id, but it is ${quote(id)}`)
    }
    ids[name] = id
  }
  return ids
}

function namesById(id2label: unknown, where: string): string[] {
  if (!isJsonObject(id2label)) {
    throw new ConfigError(`${where}: expected id2label to be an object, but it is ${kindOf(id2label)}`)
  }
  const count = Object.keys(id2label).length
  if (count === 0) throw new ConfigError(`${where}: id2label names no label`)
  return Array.from({ length: count }, (_, id) => {
    if (!Object.hasOwn(id2label, id)) {
      throw new ConfigError(
        `${where}: expected id2label to have the keys "0" to "${count - 1}", but "${id}" is missing`,
      )
    }
    const name = id2label[String(id)]
    if (typeof name !== 'string' && typeof name !== 'number') {
      throw new ConfigError(`${where}: expected id2label["${id}"] to be a string, but it is ${kindOf(name)}`)
    }
    return String(name)
  })
}
