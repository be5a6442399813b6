// Data that a kernel must refuse: a typed error that names the operand, never a wild access.
import { describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { ArgumentError, BackendError } from '../../src/errors.ts'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'
import { type Open, Random, type RowCounts, runRecord } from './harness.ts'

const random = new Random(41)
const [T, H, V] = [6, 5, 7]
const ids = Int32Array.of(0, 1, 2, 3, 4, 6)
const zeros = new Int32Array(T)
const reals = (count: number) => random.reals(count)

/** A name, the operand that the error must name, and the run. */
type Refusal = readonly [string, string, (backend: Backend) => Promise<unknown>]

const OUTSIDE = [-1, -2147483648, 2147483647]

function indices(): Refusal[] {
  const rows: RowCounts = { tokens: T, sequences: 2, labelled: T }
  const put = (values: Int32Array, at: number, value: number) => values.with(at, value)
  const tables = { word: reals(V * H), type: reals(2 * H), position: reals(9 * H) }
  const embedding =
    (operands: object): Refusal[2] =>
    (backend) =>
      runRecord(backend, {
        op: 'embedding',
        operands: { ids, typeIds: zeros, positionIds: ids, ...tables, ...operands },
        attributes: { rows: Row.tokens, H, V, Y: 2, P: 9 },
        rows,
      })
  const cases: Refusal[] = []
  for (const bad of [...OUTSIDE, V]) cases.push([`id ${bad}`, 'ids', embedding({ ids: put(ids, T - 1, bad) })])
  for (const bad of [...OUTSIDE, 2]) cases.push([`type ${bad}`, 'type_ids', embedding({ typeIds: put(zeros, 3, bad) })])
  for (const bad of [...OUTSIDE, 9])
    cases.push([`position ${bad}`, 'position_ids', embedding({ positionIds: put(ids, 0, bad) })])
  for (const bad of [...OUTSIDE, V])
    cases.push([
      `id ${bad} backward`,
      'ids',
      (backend) =>
        runRecord(backend, {
          op: 'embeddingBackward',
          operands: { ids: put(ids, 2, bad), dy: reals(T * H) },
          attributes: { rows: Row.tokens, H, V, paddingIdx: -1, accumulate: 0 },
          rows,
        }),
    ])
  for (const bad of [...OUTSIDE, T]) {
    const attributes = { from: Row.tokens, to: Row.sequences, H }
    const index = Int32Array.of(0, bad)
    cases.push([
      `index ${bad}`,
      'index',
      (backend) => runRecord(backend, { op: 'gatherRows', operands: { x: reals(T * H), index }, attributes, rows }),
    ])
    cases.push([
      `index ${bad} backward`,
      'index',
      (backend) =>
        runRecord(backend, {
          op: 'gatherRowsBackward',
          operands: { dy: reals(2 * H), index },
          attributes: { ...attributes, add: 0 },
          rows,
        }),
    ])
  }
  for (const bad of [...OUTSIDE, -99, -101, H]) {
    const attributes = { rows: Row.labelled, C: H, denominator: Scalar.denominator0, smooth: 0 }
    const [logits, labels] = [reals(T * H), put(zeros, 4, bad)]
    cases.push([
      `label ${bad}`,
      'labels',
      (backend) =>
        runRecord(backend, {
          op: 'crossEntropy',
          operands: { logits, labels },
          attributes: { ...attributes, add: 0, smooth: 0 },
          rows,
        }),
    ])
    cases.push([
      `label ${bad} backward`,
      'labels',
      (backend) =>
        runRecord(backend, {
          op: 'crossEntropyBackward',
          operands: { logits, labels, lse: reals(2 * T) },
          attributes,
          rows,
        }),
    ])
  }
  return cases
}

const BORDERS: Record<string, readonly number[]> = {
  'an empty sequence': [0, 3, 3, 6],
  'an empty first sequence': [0, 0, 3, 6],
  'an empty last sequence': [0, 3, 6, 6],
  'borders that go back': [0, 4, 2, 6],
  'a first border that is not 0': [1, 2, 4, 6],
  'a negative border': [0, -3, 4, 6],
  'a sequence beyond the rows': [0, 2, 4, 7],
  'a border far beyond': [0, 2147483647, 4, 6],
  'sequences that end before the rows do': [0, 1, 2, 5],
}

function borders(): Refusal[] {
  const [A, D] = [2, 3]
  const width = A * D
  return Object.entries(BORDERS).flatMap(([name, list]): Refusal[] => {
    const cuSeqlens = Int32Array.from(list)
    const rows = { tokens: T, sequences: 3, pairs: 12 }
    const attributes = { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A, D, causal: 0, p: 0, site: 0 }
    const [qkv, lse] = [reals(T * 3 * width), reals(T * A)]
    const backward = { dcontext: reals(T * width), qkv, context: reals(T * width), lse, cuSeqlens }
    return [
      [
        name,
        'cu_seqlens',
        (backend) => runRecord(backend, { op: 'attention', operands: { qkv, cuSeqlens }, attributes, rows }),
      ],
      [
        `${name}, backward`,
        'cu_seqlens',
        (backend) => runRecord(backend, { op: 'attentionBackward', operands: backward, attributes, rows }),
      ],
      [
        `${name}, probabilities`,
        'cu_seqlens',
        (backend) =>
          runRecord(backend, {
            op: 'attentionProbs',
            operands: { qkv, lse, cuSeqlens },
            attributes,
            rows,
          }),
      ],
    ]
  })
}

/** A plan of one dropout over at most four rows. */
function dropoutProgram(backend: Backend) {
  const graph = new Graph({ tokens: 4, sequences: 1, labelled: 0, pairs: 0 }, { differentiate: false, training: false })
  const [x, y] = ['x', 'y'].map((name) => graph.input(name, Row.tokens, H, 'float32'))
  graph.emit('dropout', { x, y }, { rows: Row.tokens, H, p: 0.1, site: 1 })
  const plan = compilePlan(graph)
  const memory = backend.createMemory()
  memory.reserve(Arena.io, plan.arenaBytes.io)
  return { program: backend.compile(plan), memory, scalars: new Float64Array(plan.scalars) }
}

export function refusals(open: Open): void {
  describe('refuses', () => {
    const backend = open()

    it.each([...indices(), ...borders()])('%s', async (_, operand, run) => {
      const error = await run(backend).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).toBeInstanceOf(ArgumentError)
      expect((error as Error).message).toMatch(new RegExp(`${operand}\\[\\d+\\] is -?\\d+, expected`))
    })

    it('a number of pairs that the sequences do not have', async () => {
      const record = {
        attributes: { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, A: 1, D: 1, causal: 0, p: 0, site: 0 },
        rows: { tokens: 4, sequences: 2, pairs: 11 },
      }
      const operands = { qkv: reals(12), cuSeqlens: Int32Array.of(0, 1, 4) }
      const probs = runRecord(backend, { ...record, op: 'attentionProbs', operands: { ...operands, lse: reals(4) } })
      await expect(probs).rejects.toThrow(ArgumentError)
      const keep = new Int32Array(11)
      const masked = runRecord(backend, { ...record, op: 'attention', operands: { ...operands, keep } })
      await expect(masked).rejects.toThrow(/pairs.* 11, expected .*10/)
    })

    it.each([
      ['more rows than the capacity', 5, 'capacity'],
      ['a fractional number of rows', 2.5, 'integer'],
      ['a negative number of rows', -1, 'integer'],
      ['a number of rows that is none', Number.NaN, 'integer'],
    ])('%s', async (_, tokens, text) => {
      const { program, memory, scalars } = dropoutProgram(backend)
      scalars[Row.tokens] = tokens
      await expect(program.run(memory, scalars)).rejects.toThrow(BackendError)
      await expect(program.run(memory, scalars)).rejects.toThrow(text)
      scalars[Row.tokens] = 4
      await program.run(memory, scalars)
    })

    it('scalars that are not finite, too many or too few', async () => {
      const { program, memory, scalars } = dropoutProgram(backend)
      await expect(program.run(memory, scalars.with(Scalar.eps, Number.NaN))).rejects.toThrow(BackendError)
      await expect(program.run(memory, scalars.with(Scalar.seed, Number.POSITIVE_INFINITY))).rejects.toThrow(
        BackendError,
      )
      await expect(program.run(memory, scalars.slice(1))).rejects.toThrow(BackendError)
      await expect(program.run(memory, Float64Array.of(...scalars, 0))).rejects.toThrow(BackendError)
    })

    it('a memory that is too small for the plan', async () => {
      const { program, scalars } = dropoutProgram(backend)
      await expect(program.run(backend.createMemory(), scalars)).rejects.toThrow(BackendError)
    })
  })
}
