// Malformed plans, one defect at a time; plan_fuzz.cc does it at random.
import { describe, expect, it } from 'vitest'
import { openNative } from '../../src/backend/native.ts'
import { PlanError } from '../../src/errors.ts'
import { Graph } from '../../src/graph/graph.ts'
import { Arena, ops, Row, Scalar } from '../../src/graph/op-table.ts'
import { compilePlan } from '../../src/graph/plan.ts'

const SCALARS = 6 + Object.keys(Row).length
const IO_UNITS = SCALARS + 1 + Arena.io
const HEADER = SCALARS + 1 + Object.keys(Arena).length
/** First words of the two records below: dropout with 3 operands and 5 attributes, cross_entropy with 4 and 5. */
const DROPOUT = HEADER
const LOSS = HEADER + 10

const INT_MAX = 2 ** 31 - 1
const floatBits = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0]

function valid() {
  const graph = new Graph({ tokens: 8, sequences: 2, labelled: 4, pairs: 0 }, { differentiate: false, training: true })
  const [x, y] = [graph.input('x', Row.tokens, 16, 'float32'), graph.input('y', Row.tokens, 16, 'float32')]
  graph.emit('dropout', { x, y }, { rows: Row.tokens, H: 16, p: 0.1, site: 1 })
  const [logits, labels] = [
    graph.input('logits', Row.labelled, 16, 'float32'),
    graph.input('labels', Row.labelled, 1, 'int32'),
  ]
  const [lse, loss] = [graph.input('lse', Row.labelled, 2, 'float32'), graph.input('loss', undefined, 1, 'float32')]
  const attributes = { rows: Row.labelled, C: 16, denominator: Scalar.denominator0, add: 0, smooth: 0 }
  graph.emit('crossEntropy', { logits, labels, lse, loss }, attributes)
  return compilePlan(graph)
}

type Defect = readonly [string, (words: Int32Array) => Int32Array, RegExp]
const set =
  (at: number, value: number) =>
  (words: Int32Array): Int32Array =>
    words.with(at, value)
/** Words cut to a length that the header agrees with. */
const cut = (length: number) => (words: Int32Array) => words.slice(0, length).with(5, length)

