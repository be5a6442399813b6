// Names of classes, as `datasets` of Hugging Face puts them into the metadata of Parquet: {"info": {"features": {"label": {"names":
// ["neg", "pos"], "_type": "ClassLabel"}}}} (datasets/features/features.py). The columns themselves have the numbers.
import { isJsonObject, type JsonValue, parseJson } from '../../json.ts'
import type { Row } from './table.ts'

/** Names of the classes that a column has, or those of fields in its objects. Lists have those of their elements. */
type Classes = readonly string[] | FieldClasses
export type FieldClasses = ReadonlyMap<string, Classes>

const areNames = (classes: Classes): classes is readonly string[] => Array.isArray(classes)

/** Whether the names of a column's classes are wanted. */
type IsWanted = (names: readonly string[]) => boolean

/** The columns whose classes have names, one of them in `wanted` where that is given. Metadata that is none of `datasets` names none. */
export function classesOf(metadata: unknown, wanted?: readonly string[]): FieldClasses {
  const among = new Set(wanted)
  const isWanted: IsWanted = (names) => wanted === undefined || names.some((name) => among.has(name))
  const parsed = typeof metadata === 'string' ? parsedOrUndefined(metadata) : undefined
  const info = isJsonObject(parsed) ? parsed.info : undefined
  const features = isJsonObject(info) ? info.features : undefined
  return isJsonObject(features) ? classesOfFields(features, isWanted) : new Map()
}

function parsedOrUndefined(text: string): JsonValue | undefined {
  try {
    return parseJson(text, Error)
  } catch {
    return undefined
  }
}

function classesOfFields(features: Record<string, JsonValue>, isWanted: IsWanted): FieldClasses {
  const found = Object.entries(features).map(([name, feature]) => [name, classesOfFeature(feature, isWanted)] as const)
  return new Map(found.filter((entry): entry is [string, Classes] => entry[1] !== undefined))
}

/** Of a list, in any of its forms ([feature], List, LargeList, Sequence), what its elements have. */
function classesOfFeature(feature: JsonValue, isWanted: IsWanted): Classes | undefined {
  if (Array.isArray(feature)) return feature.length === 1 ? classesOfFeature(feature[0], isWanted) : undefined
  if (!isJsonObject(feature)) return undefined
  if (feature._type === 'ClassLabel') {
    const names = namesOf(feature.names)
    return names && isWanted(names) ? names : undefined
  }
  if (typeof feature._type === 'string') return classesOfFeature(feature.feature ?? null, isWanted)
  const fields = classesOfFields(feature, isWanted)
  return fields.size > 0 ? fields : undefined
}

function namesOf(value: JsonValue): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined
  const names = value.filter((name) => typeof name === 'string')
  return names.length === value.length ? names : undefined
}

/** The row with names in place of numbers, of those that have one: -1 is no class. */
export function withClassNames({ fields, line }: Row, classes: FieldClasses): Row {
  const named: Record<string, JsonValue> = Object.assign(Object.create(null), fields)
  for (const [column, ofColumn] of classes)
    if (Object.hasOwn(named, column)) named[column] = nameClasses(named[column], ofColumn)
  return { fields: named, line }
}

function nameClasses(value: JsonValue, classes: Classes): JsonValue {
  if (Array.isArray(value)) return value.map((each) => nameClasses(each, classes))
  if (areNames(classes)) return (typeof value === 'number' ? classes[value] : undefined) ?? value
  if (!isJsonObject(value)) return value
  const entries = Object.entries(value).map(([name, inner]): [string, JsonValue] => {
    const ofField = classes.get(name)
    return [name, ofField === undefined ? inner : nameClasses(inner, ofField)]
  })
  return Object.fromEntries(entries)
}
