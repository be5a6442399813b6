// A linear layer of int8 weights against the same layer in float32 with its weight packed, as inference runs it; in turn, on the same
// inputs. Each is checked against float64 sums at sampled elements before it is timed: int8's of the rounded values.
import { openBackend } from '../dist/backend/open.js'
import { Row } from '../dist/graph/op-table.js'
import { int8Words, PANEL, panelBytes } from '../dist/int8.js'
import { median, noise, provenance, time } from './measure.mjs'
import { makeRecord, recordsOn, requireClose } from './records.mjs'
import { models } from './shapes.mjs'

const layers = (model, rows) => {
  const [hidden, , , intermediate] = models[model]
  return [
    { name: `${model} qkv`, rows, K: hidden, N: 3 * hidden },
    { name: `${model} intermediate`, rows, K: hidden, N: intermediate },
    { name: `${model} output`, rows, K: intermediate, N: hidden },
  ]
}
const shapes = [...layers('minilm', 128), ...layers('minilm', 16), ...layers('minilm', 1), ...layers('base', 128)]

/** Columns of x that the kernel rounds by one scale. */
const BLOCK = 64

/** Element k of row n of an int8 matrix of K columns. */
const element = (bytes, n, k, K) =>
  bytes[Math.floor(n / PANEL) * panelBytes(K) + (k >> 2) * PANEL * 4 + (n % PANEL) * 4 + (k & 3)]

/** A matrix [N, K] as int8, by the engine. */
async function toInt8(backend, values, K) {
  const N = values.length / K
  const words = int8Words(N, K)
  const record = await makeRecord(backend, {
    op: 'quantizeRows',
    operands: {
      x: { rows: Row.tokens, width: K, data: values },
      w: { width: words, type: 'int32' },
      scale: { width: N },
    },
    attributes: { rows: Row.tokens, N, K, words, first: 0 },
    counts: { tokens: N },
  })
  try {
    return { words: new Int32Array((await record.read('w')).buffer), scales: await record.read('scale') }
  } finally {
    record.dispose()
  }
}

/** Row r of x as the kernel rounds it: its blocks are the rows of a matrix. */
async function rounded(backend, x, r, K) {
  const { words, scales } = await toInt8(backend, x.subarray(r * K, (r + 1) * K), BLOCK)
  const bytes = new Int8Array(words.buffer)
  return Float64Array.from({ length: K }, (_, k) => {
    const block = Math.floor(k / BLOCK)
    return scales[block] * element(bytes, block, k % BLOCK, BLOCK)
  })
}

async function pair(backend, { rows, K, N }) {
  const [x, w, bias] = [noise(rows * K, 1), noise(N * K, 2), noise(N, 3)]
  const { words, scales } = await toInt8(backend, w, K)
  const { columns, unit, bytes } = backend.description.products.float32
  const packedWords = (Math.ceil(K / unit) * unit * Math.ceil(N / columns) * columns * bytes) / 4
  const shape = { rows: Row.tokens, K, N }
  const counts = { tokens: rows }
  const packing = await makeRecord(backend, {
    op: 'packWeight',
    operands: { w: { width: N * K, data: w }, forward: { width: packedWords } },
    attributes: { N, K, product: false },
    counts,
  })
  const packed = await packing.read('forward')
  packing.dispose()
  const common = { x: { rows: Row.tokens, width: K, data: x }, bias: { width: N, data: bias } }
  const y = { rows: Row.tokens, width: N }
  const float32 = await makeRecord(backend, {
    op: 'linear',
    operands: { ...common, w: { width: N * K, data: w }, packed: { width: packedWords, data: packed }, y },
    attributes: { ...shape, act: 'linear' },
    counts,
  })
  const int8 = await makeRecord(backend, {
    op: 'linearInt8',
    operands: {
      ...common,
      w: { width: words.length, type: 'int32', data: words },
      scale: { width: N, data: scales },
      y,
    },
    attributes: { ...shape, act: 'linear' },
    counts,
  })
  const [got, got8] = [await float32.read('y'), await int8.read('y')]
  const bytesOf = new Int8Array(words.buffer)
  for (let sample = 0; sample < 200; sample++) {
    const [i, n] = [(sample * 7919) % rows, (sample * 104729) % N]
    const x8 = await rounded(backend, x, i, K)
    let [sum, sum8, magnitude] = [bias[n], 0, Math.abs(bias[n])]
    for (let k = 0; k < K; k++) {
      sum += x[i * K + k] * w[n * K + k]
      sum8 += x8[k] * element(bytesOf, n, k, K) * scales[n]
      magnitude += Math.abs(x[i * K + k] * w[n * K + k])
    }
    requireClose(`float32 (${i}, ${n})`, got[i * N + n], sum, 2.1 * K * 2 ** -24 * magnitude)
    requireClose(`int8 (${i}, ${n})`, got8[i * N + n], sum8 + bias[n], 4 * 2 ** -24 * magnitude)
  }
  return { float32, int8 }
}

export async function run({ json, filter, ...where }) {
  const backend = await openBackend(recordsOn(where))
  const from = provenance(backend.description)
  for (const shape of shapes) {
    if (filter && !shape.name.includes(filter)) continue
    const records = await pair(backend, shape)
    const repeats = Math.max(1, Math.round(5e7 / (shape.rows * shape.K * shape.N)))
    const times = { float32: [], int8: [] }
    for (let round = 0; round < 9; round++)
      for (const [type, record] of Object.entries(records)) {
        const [seconds] = await time(
          async () => {
            for (let i = 0; i < repeats; i++) await record.run()
          },
          { runs: 1, warm: 1 },
        )
        times[type].push((1000 * seconds) / repeats)
      }
    const [float32, int8] = [median(times.float32), median(times.int8)]
    const result = { bench: 'linear-int8', ...shape, float32_ms: float32, int8_ms: int8, ratio: float32 / int8 }
    if (json) console.log(JSON.stringify({ ...result, ...from }))
    else
      console.log(
        `${shape.name.padEnd(22)} ${`${shape.rows} x ${shape.K} -> ${shape.N}`.padEnd(22)} float32 ${float32.toFixed(3).padStart(8)} ms, int8 ${int8.toFixed(3).padStart(8)} ms: ${(float32 / int8).toFixed(2)} x`,
      )
    for (const record of Object.values(records)) record.dispose()
  }
  if (!json) console.log(JSON.stringify(from))
}
