// Random numbers that are a function of what they are for, not of how many were drawn before. Integer arithmetic: the same on every
// platform and for any number of threads.

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const
const WEYL = [0x9e3779b9, 0xbb67ae85] as const
const ROUNDS = 10

/** High 32 bits of the 64-bit product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const bHigh = b >>> 16
  const middle = (a >>> 16) * (b & 0xffff) + ((aLow * (b & 0xffff)) >>> 16)
  const carry = aLow * bHigh + (middle & 0xffff)
  return ((a >>> 16) * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0
}

type Block = [number, number, number, number]

/**
 * Philox4x32 with ten rounds: four unsigned 32-bit random numbers of a 128-bit counter and a 64-bit key.
 * Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
 */
export function philox4x32(counter: Readonly<Block>, key: readonly [number, number]): Block {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIERS[0], c0)
    const high1 = multiplyHigh(MULTIPLIERS[1], c2)
    const low0 = Math.imul(MULTIPLIERS[0], c0) >>> 0
    const low1 = Math.imul(MULTIPLIERS[1], c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + WEYL[0]) >>> 0
    k1 = (k1 + WEYL[1]) >>> 0
  }
  return [c0, c1, c2, c3]
}

/**
 * A stream of random numbers that is a pure function of the seed and of the names of the stream, up to three unsigned 32-bit integers
 * (what it is for, the epoch, the example, ...; missing ones are 0). Word k is word k mod 4 of Philox block floor(k / 4); streams of
 * other names never meet. It begins again after 2^34 words.
 */
export class RandomStream {
  readonly #key: readonly [number, number]
  readonly #counter: Block
  #block: Block = [0, 0, 0, 0]
  #used = 4

  /** `seed`: an integer; its low 53 bits count. */
  constructor(seed: number, first = 0, second = 0, third = 0) {
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
    this.#counter = [0, first >>> 0, second >>> 0, third >>> 0]
  }

  /** Uniform among the unsigned 32-bit integers. */
  word(): number {
    if (this.#used === 4) {
      this.#block = philox4x32(this.#counter, this.#key)
      this.#counter[0] = (this.#counter[0] + 1) >>> 0
      this.#used = 0
    }
    return this.#block[this.#used++]
  }

  /** Uniform in [0, 1): one of 2^32 values. */
  uniform(): number {
    return this.word() * 2 ** -32
  }

  /**
   * Uniform among the integers 0 to `bound` - 1; `bound` is 1 to 2^32 - 1.
   * Source: Lemire, "Fast random integer generation in an interval" (2019); its rejection makes it unbiased.
   */
  below(bound: number): number {
    for (;;) {
      const word = this.word()
      const low = Math.imul(word, bound) >>> 0
      if (low >= bound || low >= (2 ** 32 - bound) % bound) return multiplyHigh(word, bound)
    }
  }
}
