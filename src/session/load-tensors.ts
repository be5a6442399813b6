// From the tensors of a model's files to its memory.
import { WeightsError } from '../errors.ts'
import { matchWeights, mismatchError, type Twins, type WeightsMatch } from '../formats/names.ts'
import { TiedTables } from '../formats/tied-tables.ts'
import type { WeightsSource } from '../formats/weights.ts'
import { quote } from '../json.ts'
import type { Layout, TensorPlace } from './layout.ts'
import type { LoadSettings } from './options.ts'
import type { ModelRuntime } from './runtime.ts'
import { resized } from './word-tables.ts'

/** What stored tensors are to a model of this layout. */
export function matchTensors(
  { tensors }: Layout,
  source: WeightsSource,
  aliases?: Readonly<Record<string, readonly string[]>>,
): WeightsMatch {
  const shapes = new Map([...tensors].map(([name, { shape }]) => [name, shape]))
  return matchWeights(shapes, source.tensors, { aliases })
}

/** Tables that must be equal: none where the caller says that they are one, nor where those of another shape are to be left out. */
function tablesToCompare(
  { tensors }: WeightsSource,
  twins: readonly Twins[],
  { config, ignoreMismatchedSizes }: LoadSettings,
): readonly Twins[] {
  if (config.tieWordEmbeddings === true) return []
  const shapeOf = (name: string): string => String(tensors.get(name)?.shape)
  return twins.filter(({ stored, alias }) => !ignoreMismatchedSizes || shapeOf(stored) === shapeOf(alias))
}

/** Of a folder none of whose tensors the model has: with new weights alone it would seem to work. */
function strangersError(where: string, { tensors }: WeightsSource, layout: Layout): WeightsError {
  const [wanted] = layout.tensors.keys()
  const found = [...tensors.keys()].slice(0, 2).map((name) => quote(name))
  return new WeightsError(
    `${where}: expected weights of this model, such as ${quote(wanted)}, but found none of them; there are ${tensors.size} others${found.length > 0 ? `, such as ${found.join(' and ')}` : ''}`,
  )
}

/**
 * Writes stored tensors to their places, and `tables`, which have other rows there (word-tables.ts). A WeightsError, which `where`
 * begins, for a shape that is not the model's, before anything is written, where no tensor is the model's, and for two tables that
 * differ and that the model has as one.
 */
export async function loadTensors(
  runtime: ModelRuntime,
  source: WeightsSource,
  where: string,
  { mismatched, sources, twins }: WeightsMatch,
  tables: ReadonlyMap<string, string>,
  settings: LoadSettings,
): Promise<void> {
  if (mismatched.length > 0 && !settings.ignoreMismatchedSizes) throw mismatchError(where, mismatched)
  if (sources.size === 0 && mismatched.length === 0) throw strangersError(where, source, runtime.layout)
  const tied = new TiedTables(where, source, tablesToCompare(source, twins, settings))
  await runtime.exclusive(async () => {
    const places = new Map<string, TensorPlace>()
    for (const [name, stored] of [...sources, ...tables]) places.set(stored, runtime.layout.tensors.get(name)!)
    const resizedNames = new Set(tables.values())
    // in the order of the files: a stream passes once
    for (const stored of source.tensors.keys()) {
      const place = places.get(stored)
      const pieces = tied.pieces(stored)
      if (place) await runtime.writePieces(place, resizedNames.has(stored) ? resized(pieces, place) : pieces)
      else await tied.read(stored)
    }
    await runtime.settle()
    tied.check()
  })
}
