// bertkit in Chromium: pages that import dist/edge.js as it is, with and without cross-origin isolation.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as bertkit from '../../dist/index.js'
import { addressOf, serve } from '../../examples/browser/serve.mjs'
import { folders, launch, skip } from './chromium.mjs'
import { tinyCurve } from './tiny-curve.mjs'

const SIMD = { isolated: false, binary: 'bertkit', threads: 1 }
const RELAXED = { isolated: false, binary: 'bertkit-relaxed', threads: 1 }
const SIMD_THREADS = { isolated: true, binary: 'bertkit-threads', threads: 2 }
const RELAXED_THREADS = { isolated: true, binary: 'bertkit-relaxed-threads', threads: 2 }

const optionsOf = ({ binary, threads }) => ({ threads, wasm: { binary: `/dist/wasm/${binary}.wasm` } })

describe('Chromium', { skip }, () => {
  let browser
  const servers = new Map()
  let native

  before(async () => {
    browser = await launch()
    for (const isolated of [true, false]) servers.set(isolated, await serve({ folders, isolated }))
    native = await tinyCurve(bertkit, { backend: 'cpu' })
  })
  after(async () => {
    await browser?.close()
    for (const server of servers.values()) server.close()
  })

  /** Calls a function of chromium-page.mjs in a new page. */
  async function inPage({ isolated }, name, options) {
    const page = await browser.newPage()
    try {
      await page.goto(`${addressOf(servers.get(isolated))}/test/runtimes/chromium.html`)
      return await page.evaluate(
        async ([name, options]) => (await import('/test/runtimes/chromium-page.mjs'))[name](options),
        [name, options],
      )
    } finally {
      await page.close()
    }
  }

  const agrees = (losses) => {
    assert.equal(losses.length, native.length)
    const largest = Math.max(...losses.map((loss, i) => Math.abs(loss - native[i])))
    assert.ok(largest <= 1e-5, `the loss differs by ${largest}`)
  }

  for (const binary of [SIMD, RELAXED, SIMD_THREADS, RELAXED_THREADS])
    describe(`${binary.binary}, threads: ${binary.threads}`, () => {
      test('embeds as MiniLM did', async () => {
        const found = await inPage(binary, 'embeddings', optionsOf(binary))
        assert.equal(found.isolated, binary.isolated)
        assert.equal(found.otherIds, 0)
        assert.ok(found.sentences > 0 && found.difference <= 2e-6, `an embedding differs by ${found.difference}`)
        assert.equal(found.description.backend, 'wasm')
        assert.equal(found.description.threads, binary.threads)
        assert.equal(found.description.isa, binary.binary.includes('relaxed') ? 'relaxed' : 'simd128')
      })

      test('fine-tunes along the loss curve of the native backend', async () => {
        agrees(await inPage(binary, 'curve', optionsOf(binary)))
      })

      test('an aborted step rejects and changes no weight, but where a run cannot be stopped it is taken whole', async () => {
        const { during, before, ...changed } = await inPage(binary, 'abort', optionsOf(binary))
        const stops = binary.threads > 1
        assert.equal(during?.name, stops ? 'AbortedError' : undefined)
        assert.equal(before?.name, 'AbortedError')
        assert.equal(changed.changedByAborted, stops ? 0 : changed.tensors)
        assert.equal(changed.changedByStep, changed.tensors)
      })
    })

  test('the page chooses relaxed SIMD, and as many threads as isolation lets it', async () => {
    const alone = await inPage({ isolated: false }, 'describe', {})
    assert.equal(alone.description.isa, 'relaxed')
    assert.equal(alone.description.threads, 1)
    const shared = await inPage({ isolated: true }, 'describe', {})
    assert.equal(shared.description.isa, 'relaxed')
    assert.equal(shared.description.threads, shared.processors)
  })

  for (const binary of [RELAXED, RELAXED_THREADS])
    test(`no task of the page takes 50 ms while MiniLM trains, threads: ${binary.threads}`, async (t) => {
      // the machine may be busy with other things: measured again, not bounded otherwise
      let training
      for (let attempt = 0; attempt < 4; attempt++) {
        const found = await inPage(binary, 'longTasks', { ...optionsOf(binary), steps: 5 })
        assert.ok(
          found.made.length === 1 && found.made[0] >= 80,
          'the observer sees a long task that is made on purpose',
        )
        assert.equal(found.losses.length, 5)
        training = found.training
        if (training.length === 0) return
        t.diagnostic(`long tasks: ${training.join(', ')} ms; measured again`)
      }
      assert.deepEqual(training, [])
    })

  describe('says in the page what is wrong:', () => {
    const failures = {
      'a binary that is not there': [{ wasm: { binary: '/dist/wasm/none.wasm' } }, /none\.wasm was 404/],
      'a binary with a wrong MIME type': [
        { wasm: { binary: '/test/runtimes/chromium.html' } },
        /came as text\/html, expected application\/wasm/,
      ],
      'a script of the worker that is not there': [{ wasm: { worker: '/none.js' } }, /script could not be loaded/],
      'a script of the worker with a wrong MIME type': [
        { wasm: { worker: '/dist/wasm/bertkit.wasm' } },
        /script could not be loaded/,
      ],
      'a script of the worker of another origin': [
        { wasm: { worker: 'https://example.com/worker.js' } },
        /could not be started: .*example\.com/,
      ],
      'a limit in which no engine fits': [{ wasm: { memoryLimit: 65_536 } }, /65536 bytes/],
      'a binary with threads where the page is not isolated': [
        { wasm: { binary: '/dist/wasm/bertkit-threads.wasm' } },
        /shared memory.*cross-origin isolation/,
      ],
    }
    const mistakes = {
      'threads without a worker': [{ threads: 2, wasm: { worker: false } }, /runs without a worker/],
      'threads where the page is not isolated': [{ threads: 2 }, /cross-origin isolation/],
      'threads of a binary without them': [
        { threads: 2, wasm: { binary: '/dist/wasm/bertkit.wasm' } },
        /wasm\.binary.* without threads/,
      ],
      'an option that is none': [{ wasm: { memorylimit: 1 } }, /no option 'memorylimit'/],
    }
    for (const [name, cases] of Object.entries({ BackendError: failures, ArgumentError: mistakes }))
      for (const [what, [options, expected]] of Object.entries(cases))
        test(what, async () => {
          const found = await inPage({ isolated: false }, 'tinyFailure', options)
          assert.match(found?.message ?? 'no error', expected)
          assert.equal(found.name, name)
        })

    test('memory that is refused, and the page goes on', async () => {
      const options = { wasm: { memoryLimit: 32 * 2 ** 20 } }
      const { error, losses } = await inPage({ isolated: false }, 'loadFailure', options)
      assert.equal(error?.name, 'BackendError')
      assert.match(error.message, /may have 33554432 \(memoryLimit\)/)
      agrees(losses)
    })
  })
})
