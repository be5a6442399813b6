// A module worker for workerd: does what a request names and answers with the result, or with the error as JSON.
import * as bertkit from '../../dist/edge.js'
import binary from './bertkit.wasm'
import { embed, program } from './program.mjs'

const { AdamW, BertConfig, BertForSequenceClassification, describeBackend } = bertkit

const small = () =>
  new BertConfig({ vocabSize: 50, hiddenSize: 64, numHiddenLayers: 2, numAttentionHeads: 4, intermediateSize: 128 })
const batch = {
  inputIds: [
    [2, 9, 17, 3],
    [2, 21, 3],
  ],
  labels: [0, 1],
}
const errorOf = ({ name, code, message }) => ({ name, code, message })

const calls = {
  program: async ({ minilm, golden, options }) =>
    program(bertkit, {
      minilm,
      golden: golden && (await (await fetch(golden)).json()),
      options: { ...options, wasm: { ...options.wasm, binary } },
    }),
  embed: async ({ minilm, golden, options }) =>
    embed(bertkit, minilm, await (await fetch(golden)).json(), { ...options, wasm: { binary } }),
  describe: ({ options }) => describeBackend({ ...options, wasm: { ...options.wasm, binary } }),
  withoutBinary: () => describeBackend(),
  bytes: async ({ url }) => describeBackend({ wasm: { binary: url } }),
  /** A model that is too large for the default limit; what a small one does afterwards. */
  async tooLarge({ minilm, golden }) {
    const options = { wasm: { binary } }
    const refused = await embed(bertkit, minilm, await (await fetch(golden)).json(), options).catch(errorOf)
    const model = new BertForSequenceClassification(small(), options)
    const { loss } = await new AdamW(model.train(), { lr: 1e-3 }).step(batch)
    model.dispose()
    return { refused, loss }
  },
  /** A training loop that nothing but the event loop can stop. */
  async abort() {
    const model = new BertForSequenceClassification(small(), { wasm: { binary } })
    const optimizer = new AdamW(model.train(), { lr: 1e-3 })
    const signal = AbortSignal.timeout(20)
    let steps = 0
    try {
      for (; steps < 20_000; steps++) await optimizer.step(batch, { signal })
    } catch (error) {
      const { logits } = await model.eval().forward({ inputIds: batch.inputIds })
      return { steps, error: errorOf(error), finite: logits.data.every(Number.isFinite) }
    } finally {
      model.dispose()
    }
    return { steps }
  },
}

export default {
  /** @returns {Promise<unknown>} */
  async fetch(request) {
    const { call, ...settings } = await request.json()
    try {
      return Response.json(await calls[call](settings))
    } catch (error) {
      return Response.json({ error: errorOf(error), stack: error.stack }, { status: 500 })
    }
  },
}
