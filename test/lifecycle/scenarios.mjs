// What a process may do to the addon at any moment. Run by lifecycle.test.ts, each in a process of its own:
//   node scenarios.mjs NAME
// A scenario that ends well prints "done"; a signal or a hang is the failure.
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { AdamW, BertConfig, BertForSequenceClassification } from '../../dist/index.js'

const config = (size) =>
  new BertConfig({
    vocabSize: 500,
    hiddenSize: size,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    intermediateSize: 4 * size,
  })
const batch = (sequences, length) => ({
  inputIds: Array.from({ length: sequences }, (_, b) => Array.from({ length }, (_, t) => (b * 31 + t * 7) % 500)),
  labels: Array.from({ length: sequences }, (_, b) => b % 2),
})
/** A model whose steps take some tens of milliseconds, so that an end in the middle of one is likely. */
const busy = () => {
  const model = new BertForSequenceClassification(config(128)).train()
  return { model, optimizer: new AdamW(model), large: batch(16, 64) }
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const scenarios = {
  /** A worker that never stops by itself. */
  async train() {
    const { optimizer, large } = busy()
    const { parentPort } = await import('node:worker_threads')
    for (;;) {
      await optimizer.step(large)
      parentPort?.postMessage('step')
    }
  },

  async 'terminate workers mid-step'() {
    for (let i = 0; i < 50; i++) {
      const worker = new Worker(new URL(import.meta.url), { workerData: 'train' })
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
      await pause((i * 7) % 30)
      await worker.terminate()
    }
  },

  async 'two workers and the main thread at once'() {
    const workers = [0, 1].map(() => new Worker(new URL(import.meta.url), { workerData: 'train' }))
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))))
    const { model, optimizer, large } = busy()
    await optimizer.step(large)
    await Promise.all(workers.map((worker) => worker.terminate()))
    await optimizer.step(large)
    model.dispose()
  },

  async 'exit mid-step'() {
    const { optimizer, large } = busy()
    await optimizer.step(large)
    void optimizer.step(large)
    await pause(3)
    console.log('done')
    process.exit(0)
  },

  async 'exit in a worker mid-step'() {
    const worker = new Worker(
      `
      import(${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}).then(async ({ AdamW, BertConfig, BertForSequenceClassification }) => {
        const model = new BertForSequenceClassification(new BertConfig({ vocabSize: 50, hiddenSize: 64, numHiddenLayers: 2, numAttentionHeads: 4, intermediateSize: 256 }))
        void new AdamW(model).step({ inputIds: [Array(400).fill(7)], labels: [1] })
        setTimeout(() => process.exit(3), 5)
      })`,
      { eval: true },
    )
    const code = await new Promise((resolve) => worker.once('exit', resolve))
    if (code !== 3) throw new Error(`the worker's exit code is ${code}`)
  },

  async 'an uncaught error mid-step'() {
    process.once('uncaughtException', () => {
      console.log('done')
      process.exit(0)
    })
    const { optimizer, large } = busy()
    void optimizer.step(large)
    await pause(2)
    setImmediate(() => {
      throw new Error('not caught')
    })
    await pause(1000)
  },

  async 'dispose mid-step'() {
    for (let i = 0; i < 20; i++) {
      const { model, optimizer, large } = busy()
      const step = optimizer.step(large)
      await pause(i % 5)
      try {
        model.dispose()
        throw new Error('dispose() was allowed during a run')
      } catch (error) {
        if (error.code !== 'ERR_BUSY') throw error
      }
      await step
      model.dispose()
    }
  },

  async 'abort at random moments'() {
    const { model, optimizer, large } = busy()
    let aborted = 0
    for (let i = 0; i < 40; i++) {
      const controller = new AbortController()
      const step = optimizer.step(large, { signal: controller.signal })
      await pause((i * 3) % 20)
      controller.abort()
      await step.catch((error) => {
        if (error.code !== 'ERR_ABORTED') throw error
        aborted++
      })
    }
    if (aborted === 0) throw new Error('no step was aborted')
    await optimizer.step(large)
    model.dispose()
  },

  async 'create and dispose 2000 models'() {
    const once = async () => {
      const model = new BertForSequenceClassification(config(32)).train()
      await new AdamW(model).step(batch(2, 8))
      model.dispose()
    }
    const resident = () => {
      globalThis.gc()
      return process.memoryUsage().rss
    }
    for (let i = 0; i < 800; i++) await once()
    await pause(50)
    const before = resident()
    for (let i = 0; i < 1200; i++) await once()
    await pause(50)
    const grown = (resident() - before) / 1e6
    // a model of these takes about 1 MB: a leak of one in a hundred models would show
    if (grown > 10) throw new Error(`resident memory grew by ${grown.toFixed(1)} MB over 1200 models`)
  },

  async 'leave a model behind'() {
    const { model } = busy()
    await model.forward(batch(1, 4)) // neither disposed nor awaited further: the process must end by itself
  },
}

const name = isMainThread ? process.argv[2] : workerData
await scenarios[name]()
if (isMainThread) console.log('done')
