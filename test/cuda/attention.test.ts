// Attention by kernels that take several sequences in one go: no sequence may change the bits of another, whatever is in it.
import { describe, expect, it } from 'vitest'
import type { FloatType } from '../../src/graph/graph.ts'
import { Row } from '../../src/graph/op-table.ts'
import { expectSame, Random, runRecord, stored } from '../conformance/harness.ts'
import { missing, openCuda } from './library.ts'

const [A, D] = [2, 64]
const [H, P] = [A * D, Math.fround(0.1)]

const run = (type: FloatType, p: number, lengths: readonly number[], qkv: Float64Array) =>
  runRecord(backend, {
    op: 'attention',
    type,
    operands: {
      qkv,
      cuSeqlens: Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))]),
    },
    attributes: { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: false, p, site: 5 },
    rows: { tokens: qkv.length / (3 * H), sequences: lengths.length },
    capacity: { tokens: 1000, sequences: 20 },
    scalars: { seed: 7, step: 3, microStep: 1 },
  })

const backend = missing ? (undefined as never) : openCuda()

describe.skipIf(missing)(`attention of several sequences${missing ? ` (${missing})` : ''}`, () => {
  it.each([
    ['float32', 0],
    ['bfloat16', 0],
    ['bfloat16', P],
  ] as const)('in %s has the bits of each alone, with dropout of %d', async (type, p) => {
    const random = new Random(3)
    for (const length of [1, 63, 64, 65, 127, 128, 129, 200, 256, 300]) {
      const qkv = stored(random.reals(length * 3 * H, 2), type)
      const alone = await run(type, p, [length], qkv)
      // dropout is drawn by the row of the batch: the sequence stays the first
      for (const after of [[1], [70, 129]]) {
        const rest = new Float64Array(after.reduce((a, b) => a + b) * 3 * H).fill(Number.NaN)
        const among = await run(type, p, [length, ...after], Float64Array.from([...qkv, ...rest]))
        expectSame(`context of ${length}`, among.context.subarray(0, length * H), alone.context)
        expectSame(`lse of ${length}`, among.lse.subarray(0, length * A), alone.lse)
        expect(among.context.subarray(length * H).every(Number.isNaN)).toBe(true)
      }
      if (p > 0) continue
      const before = stored(random.reals(190 * 3 * H), type)
      const among = await run(type, p, [5, 185, length], Float64Array.from([...before, ...qkv]))
      expectSame(`context of ${length}, the last`, among.context.subarray(190 * H), alone.context)
      expectSame(`lse of ${length}, the last`, among.lse.subarray(190 * A), alone.lse)
    }
  })

  it('refuses borders that go back, of which there would be more rows than there are', async () => {
    const random = new Random(4)
    const lengths = Array.from({ length: 16 }, (_, i) => (i % 2 ? -300 : 300))
    const qkv = stored(random.reals(300 * 3 * H), 'bfloat16')
    await expect(run('bfloat16', 0, lengths, qkv)).rejects.toThrow(/cu_seqlens/)
    const [borders, rows] = [Int32Array.from({ length: 17 }, (_, i) => (i % 2) * 300), 300]
    const backward = runRecord(backend, {
      op: 'attentionBackward',
      type: 'bfloat16',
      operands: {
        dcontext: stored(random.reals(rows * H), 'bfloat16'),
        qkv,
        context: stored(random.reals(rows * H), 'bfloat16'),
        lse: random.reals(rows * A),
        cuSeqlens: borders,
      },
      attributes: { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: false, p: 0, site: 5 },
      rows: { tokens: rows, sequences: 16 },
    })
    await expect(backward).rejects.toThrow(/cu_seqlens/)
  })
})
