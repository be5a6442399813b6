// What every runtime does with bertkit, whatever its entry: nothing here is of one runtime.
import { tinyCurve } from './tiny-curve.mjs'

/**
 * MiniLM's sentence vectors against those of sentence-transformers (`golden`: golden/minilm/embeddings.json): the largest absolute
 * difference, the smallest cosine, and how many sentences get other token ids. `source`: where the model is, a URL or its files.
 */
export async function embed(bertkit, source, golden, options) {
  const { sentences, input_ids: ids, embeddings } = golden
  const tokenizer = await bertkit.BertTokenizer.fromPretrained(source)
  const encoded = sentences.map((text) => tokenizer.encode(text, { truncation: true, maxLength: 256 }).inputIds)
  const otherIds = encoded.filter((own, i) => JSON.stringify([...own]) !== JSON.stringify(ids[i])).length
  const model = await bertkit.BertModel.fromPretrained(source, options)
  try {
    model.eval()
    let difference = 0
    let least = 1
    for (let first = 0; first < ids.length; first += 4) {
      const some = ids.slice(first, first + 4)
      const { data, shape } = (await model.forward({ inputIds: some })).lastHiddenState
      const width = shape.at(-1)
      let row = 0
      for (const [i, { length }] of some.entries()) {
        const mean = new Float64Array(width)
        for (const end = row + length; row < end; row++)
          for (let j = 0; j < width; j++) mean[j] += data[row * width + j] / length
        const norm = Math.hypot(...mean)
        const expected = embeddings[first + i]
        let product = 0
        for (const [j, value] of expected.entries()) {
          const gap = Math.abs(value - mean[j] / norm)
          if (!(gap <= difference)) difference = gap // NaN too
          product += (value * mean[j]) / norm
        }
        if (!(product >= least)) least = product / Math.hypot(...expected)
      }
    }
    return { sentences: ids.length, otherIds, difference, cosine: least }
  } finally {
    model.dispose()
  }
}

/** All of it. `minilm`: where the model is, a URL or its files. */
export async function program(bertkit, { minilm, golden, options }) {
  return {
    description: await bertkit.describeBackend(options),
    losses: await tinyCurve(bertkit, options),
    embedding: minilm && (await embed(bertkit, minilm, golden, options)),
  }
}
