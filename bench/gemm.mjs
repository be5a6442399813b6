// The three products of a linear layer against this machine's own peak of fused multiply-adds, measured in the same run.
// Every product is checked against a float64 sum at sampled elements before it is timed.
import { openBackend } from '../dist/backend/open.js'
import { Graph } from '../dist/graph/graph.js'
import { Arena, Row } from '../dist/graph/op-table.js'
import { compilePlan } from '../dist/graph/plan.js'
import { median, noise, provenance, time } from './measure.mjs'
import { products } from './shapes.mjs'

const fixed = (name, rows, width, offset) => ({
  name,
  rows,
  width,
  type: 'float32',
  arena: Arena.io,
  offset,
  requiresGrad: false,
})

/** One record on inputs of its own; element (i, j) of the result is the sum over k of left(i, k) right(k, j). */
function problem(kind, { rows, K, N }) {
  const bytes = (n) => Math.ceil((n * 4) / 64) * 64
  const graph = new Graph(
    { tokens: rows, sequences: 0, labelled: 0, pairs: 0 },
    { differentiate: false, training: false },
  )
  let end = 0
  const place = (name, symbol, width, elements) => {
    const value = fixed(name, symbol, width, end)
    end += bytes(elements)
    return value
  }
  const x = place('x', Row.tokens, K, rows * K)
  const w = place('w', undefined, N * K, N * K)
  const y = place('y', Row.tokens, N, rows * N)
  const shape = { rows: Row.tokens, K, N }
  if (kind === 'forward') graph.emit('linear', { x, w, y }, { ...shape, act: 'linear' })
  if (kind === 'data gradient') graph.emit('linearBackwardData', { dy: y, w, dx: x }, { ...shape, add: false })
  if (kind === 'weight gradient')
    graph.emit('linearBackwardWeight', { dy: y, x, dw: w }, { ...shape, T: N, first: 0, accumulate: false })
  const X = { ...x, elements: rows * K, row: K }
  const Wt = { ...w, elements: N * K, row: K }
  const Y = { ...y, elements: rows * N, row: N }
  // operands as (value, element index)
  const sums = {
    forward: { out: Y, length: K, left: X, right: Wt, at: (i, j, k) => [i * K + k, j * K + k], count: [rows, N] },
    'data gradient': {
      out: X,
      length: N,
      left: Y,
      right: Wt,
      at: (i, j, k) => [i * N + k, k * K + j],
      count: [rows, K],
    },
    'weight gradient': {
      out: Wt,
      length: rows,
      left: Y,
      right: X,
      at: (i, j, k) => [k * N + i, k * K + j],
      count: [N, K],
    },
  }
  return { graph, end, ...sums[kind] }
}

function verify(memory, { out, length, at, count }, a, b) {
  const result = new Float32Array(out.elements)
  memory.read(Arena.io, out.offset, result)
  for (let sample = 0; sample < 200; sample++) {
    const i = (sample * 7919) % count[0]
    const j = (sample * 104729) % count[1]
    let sum = 0
    let bound = 0
    for (let k = 0; k < length; k++) {
      const [p, q] = at(i, j, k)
      sum += a[p] * b[q]
      bound += Math.abs(a[p] * b[q])
    }
    const error = Math.abs(result[i * out.row + j] - sum)
    if (!(error <= 2 * length * 2 ** -24 * bound))
      throw new Error(`element (${i}, ${j}) is ${result[i * out.row + j]}, expected ${sum}`)
  }
}

export async function run({ json, filter }) {
  const backend = openBackend()
  const results = []
  for (const shape of products) {
    if (filter && !shape.name.includes(filter)) continue
    for (const kind of ['forward', 'data gradient', 'weight gradient']) {
      const p = problem(kind, shape)
      const plan = compilePlan(p.graph)
      const program = backend.compile(plan)
      const memory = backend.createMemory()
      memory.reserve(Arena.io, p.end)
      memory.reserve(Arena.activations, 64)
      const a = noise(p.left.elements, 1)
      const b = noise(p.right.elements, 2)
      memory.write(Arena.io, p.left.offset, a)
      memory.write(Arena.io, p.right.offset, b)
      const scalars = new Float64Array(plan.scalars)
      scalars[Row.tokens] = shape.rows
      await program.run(memory, scalars)
      verify(memory, p, a, b)
      // the peak before and after, so that a busy or throttled machine shows in both
      const before = backend.measurePeak(0.15)
      const flops = 2 * shape.rows * shape.K * shape.N
      const repeats = Math.max(1, Math.round(2e9 / flops))
      const seconds = await time(async () => {
        for (let i = 0; i < repeats; i++) await program.run(memory, scalars)
      })
      const peak = Math.max(before, backend.measurePeak(0.15))
      const rate = (flops * repeats) / median(seconds)
      const result = {
        bench: 'gemm',
        name: shape.name,
        kind,
        rows: shape.rows,
        K: shape.K,
        N: shape.N,
        gflops: +(rate / 1e9).toFixed(1),
        peak_gflops: +(peak / 1e9).toFixed(1),
        fraction: +(rate / peak).toFixed(3),
      }
      results.push(result)
      if (!json)
        console.log(
          `${shape.name.padEnd(22)} ${kind.padEnd(16)} ${String(result.gflops).padStart(7)} GF/s of ${String(result.peak_gflops).padStart(7)}  ${(100 * result.fraction).toFixed(0)}%`,
        )
      memory.dispose()
      program.dispose()
    }
  }
  const from = provenance(backend.description)
  if (json) for (const result of results) console.log(JSON.stringify({ ...result, ...from }))
  else console.log(JSON.stringify(from))
}
