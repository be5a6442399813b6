// The three products of a linear layer against this machine's own peak of products in registers, measured in the same run.
// Every product is checked against a float64 sum at sampled elements before it is timed.
import { openBackend } from '../dist/backend/open.js'
import { Row } from '../dist/graph/op-table.js'
import { noise } from './measure.mjs'
import { makeRecord, rate, recordsOn, reporter, requireClose, rounded } from './records.mjs'
import { products } from './shapes.mjs'

const KINDS = {
  forward: {
    op: 'linear',
    names: ['x', 'w', 'y'],
    attributes: { act: 'linear' },
    length: ({ K }) => K,
    count: ({ rows, N }) => [rows, N],
    at: (i, j, k, { K }) => [i * K + k, j * K + k],
  },
  'data gradient': {
    op: 'linearBackwardData',
    names: ['dy', 'w', 'dx'],
    attributes: { add: false },
    length: ({ N }) => N,
    count: ({ rows, K }) => [rows, K],
    at: (i, j, k, { K, N }) => [i * N + k, k * K + j],
  },
  'weight gradient': {
    op: 'linearBackwardWeight',
    names: ['dy', 'x', 'dw'],
    attributes: { first: 0, accumulate: false },
    length: ({ rows }) => rows,
    count: ({ N, K }) => [N, K],
    at: (i, j, k, { K, N }) => [k * N + i, k * K + j],
  },
}

async function problem(backend, kind, shape, dtype) {
  const { op, names, attributes, length, count, at } = KINDS[kind]
  const { rows, K, N } = shape
  const activation = (width) => ({ rows: Row.tokens, width, type: dtype })
  const all = { x: activation(K), y: activation(N), dx: activation(K), dy: activation(N) }
  const weights = { width: N * K }
  const operands = Object.fromEntries(names.map((name) => [name, all[name] ?? weights]))
  const elements = ({ width, rows: symbol }) => width * (symbol === undefined ? 1 : rows)
  const [a, b] = names.slice(0, 2).map((name, i) => noise(elements(operands[name]), i + 1))
  operands[names[0]] = { ...operands[names[0]], data: a }
  operands[names[1]] = { ...operands[names[1]], data: b }
  const record = await makeRecord(backend, {
    op,
    operands,
    attributes: { rows: Row.tokens, K, N, ...(op === 'linearBackwardWeight' ? { T: N } : {}), ...attributes },
    counts: { tokens: rows },
  })
  const [p, q] = [rounded(a, dtype), rounded(b, dtype)]
  const result = await record.read(names[2])
  const [height, width] = count(shape)
  for (let sample = 0; sample < 200; sample++) {
    const [i, j] = [(sample * 7919) % height, (sample * 104729) % width]
    let sum = 0
    let magnitude = 0
    for (let k = 0; k < length(shape); k++) {
      const [left, right] = at(i, j, k, shape)
      sum += p[left] * q[right]
      magnitude += Math.abs(p[left] * q[right])
    }
    const rounding = dtype === 'bfloat16' ? 2 ** -8 * Math.abs(sum) : 0
    requireClose(
      `${kind}: (${i}, ${j})`,
      result[i * width + j],
      sum,
      2.1 * length(shape) * 2 ** -24 * magnitude + rounding,
    )
  }
  return record
}

export async function run({ json, filter, dtype, ...where }) {
  const backend = await openBackend(recordsOn(where))
  const report = reporter(backend, json)
  for (const shape of products) {
    if (filter && !shape.name.includes(filter)) continue
    for (const kind of Object.keys(KINDS)) {
      const record = await problem(backend, kind, shape, dtype)
      const measured = await rate(backend, record, dtype, 2 * shape.rows * shape.K * shape.N)
      report.add(`${shape.name.padEnd(22)} ${kind}`, { bench: 'gemm', dtype, kind, ...shape, ...measured })
      record.dispose()
    }
  }
  report.end()
}
