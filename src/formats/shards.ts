import { FileError, WeightsError } from '../errors.ts'
import { isJsonObject, type JsonObject, kindOf, parseJson, quote } from '../json.ts'
import { joinPath, readModelText } from './files.ts'
import { MAX_TENSORS, type Piece, type TensorInfo, type TensorSource } from './tensors.ts'

// Every shard stays open; a process has about a thousand files, and real models have far fewer shards.
const MAX_SHARDS = 512

/** A format of shards: what their names end with, and how one is opened. */
export interface ShardFormat {
  readonly extension: '.safetensors' | '.bin'
  readonly open: (file: string) => Promise<TensorSource>
}

class Shards implements TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  constructor(private readonly owners: ReadonlyMap<string, TensorSource>) {
    this.tensors = new Map([...owners].map(([name, shard]) => [name, shard.tensors.get(name)!]))
  }

  #ownerOf(name: string): TensorSource {
    const owner = this.owners.get(name)
    if (owner === undefined) throw new WeightsError(`no shard has a tensor ${quote(name)}`)
    return owner
  }

  async read(name: string): Promise<Float32Array> {
    return this.#ownerOf(name).read(name)
  }

  async *pieces(name: string): AsyncGenerator<Piece> {
    yield* this.#ownerOf(name).pieces(name)
  }

  async readRaw(name: string): Promise<Uint8Array> {
    return this.#ownerOf(name).readRaw(name)
  }

  async close(): Promise<void> {
    await closeAll(new Set(this.owners.values()))
  }
}

const closeAll = (shards: Iterable<TensorSource>): Promise<unknown> =>
  Promise.all(Array.from(shards, (shard) => shard.close()))

/** Opens the shards that the index file `index` names, all in `folder`, as one. */
export async function openShards(folder: string, index: string, format: ShardFormat): Promise<TensorSource> {
  const fail = (reason: string) => new WeightsError(`${index}: ${reason}`)
  const shardOf = parseIndex(await readModelText(index), format.extension, fail)
  const opened = new Map<string, TensorSource>()
  try {
    for (const shard of new Set(shardOf.values())) opened.set(shard, await openShard(folder, shard, format, fail))
    const owners = Array.from(shardOf, ([name, shardName]): [string, TensorSource] => {
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

async function openShard(
  folder: string,
  shard: string,
  format: ShardFormat,
  fail: (reason: string) => Error,
): Promise<TensorSource> {
  try {
    return await format.open(joinPath(folder, shard))
  } catch (error) {
    if (error instanceof FileError && error.errno === 'ENOENT') {
      throw fail(`the shard ${quote(shard)} is not in the folder`)
    }
    throw error
  }
}

/** Tensor name -> file name of its shard, each a plain name in the same folder. */
export function parseIndex(
  text: string,
  extension: ShardFormat['extension'],
  fail: (reason: string) => Error,
): Map<string, string> {
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
    if (typeof shard !== 'string' || !isPlainName(shard) || !shard.endsWith(extension)) {
      throw fail(
        `tensor ${quote(name)}: expected the name of a ${extension} file in the folder, but found ${quote(shard)}`,
      )
    }
    shardOf.set(name, shard)
  }
  const shards = new Set(shardOf.values()).size
  if (shards > MAX_SHARDS) throw fail(`weight_map names ${shards} shards; at most ${MAX_SHARDS} are accepted`)
  return shardOf
}

/** Letters, digits and a few signs only: no separator, drive, stream or NUL of any platform can be in such a name. */
export const isPlainName = (name: string): boolean => /^\w[\w.+-]{0,240}$/.test(name) && !name.includes('\n')
