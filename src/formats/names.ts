import { WeightsError } from '../errors.ts'
import { quote } from '../json.ts'

/** What a folder's tensors are to a model. All but `sources`, `twins` and `rowwise` are for the report of a load. */
export interface WeightsMatch {
  /** The model's name -> the name in the folder, where both have the same shape. */
  sources: Map<string, string>
  /** Two tensors of the folder that the model has as one, by their names there: the one of `sources`, and an alias. */
  twins: Twins[]
  /** Names of the model that the folder lacks; they keep their initial values. */
  missing: string[]
  /** Names of the folder that the model has no use for. */
  unexpected: string[]
  mismatched: { name: string; expected: number[]; found: number[] }[]
  /** Of those whose shapes differ in the number of rows alone: the model's name -> the name in the folder. */
  rowwise: Map<string, string>
}

export interface Twins {
  readonly stored: string
  readonly alias: string
}

export interface MatchOptions {
  /** The base model's name in the classes with a head; a folder of either kind loads into a class of either kind. */
  baseModelPrefix?: string
  /**
   * A name of the model -> other names under which a folder may have the same tensor, as for tied weights:
   * `{ 'bert.embeddings.word_embeddings.weight': ['cls.predictions.decoder.weight'] }`. The model's own name is
   * preferred, unless it stands in the list too, which is then by preference. A tensor under another name beside the preferred one is
   * not unexpected.
   */
  aliases?: Readonly<Record<string, readonly string[]>>
}

/** A tensor of a folder that may fill a parameter; the least cost does. */
interface Choice {
  readonly source: string
  /** As the model would name it. */
  readonly name: string
  readonly rank: number
  readonly cost: number
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
    const names = others.includes(parameter) ? others : [parameter, ...others]
    for (const [rank, name] of names.entries())
      if (name === parameter || !owners.has(name)) owners.set(name, { parameter, rank })
  }

  const chosen = new Map<string, Choice>()
  const unexpected: string[] = []
  const aliased = new Map<string, string>()
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
    const cost = (name === plain ? 0 : 2) + (plain === source ? 0 : 1)
    const choice: Choice = { source, name, rank: owner.rank, cost: 4 * owner.rank + cost }
    const rival = chosen.get(owner.parameter)
    const [winner, loser] = rival === undefined || choice.cost < rival.cost ? [choice, rival] : [rival, choice]
    chosen.set(owner.parameter, winner)
    if (loser?.rank === winner.rank) unexpected.push(loser.source)
    else if (loser && loser.name !== owner.parameter) aliased.set(owner.parameter, loser.source)
  }

  const match: WeightsMatch = {
    sources: new Map(),
    twins: [],
    missing: [],
    unexpected,
    mismatched: [],
    rowwise: new Map(),
  }
  for (const [name, shape] of expected) {
    const source = chosen.get(name)?.source
    const found = source === undefined ? undefined : available.get(source)?.shape
    if (source === undefined || found === undefined) match.missing.push(name)
    else if (shape.length !== found.length || shape.some((size, axis) => size !== found[axis])) {
      match.mismatched.push({ name, expected: [...shape], found: [...found] })
      if (String(shape.slice(1)) === String(found.slice(1))) match.rowwise.set(name, source)
    } else {
      match.sources.set(name, source)
      const alias = aliased.get(name)
      if (alias !== undefined) match.twins.push({ stored: source, alias })
    }
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
