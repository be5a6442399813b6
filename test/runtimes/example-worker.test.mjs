// examples/worker end to end, in workerd as its wrangler.jsonc says.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { programsFor } from '../docs/blocks.mjs'
import { serveAndAsk } from '../docs/serve.mjs'
import { dist, goldenFile, installed, minilmFolder, noReference, packageFolder, root, run, serve } from './support.mjs'

const { missing } = installed(['miniflare', 'package.json'])
const folder = path.join(root, 'examples', 'worker')
const config = JSON.parse(fs.readFileSync(path.join(folder, 'wrangler.jsonc'), 'utf8').replace(/^\s*\/\/.*$/gm, ''))
const WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'good', 'bad', 'a', 'one']
const shape = { hiddenSize: 64, numHiddenLayers: 2, numAttentionHeads: 4, intermediateSize: 128, initializerRange: 0.3 }
const TEXTS = ['good good bad', 'bad', 'a good one']

/** Files of a small classifier, and what the native backend says of TEXTS in the worker's dtype. */
async function classifier() {
  const { BertConfig, BertForSequenceClassification, BertTokenizer, pipeline } = await import(dist('index.js'))
  const tokenizer = BertTokenizer.fromVocab(WORDS)
  const id2label = { 0: 'worse', 1: 'better' }
  const model = new BertForSequenceClassification(
    new BertConfig({ ...shape, vocabSize: WORDS.length, numLabels: 2, id2label }),
    { seed: 3, backend: 'cpu' },
  )
  const files = { ...(await tokenizer.savePretrained()), ...(await model.savePretrained()) }
  model.dispose()
  const classify = await pipeline('text-classification', files, { backend: 'cpu', dtype: config.vars.DTYPE })
  const expected = await classify(TEXTS)
  classify.dispose()
  return { files, expected }
}

const blocks = programsFor('test/runtimes/example-worker.test.mjs')

