// Dropout by a mask that is given: with the mask that a seed would draw, every op gives the bits of that seed, whatever its own seed is.
// What those are to be, the other files compare with the reference.
import { describe, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import type { FloatType } from '../../src/graph/graph.ts'
import { type OpName, Row } from '../../src/graph/op-table.ts'
import { philoxKeep } from '../reference/philox.ts'
import { expectSame, type Open, Random, type RecordCase, runRecord, stored } from './harness.ts'

const p = Math.fround(0.3)
const KEY = { seed: 123, step: 4, microStep: 1 }
const SITE = 99
const keep = philoxKeep({ ...KEY, site: SITE }, p)

async function check<Name extends OpName>(backend: Backend, record: RecordCase<Name>, mask: Int32Array) {
  const drawn = await runRecord(backend, { ...record, scalars: KEY })
  const given = await runRecord(backend, {
    ...record,
    operands: { ...record.operands, keep: mask },
    scalars: { ...KEY, seed: 7 },
  })
  for (const [name, values] of Object.entries(drawn)) expectSame(`${record.op} ${name}`, given[name], values)
}

/** [rows, H], any number but 0 for what is kept. */
const rowMask = (rows: number, H: number): Int32Array =>
  Int32Array.from({ length: rows * H }, (_, i) => (keep(Math.floor(i / H), i % H) ? i - 7 || 1 : 0))

async function checkRows(backend: Backend, type: FloatType, rows: number, H: number) {
  const random = new Random(31)
  const reals = (count: number) => stored(random.reals(count), type)
  const [x, residual] = [reals(rows * H), reals(rows * H)]
  const [gamma, beta, mean] = [random.reals(H), random.reals(H), random.reals(rows)]
  const rstd = random.reals(rows).map((value) => Math.fround(Math.abs(value) + 0.5))
  const run = { type, rows: { tokens: rows } }
  const attributes = { rows: Row.tokens, H, p, site: SITE }
  const mask = rowMask(rows, H)
  await check(backend, { ...run, op: 'dropout', operands: { x }, attributes }, mask)
  await check(backend, { ...run, op: 'dropout', operands: { x }, attributes, inPlace: { y: 'x' } }, mask)
  const operands = { x, residual, gamma, beta }
  await check(backend, { ...run, op: 'layerNorm', operands, attributes: { ...attributes, eps: 1e-6 } }, mask)
  const backward = { dy: x, sum: residual, mean, rstd, gamma }
  const added = { ...attributes, add: false }
  await check(backend, { ...run, op: 'layerNormBackward', operands: backward, attributes: added }, mask)
}

interface Lengths {
  readonly queries: readonly number[]
  readonly keys: readonly number[]
}

/** Of each sequence in turn [A, queries, keys]. A row of the drawn masks is a (query, head). */
function pairMask({ queries, keys }: Lengths, A: number): Int32Array {
  const mask: number[] = []
  let first = 0
  for (const [b, length] of queries.entries()) {
    for (let head = 0; head < A; head++)
      for (let i = 0; i < length; i++)
        for (let j = 0; j < keys[b]; j++) mask.push(Number(keep((first + i) * A + head, j)))
    first += length
  }
  return Int32Array.from(mask)
}

const bordersOf = (lengths: readonly number[]): Int32Array =>
  Int32Array.from([0, ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))])

async function checkAttention(backend: Backend, type: FloatType, causal: boolean) {
  const [A, D] = [2, 5]
  const random = new Random(37)
  const reals = (count: number) => stored(random.reals(count), type)
  const lengths = [1, 7, 33, 64, 2, 17]
  const cuSeqlens = bordersOf(lengths)
  const rows = cuSeqlens[lengths.length]
  const keyMask = Int32Array.from({ length: rows }, () => random.below(3))
  const lse = random.reals(rows * A)
  const [context, dcontext, qkv] = [reals(rows * A * D), reals(rows * A * D), reals(rows * 3 * A * D)]
  const shared = { A, D, causal, p, site: SITE, seqs: Row.sequences, rows: Row.tokens }
  const self = { ...shared, pairs: Row.pairs }
  const mask = pairMask({ queries: lengths, keys: lengths }, A)
  const run = { type, rows: { tokens: rows, sequences: lengths.length, pairs: mask.length / A } }
  const inputs = { qkv, cuSeqlens, keyMask }
  await check(backend, { ...run, op: 'attention', operands: inputs, attributes: self }, mask)
  const backward = { ...inputs, context, dcontext, lse }
  await check(backend, { ...run, op: 'attentionBackward', operands: backward, attributes: self }, mask)
  await check(backend, { ...run, op: 'attentionProbs', operands: { ...inputs, lse }, attributes: self }, mask)

  const queries = [0, 3, 33, 1, 50, 17]
  const cuQueries = bordersOf(queries)
  const count = cuQueries[queries.length]
  const crossMask = pairMask({ queries, keys: lengths }, A)
  const crossRun = {
    type,
    rows: { tokens: count, keys: rows, sequences: lengths.length, keyPairs: crossMask.length / A },
  }
  const attributes = { ...shared, pairs: Row.keyPairs, keys: Row.keys }
  const [q, kv] = [reals(count * A * D), reals(rows * 2 * A * D)]
  const crossInputs = { q, kv, cuQueries, cuKeys: cuSeqlens, keyMask }
  await check(backend, { ...crossRun, op: 'crossAttention', operands: crossInputs, attributes }, crossMask)
  const saved = { lse: random.reals(count * A) }
  const crossBackward = { ...crossInputs, ...saved, context: reals(count * A * D), dcontext: reals(count * A * D) }
  await check(backend, { ...crossRun, op: 'crossAttentionBackward', operands: crossBackward, attributes }, crossMask)
  const probs = { ...crossInputs, ...saved }
  await check(backend, { ...crossRun, op: 'crossAttentionProbs', operands: probs, attributes }, crossMask)
}

export function givenMasks(open: Open): void {
  describe('a mask that is given', () => {
    const backend = open()

    for (const type of ['float32', 'bfloat16'] as const) {
      it(`is that of dropout and layer_norm, ${type}`, async () => {
        for (const [rows, H] of [
          [1, 1],
          [3, 5],
          [5, 64],
          [4, 67],
          [2, 200],
        ])
          await checkRows(backend, type, rows, H)
      })

      it(`is that of attention, ${type}`, async () => {
        for (const causal of [false, true]) await checkAttention(backend, type, causal)
      })
    }
  })
}
