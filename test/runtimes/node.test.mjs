// Node: the default entry in a worker and inline, on both instruction sets, and the edge entry, which has no workers here.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { binary, dist, runMain, serve, settings, verify } from './support.mjs'

const BASELINE = ['--no-experimental-wasm-relaxed-simd']
const RELAXED = ['--experimental-wasm-relaxed-simd']
const INLINE = { worker: false }

describe(`Node ${process.versions.node}`, () => {
  let server
  before(async () => {
    server = await serve()
  })
  after(() => server.close())

  const cases = [
    { title: 'bertkit, in a worker with two threads', entry: 'index.js', flags: BASELINE, options: { threads: 2 } },
    { title: 'bertkit, in a worker', entry: 'index.js', flags: BASELINE, options: { threads: 1 } },
    { title: 'bertkit, inline', entry: 'index.js', flags: BASELINE, options: { wasm: INLINE } },
    { title: 'bertkit/edge, with the bytes of a binary', entry: 'edge.js', flags: BASELINE, bytes: true },
    {
      title: 'bertkit, relaxed, in a worker with two threads',
      entry: 'index.js',
      flags: RELAXED,
      options: { threads: 2 },
    },
    { title: 'bertkit, relaxed, inline', entry: 'index.js', flags: RELAXED, options: { wasm: INLINE } },
  ]
  for (const { title, entry, flags, options = {}, bytes = false } of cases)
    test(title, async () => {
      const asked = { options: { backend: 'wasm', ...options }, ...(bytes && { binary: binary('bertkit') }) }
      const result = await runMain([process.execPath, ...flags], dist(entry), settings(server, asked))
      assert.equal(result.description.backend, 'wasm')
      assert.equal(result.description.isa, flags === RELAXED ? 'relaxed' : 'simd128')
      assert.equal(result.description.threads, options.threads ?? 1)
      await verify(result)
    })

  test('bertkit/edge cannot fetch the binary from the disk, and says what can be done', async () => {
    const running = runMain([process.execPath], dist('edge.js'), { options: {} })
    await assert.rejects(running, /BackendError: .*bertkit(-relaxed)?\.wasm.*wasm\.binary/)
  })
})
