import { slices } from '../turns.ts'

// The order of the training data. A pure function of (seed, epoch): nothing has to be saved to resume in the middle of an epoch.

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

/** Sets this stream apart from other uses of the same seed. */
const DATA_ORDER = 0x64617461

/**
 * The order of `size` examples in `epoch` (0-based): a permutation of 0..size-1, equally likely each.
 * Fisher-Yates from the end; draw k is word k mod 4 of Philox block floor(k / 4), made unbiased by Lemire's rejection.
 * The same on every machine; gives the event loop its turns. It is not PyTorch's order for the same seed.
 */
export async function epochOrder(size: number, seed: number, epoch: number): Promise<Uint32Array> {
  const order = Uint32Array.from({ length: size }, (_, index) => index)
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const
  let block: Block = [0, 0, 0, 0]
  let draws = 0
  const next = (): number => {
    if (draws % 4 === 0) block = philox4x32([draws / 4, epoch, 0, DATA_ORDER], key)
    return block[draws++ % 4]
  }
  const below = (bound: number): number => {
    const threshold = (2 ** 32 - bound) % bound
    for (;;) {
      const word = next()
      if (Math.imul(word, bound) >>> 0 >= threshold) return multiplyHigh(word, bound)
    }
  }
  const turn = slices()
  for (let last = size - 1; last > 0; last--) {
    // Looking at the clock costs more than a swap.
    if (last % 1024 === 0) await turn()
    const other = below(last + 1)
    const kept = order[last]
    order[last] = order[other]
    order[other] = kept
  }
  return order
}