describe('examples/worker/README.md', { skip: installed(['wrangler', 'package.json']).missing }, () => {
  const prepare = blocks.take('examples/worker/README.md', 'wrangler r2 object put')
  const ask = blocks.take('examples/worker/README.md', 'wrangler dev')
  const project = packageFolder({ from: import.meta.dirname, names: ['wrangler'] })
  after(() => fs.rmSync(project, { recursive: true, force: true }))

  test('has no other block that names this test', () => assert.deepEqual(blocks.left(), []))

  test('its commands embed on this machine', async () => {
    const { BertConfig, BertModel, BertTokenizer } = await import(dist('index.js'))
    const embedder = path.join(project, config.vars.EMBEDDER)
    const model = new BertModel(new BertConfig({ ...shape, vocabSize: WORDS.length }))
    await model.savePretrained(embedder)
    model.dispose()
    await BertTokenizer.fromVocab(WORDS).savePretrained(embedder)
    // as sentence-transformers writes it: the vectors of the tokens become one
    const paths = { Transformer: '', Pooling: '1_Pooling' }
    const modules = Object.entries(paths).map(([name, path]) => ({
      path,
      type: `sentence_transformers.models.${name}`,
    }))
    fs.mkdirSync(path.join(embedder, paths.Pooling))
    fs.writeFileSync(path.join(embedder, 'modules.json'), JSON.stringify(modules))
    fs.writeFileSync(path.join(embedder, paths.Pooling, 'config.json'), '{ "pooling_mode_mean_tokens": true }')
    for (const name of fs.readdirSync(folder)) fs.copyFileSync(path.join(folder, name), path.join(project, name))
    // it would otherwise count its users and look for a newer version
    const quiet = { WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true', CLOUDFLARE_CF_FETCH_ENABLED: 'false' }
    const options = { cwd: project, env: { ...process.env, ...quiet } }
    // bertkit and wrangler are there
    await run('sh', ['-eu', '-c', `npm() { :; }\n${prepare}`], options)
    const { embeddings } = JSON.parse(await serveAndAsk(ask, options))
    assert.deepEqual([embeddings.length, embeddings[0].length], [1, shape.hiddenSize])
    assert.ok(embeddings[0].every(Number.isFinite))
  })
})

describe('examples/worker', { skip: missing }, () => {
  let server
  let modules
  let start
  let worker
  let expected

  before(async () => {
    const workerd = await import('./workerd.mjs')
    start = workerd.start
    server = await serve()
    modules = await workerd.modulesOf(path.join(folder, config.main))
    const [{ binding }] = config.r2_buckets
    worker = start(modules, {
      compatibilityDate: config.compatibility_date,
      bindings: config.vars,
      r2Buckets: [binding],
    })
    const bucket = await worker.getR2Bucket(binding)
    const made = await classifier()
    expected = made.expected
    for (const [name, file] of Object.entries(made.files))
      await bucket.put(`${config.vars.CLASSIFIER}/${name}`, await file.arrayBuffer())
    if (noReference) return
    for (const name of fs.readdirSync(minilmFolder, { recursive: true })) {
      const file = path.join(minilmFolder, name)
      // miniflare passes on no Buffers
      if (fs.statSync(file).isFile())
        await bucket.put(`${config.vars.EMBEDDER}/${name}`, new Uint8Array(fs.readFileSync(file)))
    }
  })
  after(async () => {
    server?.close()
    await worker?.dispose()
  })

  const post = (where, route, body) =>
    where.dispatchFetch(`http://worker${route}`, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })

  test('classifies as the native backend does, also for several requests at a time', async () => {
    const answers = await Promise.all([1, 2, 3, 4].map(() => post(worker, '/classify', { texts: TEXTS })))
    for (const answer of answers) {
      assert.equal(answer.status, 200)
      const { results } = await answer.json()
      assert.deepEqual(
        results.map(({ label }) => label),
        expected.map(({ label }) => label),
      )
      for (const [i, { score }] of results.entries()) assert.ok(Math.abs(score - expected[i].score) < 1e-5)
    }
    assert.equal(new Set(expected.map(({ score }) => score)).size, TEXTS.length, 'scores tell the texts apart')
  })

  const golden = noReference ? undefined : JSON.parse(fs.readFileSync(goldenFile, 'utf8'))
  /** The smallest cosine between an embedding of the worker and its reference. */
  async function leastCosine(where) {
    const answer = await post(where, '/embed', { texts: golden.sentences })
    const { embeddings, error } = await answer.json()
    assert.equal(answer.status, 200, error)
    assert.equal(embeddings.length, golden.sentences.length)
    const product = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)
    return Math.min(...embeddings.map((own, i) => product(own, golden.embeddings[i])))
  }

  test('goes on when the client of the first request goes away while the model loads', {
    skip: noReference,
  }, async () => {
    const url = await worker.ready
    const controller = new AbortController()
    const body = JSON.stringify({ texts: ['nobody waits for this'] })
    const gone = fetch(new URL('/embed', url), { method: 'POST', body, signal: controller.signal })
    setTimeout(() => controller.abort(), 100)
    await assert.rejects(gone)
    assert.ok((await leastCosine(worker)) > 0.99)
  })

  test('embeds with a model from a URL', { skip: noReference }, async () => {
    const bindings = { ...config.vars, EMBEDDER: server.url('minilm/') }
    const other = start(modules, { compatibilityDate: config.compatibility_date, bindings })
    try {
      assert.ok((await leastCosine(other)) > 0.99)
    } finally {
      await other.dispose()
    }
  })

  test('the longest list of the longest texts has room', { skip: noReference }, async () => {
    const words = golden.sentences.join(' ')
    const texts = Array.from({ length: 32 }, (_, i) => `${i} ${words.repeat(10)}`.slice(0, 4000))
    const answer = await post(worker, '/embed', { texts })
    const { embeddings, error } = await answer.json()
    assert.equal(answer.status, 200, error)
    assert.deepEqual([embeddings.length, embeddings[31].length], [32, 384])
  })

  for (const [title, status, pattern, route, body] of [
    ['another path', 404, /\/classify and \/embed/, '/', {}],
    ['no JSON', 400, /JSON/, '/classify', '{'],
    ['no texts', 400, /texts/, '/classify', { text: 'one' }],
    ['null', 400, /texts/, '/classify', 'null'],
    ['texts that are none', 400, /list of strings/, '/embed', { texts: ['one', 2] }],
    ['an empty list', 400, /1 to 32 .* 0/, '/embed', { texts: [] }],
    ['too many texts', 400, /1 to 32 .* 33/, '/embed', { texts: Array(33).fill('a') }],
    ['a text that is too long', 413, /text 1 has 4001/, '/classify', { texts: ['a', 'a'.repeat(4001)] }],
  ])
    test(`${title} is a ${status}`, async () => {
      const answer = await post(worker, route, body)
      assert.equal(answer.status, status)
      assert.match((await answer.json()).error, pattern)
    })

  test('GET is a 405 that says what is allowed', async () => {
    const answer = await worker.dispatchFetch('http://worker/classify')
    assert.equal(answer.status, 405)
    assert.equal(answer.headers.get('allow'), 'POST')
    await answer.text()
  })

  test('a model that is not there is a 500, and no end of the worker', async () => {
    const bindings = { ...config.vars, CLASSIFIER: server.url('nowhere/') }
    const other = start(modules, { compatibilityDate: config.compatibility_date, bindings })
    try {
      for (let i = 0; i < 2; i++) {
        const answer = await post(other, '/classify', { texts: TEXTS })
        assert.equal(answer.status, 500)
        assert.match((await answer.json()).error, /could not/)
      }
      assert.equal((await post(other, '/', {})).status, 404)
    } finally {
      await other.dispose()
    }
  })
})
