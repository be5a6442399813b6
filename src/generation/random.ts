// Random numbers that are a function of what they are for, not of how many were drawn before: Philox4x32-10 of Salmon, Moraes, Dror
// and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). Integer arithmetic: the same on every platform.

/** The high 32 bits of a 32 x 32 bit product, from four 16 x 16 bit products. */
function multiplyHigh(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const cross = aLow * bHigh + (middle & 0xffff)
  return (aHigh * bHigh + (middle >>> 16) + (cross >>> 16)) >>> 0
}

/** Four random 32-bit words for a counter and a key of 32-bit words. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0)
    const low0 = Math.imul(0xd2511f53, c0) >>> 0
    const high1 = multiplyHigh(0xcd9e8d57, c2)
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** FNV-1a over the bytes of the ids. */
function hashOf(ids: readonly number[]): number {
  let hash = 2166136261
  for (const id of ids)
    for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((id >>> shift) & 0xff), 16777619)
  return hash >>> 0
}

/**
 * The draws of one sequence. They depend on the seed, the prompt, and which of the prompt's sequences it is, where the same prompt given
 * again has later ones; not on the other prompts of the batch, nor on the prompt's place in it.
 */
export class Draws {
  readonly #key: readonly [number, number]

  constructor(
    seed: number,
    prompt: readonly number[],
    private readonly sequence: number,
  ) {
    this.#key = [seed, hashOf(prompt)]
  }

  /** Uniform in [0, 1), 53 bits: for new token `step`. */
  uniform(step: number): number {
    const [high, low] = philox4x32([step, this.sequence, 0, 0], this.#key)
    return ((high >>> 5) * 2 ** 26 + (low >>> 6)) * 2 ** -53
  }

  /** -log(-log u), u uniform in (0, 1): for alternative `candidate` of new token `step`. */
  gumbel(step: number, candidate: number): number {
    const words = philox4x32([step, this.sequence, 1, candidate >>> 2], this.#key)
    return -Math.log(-Math.log((words[candidate & 3] + 0.5) * 2 ** -32))
  }
}
