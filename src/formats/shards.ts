import { WeightsError } from '../errors.ts'
import { isJsonObject, type JsonObject, kindOf, parseJson, quote } from '../json.ts'
import type { Access, ModelFiles } from './model-files.ts'
import { MAX_SHARDS } from './shard-names.ts'
import type { ByteSource } from './source.ts'
import { MAX_TENSORS, type Piece, type TensorInfo, type TensorSource } from './tensors.ts'

/** A format of weights: what the names of its files end with, and how one is read. */
export interface ShardFormat {
  readonly extension: '.safetensors' | '.bin'
  readonly access: Access
  readonly read: (source: ByteSource) => Promise<TensorSource>
}

/** Reads the header of an open file, which is closed where that fails. */
export async function readOrClose(source: ByteSource, format: ShardFormat): Promise<TensorSource> {
  try {
    return await format.read(source)
  } catch (error) {
    await source.close()
    throw error
  }
}

interface Shard {
  readonly source: ByteSource
  readonly tensors: TensorSource
}

class Shards implements TensorSource {
  readonly tensors: ReadonlyMap<string, TensorInfo>
  #current: ByteSource | undefined
  constructor(private readonly owners: ReadonlyMap<string, Shard>) {
    this.tensors = new Map([...owners].map(([name, shard]) => [name, shard.tensors.tensors.get(name)!]))
  }

  /** The shard of a tensor. Those that are not being read rest: a browser has a few connections at a time, and as many shards are usual. */
  #ownerOf(name: string): TensorSource {
    const owner = this.owners.get(name)
    if (owner === undefined) throw new WeightsError(`no shard has a tensor ${quote(name)}`)
    if (this.#current !== owner.source) this.#current?.rest?.()
    this.#current = owner.source
    return owner.tensors
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

  isSame(name: string, other: string): boolean {
    const owner = this.owners.get(name)
    return owner !== undefined && owner === this.owners.get(other) && owner.tensors.isSame?.(name, other) === true
  }

  async close(): Promise<void> {
    await closeAll(new Set(this.owners.values()))
  }
}

const closeAll = (shards: Iterable<Shard>): Promise<unknown> =>
  Promise.all(Array.from(shards, ({ source }) => source.close()))

/** Opens the shards that the index file `index` names, all beside it, as one: its tensors are listed shard after shard. */
export async function openShards(
  files: ModelFiles,
  index: string,
  text: string,
  format: ShardFormat,
): Promise<TensorSource> {
  const fail = (reason: string) => new WeightsError(`${files.pathOf(index)}: ${reason}`)
  const shardOf = parseIndex(text, format.extension, fail)
  const opened = new Map<string, Shard>()
  try {
    for (const name of new Set(shardOf.values())) {
      const source = await files.open(name, format.access)
      if (source === undefined) throw fail(`the shard ${quote(name)} is not in the folder`)
      opened.set(name, { source, tensors: await readOrClose(source, format) })
      source.rest?.()
    }
    for (const [name, shard] of shardOf)
      if (!opened.get(shard)!.tensors.tensors.has(name)) throw fail(`tensor ${quote(name)} is not in ${quote(shard)}`)
    const owners = [...opened].flatMap(([shardName, shard]) =>
      Array.from(shard.tensors.tensors.keys())
        .filter((name) => shardOf.get(name) === shardName)
        .map((name): [string, Shard] => [name, shard]),
    )
    return new Shards(new Map(owners))
  } catch (error) {
    await closeAll(opened.values())
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
