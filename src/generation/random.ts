import { philox4x32 } from '../random.ts'

/** FNV-1a over the bytes of the ids. */
function hashOf(ids: readonly number[]): number {
  let hash = 2166136261
  for (const id of ids)
    for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((id >>> shift) & 0xff), 16777619)
  return hash >>> 0
}

/** Of each prompt: how many before it in the batch are the same. A copy has the draws of sequences that come after theirs. */
export function earlierCopies(prompts: readonly (readonly number[])[]): number[] {
  const seen = new Map<string, number>()
  return prompts.map((ids) => {
    const count = seen.get(String(ids)) ?? 0
    seen.set(String(ids), count + 1)
    return count
  })
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
