// What a token costs: greedy generation after prompts of several lengths, with the cache, against a whole forward of the sequence.
// A token that is read from the cache costs the same products whatever the prompt was; only attention grows with its length.
import { BertConfig, BertLMHeadModel, describeBackend } from '../dist/index.js'
import { median, modelOn, provenance } from './measure.mjs'
import { models } from './shapes.mjs'

export async function run({ json, model: name, batch: batchText, steps = '5', ...where }) {
  const [hiddenSize, numHiddenLayers, numAttentionHeads, intermediateSize] = models[name] ?? models.base
  const config = new BertConfig({ hiddenSize, numHiddenLayers, numAttentionHeads, intermediateSize, isDecoder: true })
  const model = new BertLMHeadModel(config, { ...modelOn(where), seed: 0 }).eval()
  const batch = Number(batchText)
  const count = Math.max(8, Number(steps))
  await model.forward({ inputIds: [[1]] }) // makes the weights
  for (const length of [16, 64, 256, 448]) {
    const inputIds = Array.from({ length: batch }, (_, b) =>
      Array.from({ length }, (_, t) => 1000 + ((7 * t + b) % 20000)),
    )
    const times = []
    let start = performance.now()
    // one token of each sequence in turn: a step of the decoder lies between the last of one turn and the first of the next
    for await (const { sequence } of model.generate({ inputIds }, { maxNewTokens: count, minNewTokens: count })) {
      if (sequence !== batch - 1) continue
      times.push(performance.now() - start)
      start = performance.now()
    }
    const whole = []
    for (let i = 0; i < 3; i++) {
      const before = performance.now()
      await model.forward({ inputIds })
      whole.push(performance.now() - before)
    }
    const result = {
      bench: 'generate',
      model: name,
      batch,
      prompt: length,
      prompt_ms: +times[0].toFixed(1),
      token_ms: +median(times.slice(1)).toFixed(2),
      tokens_per_s: +((1000 * batch) / median(times.slice(1))).toFixed(1),
      whole_forward_ms: +median(whole).toFixed(1),
      ...provenance(await describeBackend(modelOn(where))),
    }
    if (json) console.log(JSON.stringify(result))
    else
      console.log(
        `prompt of ${String(length).padStart(3)} tokens: ${result.prompt_ms} ms to read it, then ${result.token_ms} ms a token (${result.tokens_per_s} tokens/s); a whole forward takes ${result.whole_forward_ms} ms`,
      )
  }
  model.dispose()
}
