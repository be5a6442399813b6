import { FileError, WeightsError } from '../errors.ts'
import { isJsonObject, type JsonObject, kindOf, parseJson, quote } from '../json.ts'
import { exists, joinPath, readText } from './files.ts'
import {
  MAX_TENSORS,
  openSafetensors,
  type SafetensorsFile,
  type TensorInfo,
  type TensorSource,
} from './safetensors.ts'

const WEIGHTS_NAME = 'model.safetensors'
const INDEX_NAME = 'model.safetensors.index.json'
const PICKLE_NAMES = ['pytorch_model.bin', 'pytorch_model.bin.index.json']
// Every shard stays open; a process has about a thousand files, and real models have far fewer shards.
const MAX_SHARDS = 512

/** All weights of a model folder, in one file or in shards. */
export type WeightsSource = TensorSource

/**
 * Opens the weights of a Hugging Face folder: model.safetensors, or the shards of model.safetensors.index.json.
 * Every header is checked before this returns. A WeightsError names the folder and what is missing or malformed in it.
 */
export async function openWeights(folder: string): Promise<WeightsSource> {
  const single = joinPath(folder, WEIGHTS_NAME)
  if (await exists(single)) return openSafetensors(single)
  const index = joinPath(folder, INDEX_NAME)
  if (await exists(index)) return openShards(folder, index)
  const pickles = await Promise.all(PICKLE_NAMES.map((name) => exists(joinPath(folder, name))))
  const pickle = PICKLE_NAMES[pickles.indexOf(true)]
  const hint = pickle === undefined ? '' : `; ${pickle} is there, but only safetensors can be read: convert it first`
  throw new WeightsError(`${folder}: found neither ${WEIGHTS_NAME} nor ${INDEX_NAME}${hint}`)
}

class Shards implements WeightsSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  constructor(private readonly owners: ReadonlyMap<string, SafetensorsFile>) {
    this.tensors = new Map([...owners].map(([name, shard]) => [name, shard.tensors.get(name)!]))
  }

  #ownerOf(name: string): SafetensorsFile {
    const owner = this.owners.get(name)
    if (owner === undefined) throw new WeightsError(`no shard has a tensor ${quote(name)}`)
    return owner
  }

  async read(name: string): Promise<Float32Array> {
    return this.#ownerOf(name).read(name)
  }

  async readRaw(name: string): Promise<Uint8Array> {
    return this.#ownerOf(name).readRaw(name)
  }

  async close(): Promise<void> {
    await closeAll(new Set(this.owners.values()))
  }
}

const closeAll = (shards: Iterable<SafetensorsFile>): Promise<unknown> =>
  Promise.all(Array.from(shards, (shard) => shard.close()))

async function openShards(folder: string, index: string): Promise<WeightsSource> {
  const fail = (reason: string) => new WeightsError(`${index}: ${reason}`)
  const shardOf = parseIndex(await readText(index), fail)
  const opened = new Map<string, SafetensorsFile>()
  try {
    for (const shard of new Set(shardOf.values())) opened.set(shard, await openShard(folder, shard, fail))
    const owners = Array.from(shardOf, ([name, shardName]): [string, SafetensorsFile] => {
      const shard = opened.get(shardName)!
      if (!shard.tensors.has(name)) throw fail(`tensor ${quote(name)} is not in ${quote(shardName)}`)
      return [name, shard]
    })
    return new Shards(new Map(owners))
  } catch (error) {
    await closeAll(opened.values())
    throw error
  }
}

async function openShard(folder: string, shard: string, fail: (reason: string) => Error): Promise<SafetensorsFile> {
  try {
    return await openSafetensors(joinPath(folder, shard))
  } catch (error) {
    if (error instanceof FileError && error.errno === 'ENOENT') {
      throw fail(`the shard ${quote(shard)} is not in the folder`)
    }
    throw error
  }
}

/** Tensor name -> file name of its shard, each a plain name in the same folder. */
function parseIndex(text: string, fail: (reason: string) => Error): Map<string, string> {
  const json = parseJson(text, fail, { uniqueKeys: true })
  const found = isJsonObject(json) && Object.hasOwn(json, 'weight_map') ? json.weight_map : undefined
  if (!isJsonObject(found)) throw fail(`expected weight_map to be an object, but found ${kindOf(found)}`)
  const map: JsonObject = found
  const entries = Object.entries(map)
  if (entries.length === 0) throw fail('weight_map names no tensor')
  if (entries.length > MAX_TENSORS) {
    throw fail(`weight_map names ${entries.length} tensors; at most ${MAX_TENSORS} are accepted`)
  }
  const shardOf = new Map<string, string>()
  for (const [name, shard] of entries) {
    if (typeof shard !== 'string' || !isPlainName(shard)) {
      throw fail(
        `tensor ${quote(name)}: expected the name of a .safetensors file in the folder, but found ${quote(shard)}`,
      )
    }
    shardOf.set(name, shard)
  }
  const shards = new Set(shardOf.values()).size
  if (shards > MAX_SHARDS) throw fail(`weight_map names ${shards} shards; at most ${MAX_SHARDS} are accepted`)
  return shardOf
}

/** Letters, digits and a few signs only: no separator, drive, stream or NUL of any platform can be in such a name. */
const isPlainName = (name: string): boolean => /^\w[\w.+-]{0,240}\.safetensors$/.test(name)
