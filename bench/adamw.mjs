// The global gradient norm and AdamW over as many parameters as BERT-base has, as bytes per second against memory that is only read, and updated in place; and
// AdamW on a weight of 3072 x 768 that it packs for products of both directions in the same pass. Each is checked against float64, the
// packing against pack_weight, before it is timed.
import { openBackend } from '../dist/backend/open.js'
import { Scalar } from '../dist/graph/op-table.js'
import { noise } from './measure.mjs'
import { makeRecord, rate, recordsOn, reporter, requireClose } from './records.mjs'

const LENGTH = 109_483_778
const [LR, DECAY, BETA1, BETA2, EPS] = [1e-3, 0.01, 0.9, 0.999, 1e-8]

export async function run({ json, ...where }) {
  const backend = await openBackend(recordsOn(where))
  const report = reporter(backend, json)
  const vector = (data) => ({ width: LENGTH, ...(data ? { data } : {}) })
  const g = noise(LENGTH, 1)
  const norm = await makeRecord(backend, {
    op: 'gradientNorm',
    operands: { g: vector(g), norm: { width: 2 } },
    attributes: { n: LENGTH },
    counts: {},
  })
  const length = Math.sqrt(g.reduce((sum, value) => sum + value * value, 0))
  requireClose('the norm', (await norm.read('norm'))[0], length, 1e-6 * length)
  const measuredNorm = await rate(backend, norm, 'read', 4 * LENGTH)
  report.add('gradient norm', { bench: 'adamw', kind: 'gradient_norm', parameters: LENGTH, ...measuredNorm })
  norm.dispose()

  const w = noise(LENGTH, 2)
  const update = await makeRecord(backend, {
    op: 'adamw',
    operands: {
      g: vector(g),
      norm: { width: 2, data: Float32Array.of(1, 1) },
      w: vector(w),
      expAvg: vector(),
      expAvgSq: vector(),
    },
    attributes: { n: LENGTH, W: LENGTH, G: LENGTH, wFirst: 0, gFirst: 0, group: Scalar.group0 },
    counts: {},
    scalars: { beta1: BETA1, beta2: BETA2, eps: EPS },
    group: [LR, DECAY, 1 - BETA1, Math.sqrt(1 - BETA2)],
  })
  const after = await update.read('w')
  for (let i = 0; i < LENGTH; i += 1_000_003)
    requireClose(`w[${i}]`, after[i], w[i] * (1 - LR * DECAY) - (LR * g[i]) / (Math.abs(g[i]) + EPS), 1e-6)
  const measured = await rate(backend, update, 'memory', 28 * LENGTH)
  report.add('AdamW', { bench: 'adamw', kind: 'adamw', parameters: LENGTH, ...measured })
  update.dispose()

  const [N, K] = [3072, 768]
  const n = N * K
  for (const product of ['float32', 'bfloat16']) {
    const { unit, columns, bytes } = backend.description.products[product]
    const words = (Math.ceil(K / unit) * unit * Math.ceil(N / columns) * columns * bytes) / 4
    const packed = { width: words }
    const attributes = { N, K, product: product === 'bfloat16' }
    const small = (values) => ({ width: n, ...(values ? { data: values } : {}) })
    const fused = await makeRecord(backend, {
      op: 'adamw',
      operands: {
        g: small(g.slice(0, n)),
        norm: { width: 2, data: Float32Array.of(1, 1) },
        w: small(w.slice(0, n)),
        expAvg: small(),
        expAvgSq: small(),
        packed,
      },
      attributes: { n, W: n, G: n, wFirst: 0, gFirst: 0, group: Scalar.group0, ...attributes },
      counts: {},
      scalars: { beta1: BETA1, beta2: BETA2, eps: EPS },
      group: [LR, DECAY, 1 - BETA1, Math.sqrt(1 - BETA2)],
    })
    const alone = await makeRecord(backend, {
      op: 'packWeight',
      operands: { w: small(await fused.read('w')), packed },
      attributes,
      counts: {},
    })
    const want = await alone.read('packed')
    if (!(await fused.read('packed')).every((value, i) => Object.is(value, want[i])))
      throw new Error('AdamW has not packed the weight that it has updated')
    const moved = 28 * n + 4 * words
    const rateOf = await rate(backend, fused, 'memory', moved)
    report.add(`AdamW, ${N} x ${K} packed in ${product}`, {
      bench: 'adamw',
      kind: 'adamw_packed',
      product,
      N,
      K,
      ...rateOf,
    })
    fused.dispose()
    alone.dispose()
  }
  report.end()
}
