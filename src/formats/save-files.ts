// What is written when a model or a tokenizer is saved, and where it goes when that is no folder.

import { ArgumentError } from '../errors.ts'
import { kindOf, quote } from '../json.ts'
import { platform } from '../platform.ts'
import { elementsOf } from '../tensor.ts'
import { type EncodedFile, encodeSafetensors, type TensorValues } from './safetensors.ts'
import {
  compareNames,
  MAX_SHARDS,
  type NamedShape,
  nameShards,
  parseShardSize,
  SINGLE_NAME,
  splitShards,
} from './shard-names.ts'

export const INDEX_NAME = `${SINGLE_NAME}.index.json`
const PIECE_BYTES = 2 ** 20

export interface SaveOptions {
  /** The most a file of weights may hold, in bytes or as '5GB' or '200MB'; '50GB' by default, as in Transformers 5.18. */
  readonly maxShardSize?: number | string
}

/** Takes the files of a model one after another, each as a stream of its own. */
export interface FileSink {
  /**
   * Called once for each file, before its first byte, with its name (such as model.safetensors) and its size in bytes. The stream gets
   * chunks of at most 1 MiB that are its own to keep, each when the one before was taken; it is closed after the last one, and
   * aborted with the error where something fails.
   */
  write(name: string, size: number): WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>
}

export interface WeightsToSave extends SaveOptions {
  readonly tensors: readonly NamedShape[]
  /** The values of a tensor, which is asked for once, when its turn has come. */
  readonly data: (name: string) => Promise<TensorValues> | TensorValues
}

export interface FilesToSave {
  readonly weights?: WeightsToSave
  readonly texts: readonly (readonly [name: string, text: string])[]
}

/** Tensors in the order and the shards in which Transformers deals them out. */
export function dealShards(tensors: readonly NamedShape[], { maxShardSize = '50GB' }: SaveOptions): NamedShape[][] {
  const sorted = [...tensors].sort((a, b) => compareNames(a.name, b.name))
  const shards = splitShards(sorted, parseShardSize(maxShardSize))
  if (shards.length > MAX_SHARDS)
    throw new ArgumentError(
      `maxShardSize ${quote(maxShardSize)} makes ${shards.length} shards; expected at most ${MAX_SHARDS}, which can be loaded`,
    )
  return shards
}

/** The text of model.safetensors.index.json for shards of these names. */
export function indexText(shards: readonly NamedShape[][], names: readonly string[]): string {
  const total = shards.flat().reduce((sum, { shape }) => sum + elementsOf(shape), 0)
  const map = shards.flatMap((shard, i) => shard.map(({ name }): [string, string] => [name, names[i]]))
  const index = {
    metadata: { total_parameters: total, total_size: 4 * total },
    weight_map: Object.fromEntries(map.sort(([a], [b]) => (a < b ? -1 : 1))),
  }
  if (Object.keys(index.weight_map).length !== map.length) throw new ArgumentError('two tensors have the same name')
  return `${JSON.stringify(index, null, 2)}\n`
}

interface NamedFile extends EncodedFile {
  readonly name: string
}

function textFile(name: string, text: string): NamedFile {
  const bytes = new TextEncoder().encode(text)
  async function* chunks() {
    yield bytes
  }
  return { name, size: bytes.length, chunks: chunks() }
}

function* filesOf({ weights, texts }: FilesToSave): Generator<NamedFile> {
  if (weights) {
    const shards = dealShards(weights.tensors, weights)
    const names = shards.length === 1 ? [SINGLE_NAME] : nameShards(shards.length)
    for (const [i, shard] of shards.entries())
      yield { name: names[i], ...encodeSafetensors(names[i], shard, weights.data) }
    if (shards.length > 1) yield textFile(INDEX_NAME, indexText(shards, names))
  }
  for (const [name, text] of texts) yield textFile(name, text)
}

/** The same bytes in pieces of 1 MiB, the last one shorter, none of which is used again. */
async function* piecesOf({ size, chunks }: EncodedFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let left = size
  let piece = new Uint8Array(Math.min(left, PIECE_BYTES))
  let filled = 0
  for await (const chunk of chunks)
    for (let done = 0; done < chunk.length; ) {
      const part = chunk.subarray(done, done + piece.length - filled)
      piece.set(part, filled)
      done += part.length
      filled += part.length
      if (filled < piece.length) continue
      yield piece
      left -= filled
      piece = new Uint8Array(Math.min(left, PIECE_BYTES))
      filled = 0
    }
}

/** A Blob of each file. A piece leaves the memory of the program for the Blob's before the next one is made. */
async function toBlobs(files: FilesToSave): Promise<Record<string, Blob>> {
  const blobs: Record<string, Blob> = {}
  for (const file of filesOf(files)) {
    const pieces: Blob[] = []
    for await (const piece of piecesOf(file)) pieces.push(new Blob([piece]))
    blobs[file.name] = new Blob(pieces)
  }
  return blobs
}

async function toSink(files: FilesToSave, sink: FileSink): Promise<void> {
  for (const file of filesOf(files)) {
    const stream = await sink.write(file.name, file.size)
    if (typeof stream?.getWriter !== 'function')
      throw new ArgumentError(
        `Expected write() to return a WritableStream for ${file.name} but it is ${kindOf(stream)}`,
      )
    const writer = stream.getWriter()
    try {
      for await (const piece of piecesOf(file)) await writer.write(piece)
      await writer.close()
    } catch (error) {
      // the first error is the one to report
      await writer.abort(error).catch(() => undefined)
      throw error
    }
  }
}

/** Saves into a folder, whole or not at all; into a sink; or, without a target, into Blobs, which are returned. */
export async function saveFiles(
  target: string | FileSink | undefined,
  files: FilesToSave,
): Promise<Record<string, Blob> | undefined> {
  if (target === undefined) return toBlobs(files)
  if (typeof target === 'string') await platform().saveModel(target, files)
  else if (typeof target?.write === 'function') await toSink(files, target)
  else
    throw new ArgumentError(`Expected a folder, or an object with write(), to save to but received ${kindOf(target)}`)
  return undefined
}
