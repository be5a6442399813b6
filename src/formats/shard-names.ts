import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { elementsOf } from '../tensor.ts'

export interface NamedShape {
  readonly name: string
  readonly shape: readonly number[]
}

export const SINGLE_NAME = 'model.safetensors'
/** Every shard stays open while a model is read; a process has about a thousand files, and real models have far fewer shards. */
export const MAX_SHARDS = 512
const SHARD_NAME = /^model-(?:[0-9a-f]{8}-)?\d{5}-of-\d{5}\.safetensors$/
const UNITS: Readonly<Record<string, number>> = { KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }

export const isShardName = (name: string): boolean => SHARD_NAME.test(name)

/** Eight digits that no other writer has. */
const randomHex = (): string => crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, '0')

/** Transformers' names of `count` shards; `unique` ones are like no other's. */
export function nameShards(count: number, unique = false): string[] {
  const infix = unique ? `${randomHex()}-` : ''
  const digits = (n: number) => String(n).padStart(5, '0')
  return Array.from({ length: count }, (_, i) => `model-${infix}${digits(i + 1)}-of-${digits(count)}.safetensors`)
}

/** Bytes of a size such as '5GB', '200MB' (powers of ten, as in huggingface_hub), or of a number. */
export function parseShardSize(size: number | string): number {
  const [, digits, unit] = typeof size === 'string' ? (/^\s*(\d+(?:\.\d+)?)\s*([KMGT]B)\s*$/i.exec(size) ?? []) : []
  const bytes = typeof size === 'number' ? size : Math.trunc(Number(digits) * UNITS[unit?.toUpperCase()])
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes
  throw new ArgumentError(
    `Expected maxShardSize to be a positive number of bytes, or a string such as '5GB' or '200MB', but received ${quote(size)}`,
  )
}

/** [0, number] or [1, text] or [1, text, its trailing digits]: numbers before texts, and numbers by their size. */
function partKey(part: string): (number | string)[] {
  if (/^\d+$/.test(part)) return [0, Number(part)]
  const text = part.replace(/\d+$/, '')
  return text === part ? [1, part] : [1, text, Number(part.slice(text.length))]
}

function compareLists<Item>(a: readonly Item[], b: readonly Item[], compare: (a: Item, b: Item) => number): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = compare(a[i], b[i])
    if (order !== 0) return order
  }
  return a.length - b.length
}

/** The order in which Transformers 5.18 deals tensors out (core_model_loading.py, dot_natural_key). */
export function compareNames(a: string, b: string): number {
  const keys = (name: string) => name.split('.').map(partKey)
  return compareLists(keys(a), keys(b), (x, y) => compareLists(x, y, (p, q) => (p < q ? -1 : p > q ? 1 : 0)))
}

/**
 * Deals tensors out in their order: each shard takes what fits, and a tensor that is larger than a shard may be gets one of its own
 * (huggingface_hub, serialization/_base.py, split_state_dict_into_shards_factory).
 */
export function splitShards(tensors: readonly NamedShape[], maxBytes: number): NamedShape[][] {
  const shards: NamedShape[][] = []
  let shard: NamedShape[] = []
  let bytes = 0
  for (const tensor of tensors) {
    const size = 4 * elementsOf(tensor.shape)
    if (size > maxBytes) {
      shards.push([tensor])
      continue
    }
    if (bytes + size > maxBytes) {
      shards.push(shard)
      shard = []
      bytes = 0
    }
    shard.push(tensor)
    bytes += size
  }
  if (shard.length > 0 || shards.length === 0) shards.push(shard)
  return shards
}
