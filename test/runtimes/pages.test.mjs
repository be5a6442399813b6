// The blocks of docs/webassembly.md that need a page or workerd, as they are printed: in Chromium, unbundled and bundled by the printed
// command, and in workerd.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { addressOf, serve } from '../../examples/browser/serve.mjs'
import { programsFor } from '../docs/blocks.mjs'
import { launch, skip } from './chromium.mjs'
import { binary, dist, installed, packageFolder, root, run } from './support.mjs'

const PAGE = 'docs/webassembly.md'
const blocks = programsFor('test/runtimes/pages.test.mjs')
const pipelineInPage = blocks.take(PAGE, "from 'bertkit/edge'")
const filesInPage = blocks.take(PAGE, 'savePretrained({ write:')
const bundlePage = blocks.take(PAGE, 'npx esbuild main.js')
const bundledPage = blocks.take(PAGE, "new URL('bertkit-worker.js', import.meta.url)")
const bundleWorker = blocks.take(PAGE, 'npx esbuild worker.mjs')

/** What `npx esbuild worker.mjs` bundles: classifies the text of a request with the model at its address. */
const WORKER = `import { pipeline } from 'bertkit'
import binary from 'bertkit/wasm/bertkit.wasm'

export default {
  async fetch(request) {
    const classify = await pipeline('text-classification', new URL('/models/my-model/', request.headers.get('models')), { wasm: { binary } })
    return Response.json(await classify(await request.text()))
  },
}
`

const HTML = `<!doctype html>
<script type="importmap">{ "imports": { "bertkit": "/dist/edge.js", "bertkit/edge": "/dist/edge.js" } }</script>
`

const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'what', 'a', 'lovely', 'surprise']

test('every block that names this test is run by it', () => assert.deepEqual(blocks.left(), []))

describe('docs/webassembly.md', () => {
  const folder = packageFolder({ from: root, names: ['esbuild'] })
  const at = (...parts) => path.join(folder, ...parts)
  const model = at('models', 'my-model')
  let expected
  let server

  before(async () => {
    const { BertConfig, BertForSequenceClassification, BertTokenizer, pipeline } = await import(dist('index.js'))
    const tokenizer = BertTokenizer.fromVocab(WORDS)
    const shape = { hiddenSize: 32, numHiddenLayers: 2, numAttentionHeads: 2, intermediateSize: 48 }
    const id2label = { 0: 'worse', 1: 'better' }
    const config = new BertConfig({ ...shape, vocabSize: WORDS.length, id2label, initializerRange: 0.3 })
    const classifier = new BertForSequenceClassification(config, { seed: 3 })
    await classifier.savePretrained(model)
    classifier.dispose()
    await tokenizer.savePretrained(model)
    const classify = await pipeline('text-classification', model)
    expected = await classify('what a lovely surprise')
    classify.dispose()
    for (const name of ['config.json', 'model.safetensors']) fs.copyFileSync(path.join(model, name), at(name))
    fs.writeFileSync(at('page.html'), HTML)
    fs.writeFileSync(at('main.js'), bundledPage)
    fs.writeFileSync(at('worker.mjs'), WORKER)
    fs.writeFileSync(at('pipeline.mjs'), pipelineInPage)
    fs.writeFileSync(at('files.mjs'), filesInPage)
    server = await serve({ folders: served, isolated: false })
  })
  after(() => {
    server?.close()
    fs.rmSync(folder, { recursive: true, force: true })
  })
  const served = { '/dist/': path.join(root, 'dist', path.sep), '/': path.join(folder, path.sep) }

  /** Labels and scores as the native kernels gave them. */
  function assertExpected(found) {
    assert.deepEqual(
      found.map(({ label }) => label),
      expected.map(({ label }) => label),
    )
    for (const [i, { score }] of found.entries()) assert.ok(Math.abs(score - expected[i].score) < 1e-5, `${score}`)
  }

  const shell = (code) => run('sh', ['-eu', '-c', code], { cwd: folder })

  describe('in Chromium', { skip }, () => {
    let browser
    before(async () => {
      browser = await launch()
      await shell(bundlePage)
    })
    after(() => browser?.close())

    /** Runs a module to its end in a new page: what it logged, what was fetched, and the answer of `ask`, which is called there. */
    async function inPage(script, { ask = () => undefined, from = server } = {}) {
      const page = await browser.newPage()
      try {
        const [logged, requested] = [[], []]
        page.on('console', (message) => logged.push(...message.args().map((value) => value.jsonValue())))
        page.on('request', (request) => requested.push(path.basename(new URL(request.url()).pathname)))
        await page.goto(`${addressOf(from)}/page.html`)
        await page.evaluate((script) => import(script), script)
        return { answer: await page.evaluate(ask), logged: await Promise.all(logged), requested }
      } finally {
        await page.close()
      }
    }

    test('a pipeline', async () => {
      const { logged } = await inPage('/pipeline.mjs')
      assert.equal(logged.length, 1)
      assertExpected(logged[0])
    })

    test('a model from files of the page, saved to files', async () => {
      const { answer } = await inPage('/files.mjs', {
        ask: async () => {
          const sizes = {}
          const folder = await navigator.storage.getDirectory()
          for await (const [name, handle] of folder.entries()) sizes[name] = (await handle.getFile()).size
          return sizes
        },
      })
      assert.deepEqual(Object.keys(answer).sort(), ['config.json', 'model.safetensors'])
      assert.equal(answer['model.safetensors'], fs.statSync(path.join(model, 'model.safetensors')).size)
    })

    for (const [isolated, name] of [
      [false, 'bertkit'],
      [true, 'bertkit-relaxed-threads'],
    ])
      test(`bundled by esbuild, ${isolated ? '' : 'not '}isolated: fetches ${name}.wasm`, async () => {
        const from = await serve({ folders: served, isolated })
        try {
          const { requested } = await inPage('/js/main.js', { from })
          const binaries = requested.filter((file) => file.endsWith('.wasm'))
          assert.equal(binaries.length, 1)
          assert.match(binaries[0], new RegExp(`^${name}-\\w+\\.wasm$`))
          const bytes = fs.readFileSync(at('js', binaries[0]))
          assert.ok(bytes.equals(fs.readFileSync(binary(name))))
          for (const file of ['bertkit-worker.js', 'model.safetensors']) assert.ok(requested.includes(file), file)
        } finally {
          from.close()
        }
      })
  })

  test('in workerd, bundled by esbuild', { skip: installed(['miniflare', 'package.json']).missing }, async () => {
    const { start } = await import('./workerd.mjs')
    fs.rmSync(at('js'), { recursive: true, force: true })
    await shell(bundleWorker)
    const files = fs.readdirSync(at('js')).sort((a) => (a === 'worker.js' ? -1 : 1))
    assert.equal(files.length, 2, 'the worker and a binary')
    const modules = files.map((name) => ({
      type: name.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule',
      path: name,
      contents: new Uint8Array(fs.readFileSync(at('js', name))),
    }))
    const worker = start(modules)
    try {
      const request = { method: 'POST', body: 'what a lovely surprise', headers: { models: addressOf(server) } }
      const answer = await worker.dispatchFetch('http://worker/', request)
      assert.equal(answer.status, 200)
      assertExpected(await answer.json())
    } finally {
      await worker.dispose()
    }
  })
})
