// LayerNorm over the residual stream, forward and backward, as bytes per second of its operands against memory updated in place.
// Each is checked against float64 at sampled rows before it is timed.
import { openBackend } from '../dist/backend/open.js'
import { Row } from '../dist/graph/op-table.js'
import { noise } from './measure.mjs'
import { makeRecord, rate, recordsOn, reporter, requireClose, rounded } from './records.mjs'

// larger than the caches, so that memory is what is measured
const ROWS = 16384
const SHAPES = [
  { name: 'base', H: 768 },
  { name: 'minilm', H: 384 },
]
const EPS = 1e-12

export async function run({ json, dtype, ...where }) {
  const backend = await openBackend(recordsOn(where))
  const report = reporter(backend, json)
  for (const { name, H } of SHAPES) {
    const wide = (seed) => ({
      rows: Row.tokens,
      width: H,
      type: dtype,
      ...(seed ? { data: noise(ROWS * H, seed) } : {}),
    })
    const one = (data) => ({ rows: Row.tokens, width: 1, data })
    const [gamma, beta] = [
      { width: H, data: noise(H, 7) },
      { width: H, data: noise(H, 8) },
    ]
    const counts = { tokens: ROWS }
    const forward = await makeRecord(backend, {
      op: 'layerNorm',
      operands: { x: wide(1), residual: wide(2), gamma, beta, sum: wide(), y: wide(), mean: one(), rstd: one() },
      attributes: { rows: Row.tokens, H, eps: EPS, p: 0, site: 0 },
      counts,
    })
    const [sum, y, mean, rstd] = await Promise.all(['sum', 'y', 'mean', 'rstd'].map((operand) => forward.read(operand)))
    const [x, residual] = [1, 2].map((seed) => rounded(noise(ROWS * H, seed), dtype))
    for (let i = 0; i < sum.length; i += 4099)
      requireClose(`sum[${i}]`, sum[i], x[i] + residual[i], dtype === 'bfloat16' ? 2 ** -7 : 2 ** -23)
    const loose = dtype === 'bfloat16' ? 2e-2 : 1e-5
    const stats = (row) => {
      let [m, v] = [0, 0]
      for (let j = 0; j < H; j++) m += sum[row * H + j] / H
      for (let j = 0; j < H; j++) v += (sum[row * H + j] - m) ** 2 / H
      return [m, 1 / Math.sqrt(v + EPS)]
    }
    for (let sample = 0; sample < 20; sample++) {
      const row = (sample * 7919) % ROWS
      const [m, scale] = stats(row)
      for (let j = 0; j < H; j += 13)
        requireClose(
          `y[${row}, ${j}]`,
          y[row * H + j],
          (sum[row * H + j] - m) * scale * gamma.data[j] + beta.data[j],
          loose,
        )
    }
    const dy = wide(5)
    const backward = await makeRecord(backend, {
      op: 'layerNormBackward',
      operands: { dy, sum: { ...wide(), data: sum }, mean: one(mean), rstd: one(rstd), gamma, dx: wide() },
      attributes: { rows: Row.tokens, H, p: 0, site: 0, add: false },
      counts,
    })
    const [dx, given] = [await backward.read('dx'), rounded(dy.data, dtype)]
    for (let sample = 0; sample < 20; sample++) {
      const row = (sample * 7919) % ROWS
      const [m, scale] = stats(row)
      let [g, gh] = [0, 0]
      for (let j = 0; j < H; j++) {
        const value = given[row * H + j] * gamma.data[j]
        g += value / H
        gh += (value * (sum[row * H + j] - m) * scale) / H
      }
      for (let j = 0; j < H; j += 13) {
        const h = (sum[row * H + j] - m) * scale
        requireClose(
          `dx[${row}, ${j}]`,
          dx[row * H + j],
          scale * (given[row * H + j] * gamma.data[j] - g - h * gh),
          loose,
        )
      }
    }
    for (const [kind, record] of Object.entries({ forward, backward })) {
      const measured = await rate(backend, record, 'memory', record.bytes)
      report.add(`${name} ${ROWS} x ${H} ${kind}`, {
        bench: 'layer-norm',
        dtype,
        name,
        kind,
        rows: ROWS,
        H,
        ...measured,
      })
      record.dispose()
    }
  }
  report.end()
}
