import { WeightsError } from '../errors.ts'
import { quote } from '../json.ts'

/** What a folder's tensors are to a model. All but `sources` are for the report of a load. */
export interface WeightsMatch {
  /** The model's name -> the name in the folder, where both have the same shape. */
  sources: Map<string, string>
  /** Names of the model that the folder lacks; they keep their initial values. */
  missing: string[]
  /** Names of the folder that the model has no use for. */
  unexpected: string[]
  mismatched: { name: string; expected: number[]; found: number[] }[]
}

export interface MatchOptions {
  /** The base model's name in the classes with a head; a folder of either kind loads into a class of either kind. */
  baseModelPrefix?: string
  /**
   * A name of the model -> other names under which a folder may have the same tensor, as for tied weights:
   * `{ 'bert.embeddings.word_embeddings.weight': ['cls.predictions.decoder.weight'] }`. The model's own name is
   * preferred; an alias beside it is neither read nor unexpected.
   */
  aliases?: Readonly<Record<string, readonly string[]>>
}

/** Buffers of older versions of Transformers: values that follow from the shapes. */
const isBuffer = (name: string): boolean => /(^|\.)embeddings\.position_ids$/.test(name)

/** TensorFlow's names of LayerNorm's parameters, which folders converted before 2019 still have. */
const withoutLegacyNames = (name: string): string =>
  name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias')

/**
 * Finds for each of a model's parameters (name -> shape) the tensor of a folder, by the rules of Transformers'
 * from_pretrained (core_model_loading.py, rename_source_key): exact name, then with `bert.` taken off or put before it.
 * Where two tensors would fill one parameter, the one whose name needs no change does, and the other is unexpected.
 */
export function matchWeights(
  expected: ReadonlyMap<string, readonly number[]>,
  available: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  { baseModelPrefix = 'bert', aliases = {} }: MatchOptions = {},
): WeightsMatch {
  const prefix = `${baseModelPrefix}.`
  const owners = new Map<string, { parameter: string; rank: number }>()
  for (const parameter of expected.keys()) owners.set(parameter, { parameter, rank: 0 })
  for (const [parameter, others] of Object.entries(aliases)) {
    if (!expected.has(parameter)) continue
    for (const [i, other] of others.entries()) if (!owners.has(other)) owners.set(other, { parameter, rank: 1 + i })
  }

  const chosen = new Map<string, { source: string; cost: number }>()
  const unexpected: string[] = []
  for (const source of available.keys()) {
    if (isBuffer(source)) continue
    const plain = withoutLegacyNames(source)
    const moved = plain.startsWith(prefix) ? plain.slice(prefix.length) : prefix + plain
    const name = owners.has(plain) ? plain : moved
    const owner = owners.get(name)
    if (owner === undefined) {
      unexpected.push(source)
      continue
    }
    // A direct name beats any alias; among names of one rank the least changed wins, whatever the order in the file.
    const cost = 4 * owner.rank + (name === plain ? 0 : 2) + (plain === source ? 0 : 1)
    const rival = chosen.get(owner.parameter)
    if (rival === undefined || cost < rival.cost) chosen.set(owner.parameter, { source, cost })
    const loser = rival !== undefined && cost < rival.cost ? rival : { source, cost }
    if (rival !== undefined && loser.cost < 4) unexpected.push(loser.source)
  }

  const match: WeightsMatch = { sources: new Map(), missing: [], unexpected, mismatched: [] }
  for (const [name, shape] of expected) {
    const source = chosen.get(name)?.source
    const found = source === undefined ? undefined : available.get(source)?.shape
    if (source === undefined || found === undefined) match.missing.push(name)
    else if (shape.length !== found.length || shape.some((size, axis) => size !== found[axis])) {
      match.mismatched.push({ name, expected: [...shape], found: [...found] })
    } else match.sources.set(name, source)
  }
  return match
}

/** The error about tensors of another shape than the model's; `where` begins it. */
export function mismatchError(where: string, [first, ...others]: WeightsMatch['mismatched']): WeightsError {
  const { name, expected, found } = first
  const more = others.length > 0 ? ` (and ${others.length} more)` : ''
  return new WeightsError(
    `${where}: expected ${name} of shape ${quote(expected)} but found ${quote(found)}${more}; with ignoreMismatchedSizes it is new`,
  )
}
