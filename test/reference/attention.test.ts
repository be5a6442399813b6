import { describe, expect, it } from 'vitest'
import {
  type Attention,
  attention,
  attentionBackward,
  type CrossAttention,
  crossAttention,
  crossAttentionBackward,
} from './attention.ts'
import { distance, dot, expectGradient, uniform } from './numerics.ts'
import { philoxKeep } from './philox.ts'

const key = { seed: 3, step: 1, microStep: 0, site: 8 }

const input = (lengths: number[], A: number, D: number): Attention => {
  const cuSeqlens = [0]
  for (const length of lengths) cuSeqlens.push(cuSeqlens[cuSeqlens.length - 1] + length)
  const rows = cuSeqlens[lengths.length]
  return { qkv: uniform(rows * 3 * A * D, 1).map((x) => 2 * x), cuSeqlens, A, D }
}

describe('attention', () => {
  it('of one token is its value', () => {
    const { qkv, ...rest } = input([1], 2, 3)
    const { context, probs, lse } = attention({ qkv, ...rest })
    expect(distance(context, qkv.subarray(2 * 6))).toBeLessThan(1e-15)
    expect(probs.every((prob) => Math.abs(prob - 1) < 1e-15)).toBe(true)
    expect(lse[0]).toBeCloseTo(dot(qkv.subarray(0, 3), qkv.subarray(6, 9)) / Math.sqrt(3), 14)
  })

  it('of two tokens follows the logistic function', () => {
    const qkv = Float64Array.of(1, 2, 10, 3, -1, 20) // [row][q, k, v] of A = D = 1
    const { context, probs } = attention({ qkv, cuSeqlens: [0, 2], A: 1, D: 1 })
    const first = 1 / (1 + Math.exp(-1 * (2 + 1)))
    const second = 1 / (1 + Math.exp(-3 * (2 + 1)))
    const want = [first, 1 - first, second, 1 - second]
    expect(distance(probs, want)).toBeLessThan(1e-15)
    expect(distance(context, [10 * first + 20 * (1 - first), 10 * second + 20 * (1 - second)])).toBeLessThan(1e-15)
  })

  it('gives a sequence the same outputs alone and in a batch', () => {
    const [A, D] = [2, 5]
    const batch = input([3, 1, 4], A, D)
    const width = 3 * A * D
    const { context, lse } = attention(batch)
    const alone = attention({ ...batch, qkv: batch.qkv.slice(4 * width), cuSeqlens: [0, 4] })
    expect([...alone.context]).toEqual([...context.slice(4 * A * D)])
    expect([...alone.lse]).toEqual([...lse.slice(4 * A)])
  })

  it('gives causal rows what they get in the shorter sequence', () => {
    const [A, D] = [2, 3]
    const long = input([5], A, D)
    const { context } = attention({ ...long, causal: true })
    const short = attention({ ...long, qkv: long.qkv.slice(0, 3 * 3 * A * D), cuSeqlens: [0, 3], causal: true })
    expect([...short.context]).toEqual([...context.slice(0, 3 * A * D)])
  })

  it('lets no hidden key through, and gives 0 where all are hidden', () => {
    const [A, D] = [1, 3]
    const batch = input([3, 2], A, D)
    const { context, probs, lse } = attention({ ...batch, keyMask: [1, 0, 1, 0, 0] })
    for (let i = 0; i < 3; i++) {
      expect(probs[i * 3 + 1]).toBe(0)
      expect(probs[i * 3] + probs[i * 3 + 2]).toBeCloseTo(1, 14)
    }
    expect([...context.slice(3 * D)]).toEqual(new Array(2 * D).fill(0))
    expect([...probs.slice(9)]).toEqual([0, 0, 0, 0])
    expect([...lse.slice(3)]).toEqual([Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY])
  })

  it('drops probabilities by query row * A + head and key', () => {
    const [A, D, p] = [2, 3, 0.5]
    const batch = input([2, 3], A, D)
    const plain = attention(batch).probs
    const keep = philoxKeep(key, p)
    const { probs } = attention({ ...batch, p, keep })
    let at = 0
    for (const [first, L] of [
      [0, 2],
      [2, 3],
    ])
      for (let head = 0; head < A; head++)
        for (let i = 0; i < L; i++)
          for (let j = 0; j < L; j++, at++)
            expect(probs[at]).toBeCloseTo(keep((first + i) * A + head, j) ? 2 * plain[at] : 0, 14)
    expect(at).toBe(probs.length)
  })

  const hidden = (rows: number) => Array.from({ length: rows }, (_, row) => (row % 3 === 1 ? 0 : 1))
  it.each([
    ['one token', [1], 1, 1, {}],
    ['one sequence', [7], 3, 5, {}],
    ['ragged', [1, 5, 2, 3], 2, 3, {}],
    ['causal', [1, 6, 2], 2, 3, { causal: true }],
    ['masked keys', [2, 5, 3], 2, 3, { keyMask: hidden(10) }],
    ['a sequence of hidden keys', [3, 2], 1, 3, { keyMask: [1, 1, 0, 0, 0] }],
    [
      'causal and masked, so that first rows see nothing',
      [4, 3],
      2,
      1,
      { causal: true, keyMask: [0, 1, 1, 0, 1, 1, 1] },
    ],
    ['dropout', [5, 3], 2, 3, { p: 0.3, keep: philoxKeep(key, 0.3) }],
    ['all of them', [5, 1, 4], 3, 2, { causal: true, keyMask: hidden(10), p: 0.3, keep: philoxKeep(key, 0.3) }],
  ] as [string, number[], number, number, Partial<Attention>][])('backward: %s', (_, lengths, A, D, extra) => {
    const options = { ...input(lengths, A, D), ...extra }
    const dcontext = uniform(attention(options).context.length, 2)
    const { dqkv } = attentionBackward({ ...options, dcontext })
    expectGradient(dqkv, options.qkv, () => dot(dcontext, attention(options).context))
  })
})

