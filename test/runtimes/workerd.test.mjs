// workerd: no workers, no threads, no compiling of bytes, a clock that stands still.
import assert from 'node:assert/strict'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { binary, installed, noReference, serve, settings, verify } from './support.mjs'

const { missing } = installed(['miniflare', 'package.json'])

/** MiniLM in float32 has 87 MiB; the test of memory holds int8 to the default limit. */
const ROOM = { wasm: { memoryLimit: 160 * 2 ** 20 } }

describe('workerd', { skip: missing }, () => {
  let server
  let workers
  before(async () => {
    const { modulesOf, start } = await import('./workerd.mjs')
    server = await serve()
    const entry = path.join(import.meta.dirname, 'workerd-worker.mjs')
    const modules = (name) => modulesOf(entry, binary(name))
    const [baseline, relaxed] = [await modules('bertkit'), await modules('bertkit-relaxed')]
    workers = {
      baseline: start(baseline),
      relaxed: start(relaxed),
      node: start(baseline, { compatibilityFlags: ['nodejs_compat'] }),
    }
  })
  after(async () => {
    server.close()
    for (const worker of Object.values(workers ?? {})) await worker.dispose()
  })

  async function ask(name, call, more = {}) {
    const body = JSON.stringify({ call, ...more })
    return (await workers[name].dispatchFetch('http://worker/', { method: 'POST', body })).json()
  }

  for (const [name, isa] of [
    ['baseline', 'simd128'],
    ['relaxed', 'relaxed'],
    ['node', 'simd128'],
  ])
    test(`${name}${name === 'node' ? 'js_compat' : ''}: inference and training, inline without being asked`, async () => {
      const result = await ask(name, 'program', settings(server, { options: ROOM }))
      assert.equal(result.error, undefined, result.stack)
      assert.equal(result.description.isa, isa)
      assert.equal(result.description.threads, 1)
      await verify(result)
    })

  test('threads are refused: there are no workers', async () => {
    const { error } = await ask('baseline', 'describe', { options: { threads: 2 } })
    assert.equal(error.code, 'ERR_ARGUMENT')
    assert.match(error.message, /without a worker/)
  })

  test('without a binary the error says how to give it', async () => {
    const { error } = await ask('baseline', 'withoutBinary')
    assert.equal(error.code, 'ERR_BACKEND')
    assert.match(error.message, /wasm\.binary/)
  })

  test('bytes cannot be compiled here, and the error says so', async () => {
    const { error } = await ask('baseline', 'bytes', { url: server.url('wasm/bertkit.wasm') })
    assert.equal(error.code, 'ERR_BACKEND')
    assert.match(error.message, /disallowed/)
  })

  test('a model that is too large for the default limit is a typed error, and the worker goes on', {
    skip: noReference,
  }, async () => {
    const { refused, loss } = await ask('baseline', 'tooLarge', settings(server))
    assert.equal(refused.code, 'ERR_BACKEND')
    assert.match(refused.message, /memoryLimit/)
    assert.ok(Number.isFinite(loss))
  })

  test('a timer’s signal ends a training loop', async () => {
    const { steps, error, finite } = await ask('baseline', 'abort')
    assert.equal(error?.code, 'ERR_ABORTED', `${steps} steps went on`)
    assert.ok(finite)
  })
})
