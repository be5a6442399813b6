// Two tables of a file that a config says are one, such as a decoder beside the word embeddings that it is tied to.
import { WeightsError } from '../errors.ts'
import type { Twins } from './names.ts'
import type { Piece, TensorSource } from './tensors.ts'

const LANES = 4
const PRIME = 0x01000193

/**
 * Of a tensor's bits, in order: of each fourth number a hash of its own, because a processor works on four at a time. A step maps
 * hashes one to one, so that a single difference is always seen, and others but for one in 2^32. No proof against who wants a collision.
 */
class Digest {
  readonly #lanes = new Int32Array(LANES)
  #count = 0

  add(values: Float32Array): void {
    const words = new Int32Array(values.buffer, values.byteOffset, values.length)
    let i = 0
    for (; this.#count % LANES > 0 && i < words.length; i++) this.#addOne(words[i])
    let [a, b, c, d] = this.#lanes
    for (; i + LANES <= words.length; i += LANES) {
      a = Math.imul(a ^ words[i], PRIME)
      b = Math.imul(b ^ words[i + 1], PRIME)
      c = Math.imul(c ^ words[i + 2], PRIME)
      d = Math.imul(d ^ words[i + 3], PRIME)
      // high bits into the low ones, which a product never changes by them
      a ^= a >>> 15
      b ^= b >>> 15
      c ^= c >>> 15
      d ^= d >>> 15
    }
    this.#lanes.set([a, b, c, d])
    for (; i < words.length; i++) this.#addOne(words[i])
  }

  #addOne(word: number): void {
    const lane = this.#count++ % LANES
    const hash = Math.imul(this.#lanes[lane] ^ word, PRIME)
    this.#lanes[lane] = hash ^ (hash >>> 15)
  }

  equals(other: Digest): boolean {
    return this.#lanes.every((hash, lane) => hash === other.#lanes[lane])
  }
}

async function* digested(pieces: AsyncIterable<Piece>, digest: Digest): AsyncGenerator<Piece> {
  for await (const piece of pieces) {
    digest.add(piece.values)
    yield piece
  }
}

/**
 * Compares such tables while a file is read, in whatever order they come, with no more memory than a digest each. Tables that are one
 * stretch of a file, as those of PyTorch's files are, are not read for it.
 */
export class TiedTables {
  readonly #twins: readonly Twins[]
  readonly #digests = new Map<string, Digest>()

  /** `where` begins errors. Throws a WeightsError for tables of two shapes. */
  constructor(
    private readonly where: string,
    private readonly source: TensorSource,
    twins: readonly Twins[],
  ) {
    this.#twins = twins.filter(({ stored, alias }) => !source.isSame?.(stored, alias))
    for (const pair of this.#twins) {
      const [stored, alias] = [pair.stored, pair.alias].map((name) => source.tensors.get(name)!.shape)
      if (String(stored) !== String(alias)) throw this.#difference(pair)
      for (const name of [pair.stored, pair.alias]) this.#digests.set(name, new Digest())
    }
  }

  /** The pieces of a tensor, which are looked at where it is one of the tables. */
  pieces(name: string): AsyncIterable<Piece> {
    const digest = this.#digests.get(name)
    return digest ? digested(this.source.pieces(name), digest) : this.source.pieces(name)
  }

  /** Reads a table that nobody else reads; nothing for another tensor. */
  async read(name: string): Promise<void> {
    if (this.#digests.has(name)) for await (const _ of this.pieces(name));
  }

  /** Once all have been read: a WeightsError for two tables that differ. */
  check(): void {
    for (const pair of this.#twins)
      if (!this.#digests.get(pair.stored)!.equals(this.#digests.get(pair.alias)!)) throw this.#difference(pair)
  }

  #difference({ stored, alias }: Twins): WeightsError {
    return new WeightsError(
      `${this.where}: the config ties the output to the word embeddings, but ${stored} and ${alias} are two different tables; load both with tieWordEmbeddings: false (tie_word_embeddings in config.json), or ${stored} alone with tieWordEmbeddings: true`,
    )
  }
}

/** Reads such tables of a file and nothing else. A WeightsError, which `where` begins, for two that differ. */
export async function compareTables(where: string, source: TensorSource, twins: readonly Twins[]): Promise<void> {
  const tied = new TiedTables(where, source, twins)
  for (const name of source.tensors.keys()) await tied.read(name)
  tied.check()
}
