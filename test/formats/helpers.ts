/** Whatever a header may hold, right or wrong. */
export type Header = Record<string, unknown>

/** The first bytes of a safetensors file with any length field before any text. */
export function headerOf(length: bigint, text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  const start = Buffer.alloc(8)
  start.writeBigUInt64LE(BigInt.asUintN(64, length))
  return Buffer.concat([start, bytes])
}

/** A safetensors file of a header, well-formed or not, and data. */
export function fileOf(header: Header | string | Uint8Array, data: Uint8Array): Uint8Array {
  const bytes =
    header instanceof Uint8Array ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))
  return Buffer.concat([headerOf(BigInt(bytes.length), bytes), data])
}

/** A small generator of repeatable random numbers (mulberry32). */
export class Random {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }
  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }
  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]
  }
}
