import { RandomStream } from '../random.ts'
import { slices } from '../turns.ts'

// The order of the training data. A pure function of (seed, epoch): nothing has to be saved to resume in the middle of an epoch.

/** Sets this stream apart from other uses of the same seed. */
const DATA_ORDER = 0x64617461

/** 0 to size - 1; a loop, because Uint32Array.from takes twenty times as long. */
export function ascending(size: number): Uint32Array {
  const order = new Uint32Array(size)
  for (let i = 0; i < size; i++) order[i] = i
  return order
}

/**
 * The order of `size` examples in `epoch` (0-based): a permutation of 0..size-1, equally likely each.
 * Fisher-Yates from the end. The same on every machine; gives the event loop its turns. It is not PyTorch's order for the same seed.
 */
export async function epochOrder(size: number, seed: number, epoch: number): Promise<Uint32Array> {
  const order = ascending(size)
  const random = new RandomStream(seed, epoch, 0, DATA_ORDER)
  const turn = slices()
  for (let last = size - 1; last > 0; last--) {
    // Looking at the clock costs more than a swap.
    if (last % 1024 === 0) await turn()
    const other = random.below(last + 1)
    const kept = order[last]
    order[last] = order[other]
    order[other] = kept
  }
  return order
}
