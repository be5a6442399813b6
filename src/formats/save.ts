import { ArgumentError, FileError } from '../errors.ts'
import { joinPath, linkOver, listNames, removeFiles, removeStaleTemporaries, syncFolder, writeText } from './files.ts'
import { type TensorValues, writeSafetensors } from './safetensors.ts'
import {
  compareNames,
  isShardName,
  type NamedShape,
  nameShards,
  parseShardSize,
  SINGLE_NAME,
  splitShards,
} from './shard-names.ts'
import { elementsOf } from './tensors.ts'

const INDEX_NAME = `${SINGLE_NAME}.index.json`

export interface SaveOptions {
  /** The most a file of weights may hold, in bytes or as '5GB' or '200MB'; '50GB' by default, as in Transformers 5.18. */
  readonly maxShardSize?: number | string
}

/**
 * Writes float32 tensors as model.safetensors, or as shards with model.safetensors.index.json if they
 * are larger than `maxShardSize`. Whenever the process dies, the folder loads: the old weights before one point, the new ones
 * after it. An error before that point removes what was written.
 */
export async function saveWeights(
  folder: string,
  tensors: readonly NamedShape[],
  data: (name: string) => Promise<TensorValues> | TensorValues,
  { maxShardSize = '50GB' }: SaveOptions = {},
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => compareNames(a.name, b.name))
  const shards = splitShards(ordered, parseShardSize(maxShardSize))
  const isSingle = shards.length === 1
  const names = isSingle
    ? await writeSingle(folder, tensors, data)
    : await writeShards(folder, shards, (shard, file) => writeSafetensors(joinPath(folder, file), shard, data))
  // what no longer belongs goes last, when nothing refers to it
  if (isSingle) await removeFiles(folder, [INDEX_NAME])
  const old = (await listNames(folder)).filter((name) => isShardName(name) && !names.includes(name))
  await removeFiles(folder, old)
  await removeStaleTemporaries(folder)
}

/** Loading prefers the single file, so its rename is the point at which the folder has the new weights. */
async function writeSingle(
  folder: string,
  tensors: readonly NamedShape[],
  data: (name: string) => Promise<TensorValues> | TensorValues,
): Promise<string[]> {
  await writeSafetensors(joinPath(folder, SINGLE_NAME), tensors, data)
  return [SINGLE_NAME]
}

/**
 * Writes shards and index; the point at which the folder has the new weights is the rename of the index or, where there was
 * a single file, which goes before the index, its removal. A file that the old index may name is never written over: shards get
 * names of their own, and their usual ones when the index has let go of the old shards.
 */
async function writeShards(
  folder: string,
  shards: readonly NamedShape[][],
  write: (shard: NamedShape[], file: string) => Promise<void>,
): Promise<string[]> {
  const before = await listNames(folder)
  const usual = nameShards(shards.length)
  const isTaken = usual.some((name) => before.includes(name))
  const names = isTaken ? nameShards(shards.length, true) : usual
  try {
    for (const [i, shard] of shards.entries()) await write(shard, names[i])
    await writeIndex(folder, shards, names)
  } catch (error) {
    // the first error is the one to report, also where cleaning up fails too
    await removeFiles(folder, names).catch(() => undefined)
    throw error
  }
  await removeFiles(folder, [SINGLE_NAME])
  if (!isTaken) return names
  try {
    for (const [i, name] of usual.entries()) await linkOver(joinPath(folder, names[i]), joinPath(folder, name))
    await syncFolder(folder)
  } catch (error) {
    // a file system without hard links: the index may as well keep the other names
    if (error instanceof FileError) return names
    throw error
  }
  await writeIndex(folder, shards, usual)
  return usual
}

async function writeIndex(folder: string, shards: readonly NamedShape[][], names: readonly string[]): Promise<void> {
  const total = shards.flat().reduce((sum, { shape }) => sum + elementsOf(shape), 0)
  const map = shards.flatMap((shard, i) => shard.map(({ name }): [string, string] => [name, names[i]]))
  const index = {
    metadata: { total_parameters: total, total_size: 4 * total },
    weight_map: Object.fromEntries(map.sort(([a], [b]) => (a < b ? -1 : 1))),
  }
  if (Object.keys(index.weight_map).length !== map.length) throw new ArgumentError('two tensors have the same name')
  await writeText(joinPath(folder, INDEX_NAME), `${JSON.stringify(index, null, 2)}\n`)
}
