// What a model takes in all, against the 128 MB of an edge worker. The figures are printed.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { binary, dist, installed, noReference, run, serve, settings } from './support.mjs'

/** Of the 128 MB; the rest is what a program has beside its model. */
const MOST = 100e6
const { missing } = installed(['miniflare', 'package.json'])
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`

describe('memory', () => {
  let server
  before(async () => {
    server = await serve()
  })
  after(() => server.close())

  /** Runs memory.mjs under the limit that an edge worker has by default, unless another is given. */
  async function measure(t, { minilm, ...more }) {
    const asked = { memoryLimit: 96 * 2 ** 20, ...more, minilm: minilm && server.url('minilm/') }
    const script = path.join(import.meta.dirname, 'memory.mjs')
    const args = ['--expose-gc', script, dist('edge.js'), JSON.stringify({ ...asked, binary: binary('bertkit') })]
    const { result, peak } = JSON.parse(await run(process.execPath, args))
    t.diagnostic(
      Object.entries(peak)
        .map(([name, bytes]) => `${name} ${megabytes(bytes)}`)
        .join(', '),
    )
    return { result, peak }
  }

  test('training BERT-Tiny, 16 x 64 tokens, fits in 100 MB in all', async (t) => {
    const { result, peak } = await measure(t, {})
    assert.ok(result.length === 5 && result.every((loss) => loss > 0 && loss < 2), `losses ${result}`)
    assert.ok(peak.linear > 4 * 4 * 4.3e6, 'weights, gradients and moments are counted')
    assert.ok(peak.total <= MOST)
  })

  test('MiniLM in int8, loaded over a connection, fits in 100 MB in all', { skip: noReference }, async (t) => {
    const { result, peak } = await measure(t, { minilm: true, dtype: 'int8' })
    assert.deepEqual(result, [252, 384])
    assert.ok(peak.linear > 22e6, 'the weights are counted')
    assert.ok(peak.total <= MOST)
  })

  test('MiniLM in float32 holds its weights once, and packs them where there is room', {
    skip: noReference,
  }, async (t) => {
    const WEIGHTS = 91e6
    const PACKED = 43e6
    const roomy = await measure(t, { minilm: true, dtype: 'float32', memoryLimit: 2 ** 30 })
    assert.ok(roomy.peak.total <= WEIGHTS + PACKED + 30e6)
    const narrow = await measure(t, { minilm: true, dtype: 'float32', memoryLimit: 110e6 })
    assert.deepEqual(narrow.result, roomy.result)
    assert.ok(narrow.peak.mostLinear <= 110e6)
  })

  test('MiniLM in int8 in workerd: its process grows by less than 128 MB, garbage and all', {
    skip: missing ?? noReference ?? (process.platform !== 'linux' && 'only Linux tells the memory of a process'),
  }, async (t) => {
    const { modulesOf, start } = await import('./workerd.mjs')
    const entry = path.join(import.meta.dirname, 'workerd-worker.mjs')
    const worker = start(await modulesOf(entry, binary('bertkit-relaxed')))
    try {
      await worker.ready
      const children = fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ')
      const own = children.find((pid) => fs.readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('workerd'))
      const bytes = (name) =>
        1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${own}/status`, 'utf8'))[1])
      const idle = bytes('VmRSS')
      const body = JSON.stringify({ call: 'embed', ...settings(server), options: { dtype: 'int8' } })
      const { cosine, error } = await (await worker.dispatchFetch('http://worker/', { method: 'POST', body })).json()
      assert.equal(error, undefined)
      assert.ok(cosine > 0.99, `cosine ${cosine}`)
      const grown = bytes('VmHWM') - idle
      t.diagnostic(`workerd's process grew by ${megabytes(grown)}`)
      assert.ok(grown < 128e6)
    } finally {
      await worker.dispose()
    }
  })
})
