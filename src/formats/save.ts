import { FileError } from '../errors.ts'
import {
  joinPath,
  linkOver,
  listNames,
  makeFolder,
  removeFiles,
  removeStaleTemporaries,
  type StagedFile,
  stageText,
  syncFolder,
} from './files.ts'
import type { TensorValues } from './safetensors.ts'
import { writeSafetensors } from './safetensors-file.ts'
import { dealShards, type FilesToSave, INDEX_NAME, indexText, type SaveOptions } from './save-files.ts'
import { isShardName, type NamedShape, nameShards, SINGLE_NAME } from './shard-names.ts'

/**
 * Writes a model's files into a folder. All of the texts are on the disk before the weights take the place of the old ones: what remains
 * then is to rename them.
 */
export async function saveFolder(folder: string, { weights, texts }: FilesToSave): Promise<void> {
  await makeFolder(folder)
  const staged: StagedFile[] = []
  try {
    for (const [name, text] of texts) staged.push(await stageText(joinPath(folder, name), text))
    if (weights) await saveWeights(folder, weights.tensors, weights.data, weights)
    for (const file of staged) await file.commit()
  } catch (error) {
    // the first error is the one to report, also where cleaning up fails too
    for (const file of staged) await file.discard().catch(() => undefined)
    throw error
  }
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
  options: SaveOptions = {},
): Promise<void> {
  const shards = dealShards(tensors, options)
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
  let index: StagedFile | undefined
  try {
    for (const [i, shard] of shards.entries()) await write(shard, names[i])
    index = await stageIndex(folder, shards, names)
    await index.commit()
  } catch (error) {
    // an index that is in its place names them
    if (!index?.isCommitted) await removeFiles(folder, names).catch(() => undefined)
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
  await (await stageIndex(folder, shards, usual)).commit()
  return usual
}

const stageIndex = (folder: string, shards: readonly NamedShape[][], names: readonly string[]): Promise<StagedFile> =>
  stageText(joinPath(folder, INDEX_NAME), indexText(shards, names))
