// One suite for every backend: each op forward and backward against the float64 reference, what must be refused, and that results depend
// on nothing but the inputs. A backend's own test file is three lines around `conformance`.
import { describe } from 'vitest'
import { activations } from './conformance/activations.ts'
import { attention } from './conformance/attention.ts'
import { bfloat16 } from './conformance/bfloat16.ts'
import { caching } from './conformance/caching.ts'
import { crossAttention } from './conformance/cross-attention.ts'
import { determinism } from './conformance/determinism.ts'
import { gemm } from './conformance/gemm.ts'
import { givenMasks } from './conformance/given-masks.ts'
import type { Open } from './conformance/harness.ts'
import { int8 } from './conformance/int8.ts'
import { losses } from './conformance/losses.ts'
import { optimizer } from './conformance/optimizer.ts'
import { packedWeight } from './conformance/packed-weight.ts'
import { parametricActivations } from './conformance/parametric-activations.ts'
import { refusals } from './conformance/refusals.ts'
import { rows } from './conformance/rows.ts'

/** Whether results are the same for these numbers of threads. */
const POOLS = [1, 2, 4, 7, 8, 2]

export function conformance(name: string, open: Open, pools: readonly number[] = POOLS): void {
  describe(name, () => {
    for (const part of [
      activations,
      parametricActivations,
      rows,
      gemm,
      attention,
      crossAttention,
      givenMasks,
      bfloat16,
      packedWeight,
      int8,
      losses,
      optimizer,
      caching,
      refusals,
    ])
      part(open)
    determinism(open, pools)
  })
}
