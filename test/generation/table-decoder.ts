import type { Decoder } from '../../src/generation/decoder.ts'

/** A decoder whose logits are a function of a row's ids; it keeps what it was asked. */
export class TableDecoder implements Decoder {
  /** The rows after each call. */
  readonly calls: number[][][] = []
  ended = 0
  #rows: number[][] = []

  constructor(
    readonly vocabSize: number,
    readonly maxLength: number,
    private readonly logits: (ids: readonly number[]) => ArrayLike<number>,
  ) {}

  async start(prompts: readonly (readonly number[])[]): Promise<Float32Array> {
    return this.#answer(prompts.map((prompt) => [...prompt]))
  }

  async next(tokens: readonly number[], from: readonly number[]): Promise<Float32Array> {
    if (tokens.length !== from.length || tokens.length === 0) throw new Error('tokens and from differ, or are empty')
    return this.#answer(tokens.map((token, r) => [...this.#rows[from[r]], token]))
  }

  end(): void {
    this.ended++
  }

  #answer(rows: number[][]): Float32Array {
    if (rows.some((ids) => ids.length > this.maxLength)) throw new Error('a row is too long')
    this.#rows = rows
    this.calls.push(rows)
    return Float32Array.from(rows.flatMap((ids) => Array.from(this.logits(ids))))
  }
}

/** Logits that depend on all ids of a row, from a hash: between -2 and 2. */
export const hashed =
  (vocabSize: number) =>
  (ids: readonly number[]): number[] =>
    Array.from({ length: vocabSize }, (_, v) => {
      let x = 0x9e3779b9
      for (const id of [...ids, v]) {
        x = Math.imul(x ^ (id + 1), 0x85ebca6b)
        x ^= x >>> 15
        x = Math.imul(x, 0xc2b2ae35)
        x ^= x >>> 13
      }
      return (x >>> 0) * 2 ** -30 - 2
    })