describe('crossAttention', () => {
  const [A, D] = [2, 3]
  const batch: CrossAttention = {
    q: uniform(6 * A * D, 2),
    kv: uniform(9 * 2 * A * D, 3),
    cuQueries: [0, 2, 2, 6],
    cuKeys: [0, 1, 4, 9],
    A,
    D,
  }

  it('of a query on one key is its value', () => {
    const { context } = crossAttention(batch)
    for (const row of [0, 1])
      expect(distance(context.slice(row * A * D, (row + 1) * A * D), batch.kv.slice(A * D, 2 * A * D))).toBeLessThan(
        1e-15,
      )
  })

  it('lets the last causal query see all keys, and the first all but as many as follow it', () => {
    const { probs } = crossAttention({ ...batch, causal: true })
    // the third sequence: 4 queries of 5 keys, after the 2 x 1 of the first
    const last = probs.slice(2 * A)
    expect(Array.from({ length: 4 }, (_, i) => last.slice(i * 5, i * 5 + 5).filter((prob) => prob > 0).length)).toEqual(
      [2, 3, 4, 5],
    )
  })

  it.each([
    ['', {}],
    [' with hidden keys', { keyMask: [1, 1, 0, 1, 0, 1, 1, 0, 1] }],
    [' causal', { causal: true }],
    [' with dropout', { p: 0.3, keep: philoxKeep(key, 0.3) }],
  ])('backward%s', (_name, more) => {
    const options = { ...batch, ...more }
    const dcontext = uniform(batch.q.length, 5)
    const { dq, dkv } = crossAttentionBackward({ ...options, dcontext })
    const loss = () => dot(crossAttention(options).context, dcontext)
    expectGradient(dq, options.q, loss)
    expectGradient(dkv, options.kv, loss)
  })
})