const x = 5 * 2 ** 28
const DEFECTS: Defect[] = [
  ['no words', () => new Int32Array(0), /header: expected at least 24 words but received 0/],
  ['less than a header', (words) => words.slice(0, HEADER - 1), /header: expected at least 24 words/],
  ['another magic number', set(0, 1), /header: not a plan/],
  ['another version', set(1, 99), /header: not a plan of version/],
  ['another list of ops', set(2, 1), /header: made for another list of ops/],
  ['a length that lies', set(5, 1000), /header: length 1000 but received/],
  ['a negative length', set(5, -1), /header: length -1/],
  ['a negative number of records', set(4, -1), /header: -1 records/],
  ['more records than words', set(4, INT_MAX), /header: 2147483647 records/],
  ['a record more than there is', set(4, 3), /record 2 .*beyond the end/],
  ['a record less than there is', set(4, 1), /11 words after the last record/],
  ['a negative capacity', set(6, -1), /header: row capacity -1/],
  ['a capacity beyond the arenas', set(6, INT_MAX), /record 0 \(dropout\): x ends at byte/],
  ['too few scalars', set(SCALARS, 23), /header: 23 scalars/],
  ['too many scalars', set(SCALARS, 10_000), /header: 10000 scalars/],
  ['a negative arena', set(IO_UNITS, -1), /header: arena 5 of -1 units/],
  ['an arena beyond what an operand can name', set(IO_UNITS, 2 ** 28), /header: arena 5 of/],
  [
    'an arena smaller than its operands',
    set(IO_UNITS, 1),
    /record 0 \(dropout\): x ends at byte 512 of an arena of 64/,
  ],
  ['op 0', set(DROPOUT, 0), /record 0 .*no op 0/],
  ['an unknown op', set(DROPOUT, 63), /no op 63/],
  ['a negative op', set(DROPOUT, -5), /no op -5/],
  ['a greatest op', set(DROPOUT, INT_MAX), /no op 2147483647/],
  ["another op's record", set(DROPOUT, ops.crossEntropy.id), /record 0 \(cross_entropy\): length 10, expected 11/],
  ['a record of length 0', set(DROPOUT + 1, 0), /record 0 \(dropout\): length 0, expected 10/],
  ['a record of negative length', set(DROPOUT + 1, -8), /length -8, expected 10/],
  ['a plan that ends inside a record', cut(LOSS + 4), /record 1 \(cross_entropy\): length 11/],
  ['a plan that ends inside the head of a record', cut(LOSS + 1), /record 1 .*beyond the end/],
  ['an operand missing', set(DROPOUT + 2, -1), /record 0 \(dropout\): x is missing/],
  ['arena 8', set(DROPOUT + 2, 8 * 2 ** 28), /x: no arena 8/],
  ['arena 15', set(DROPOUT + 2, -2), /x: no arena 15/],
  ['an operand behind its arena', set(DROPOUT + 2, x + 2 ** 28 - 1), /x ends at byte/],
  ['an operand that ends one unit too late', (words) => words.with(LOSS + 5, x + words[IO_UNITS]), /loss ends at byte/],
  ['an operand in an arena that the plan does not have', set(DROPOUT + 2, 0), /x ends at byte 512 of an arena of 0/],
  ['an output half on its input', set(DROPOUT + 4, x + 4), /y overlaps x/],
  [
    'an output on an input that it may not take',
    (words) => words.with(LOSS + 4, words[LOSS + 3]),
    /lse overlaps labels/,
  ],
  ['an output on another', (words) => words.with(LOSS + 5, words[LOSS + 4]), /lse overlaps loss/],
  ['no such row symbol', set(DROPOUT + 5, 9), /rows: 9 is no row symbol/],
  ['a negative row symbol', set(DROPOUT + 5, -1), /rows: -1 is no row symbol/],
  ['a width of 0', set(DROPOUT + 6, 0), /H = 0, expected at least 1/],
  ['a negative width', set(DROPOUT + 6, -16), /H = -16, expected at least 1/],
  ['a width beyond the arena', set(DROPOUT + 6, 17), /y overlaps x|x ends/],
  ['a greatest width', set(DROPOUT + 6, INT_MAX), /x ends at byte/],
  ['a probability of 1', set(DROPOUT + 7, floatBits(1)), /p is outside/],
  ['a negative probability', set(DROPOUT + 7, floatBits(-0.1)), /p is outside/],
  ['a probability of NaN', set(DROPOUT + 7, floatBits(Number.NaN)), /p is outside/],
  ['a probability of infinity', set(DROPOUT + 7, floatBits(Number.POSITIVE_INFINITY)), /p is outside/],
  ['no such element type', set(DROPOUT + 9, 2), /type: no element type 2/],
  ['a negative element type', set(DROPOUT + 9, -1), /type: no element type -1/],
  ['a scalar beyond the last', set(LOSS + 8, 25), /denominator: no scalar 25/],
  ['a negative scalar', set(LOSS + 8, -1), /denominator: no scalar -1/],
  ['a greatest scalar', set(LOSS + 8, INT_MAX), /denominator: no scalar 2147483647/],
  ['a flag of 2', set(LOSS + 9, 2), /add = 2, expected 0 to 1/],
  ['a flag of -1', set(LOSS + 9, -1), /add = -1/],
]

describe('a plan', () => {
  const backend = openNative({ threads: 1 })

  it('is accepted as it was recorded', () => {
    backend.compile(valid()).dispose()
  })

  it('may put an output exactly on the input that ops.def names', () => {
    const plan = valid()
    const words = plan.words.with(DROPOUT + 4, plan.words[DROPOUT + 2])
    backend.compile({ ...plan, words }).dispose()
  })

  it.each(DEFECTS)('with %s is a PlanError', (_, change, message) => {
    const plan = valid()
    const words = change(plan.words)
    expect(words).not.toEqual(plan.words)
    const compile = () => backend.compile({ ...plan, words })
    expect(compile).toThrow(PlanError)
    expect(compile).toThrow(message)
  })

  it('with dimensions whose product overflows is a PlanError', () => {
    const graph = new Graph(
      { tokens: 2, sequences: 1, labelled: 0, pairs: 0 },
      { differentiate: false, training: false },
    )
    const input = (name: string) => graph.input(name, undefined, 64, 'float32')
    const [qkv, context, lse] = ['qkv', 'context', 'lse'].map(input)
    const cuSeqlens = graph.input('cu_seqlens', undefined, 64, 'int32')
    const attributes = { rows: Row.tokens, seqs: Row.sequences, pairs: Row.pairs, causal: 0, p: 0, site: 0 }
    for (const [A, D] of [
      [INT_MAX, INT_MAX],
      [2 ** 16, 2 ** 16],
      [INT_MAX, 1],
      [1, INT_MAX],
    ]) {
      graph.records.length = 0
      graph.emit('attention', { qkv, cuSeqlens, context, lse }, { ...attributes, A, D })
      expect(() => backend.compile(compilePlan(graph))).toThrow(PlanError)
    }
  })
})
