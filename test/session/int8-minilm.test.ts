// int8 on a real checkpoint: MiniLM's sentence embeddings of the STS-B dev set against its own in float32.
import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { BertTokenizer } from '../../src/index.ts'
import { BertModel } from '../../src/session/models.ts'

const { BERTKIT_REFERENCE_DIR } = process.env
const BATCH = 64

/** Unit vectors: the mean over a sentence's tokens, as sentence-transformers has this model. */
async function embed(model: BertModel, ids: readonly number[][]): Promise<Float64Array[]> {
  const H = model.config.hiddenSize
  const vectors: Float64Array[] = []
  for (let at = 0; at < ids.length; at += BATCH) {
    const batch = ids.slice(at, at + BATCH)
    const { data } = (await model.forward({ inputIds: batch })).lastHiddenState
    let row = 0
    for (const { length } of batch) {
      const mean = new Float64Array(H)
      for (let t = 0; t < length; t++, row++) for (let j = 0; j < H; j++) mean[j] += data[row * H + j]
      const norm = Math.hypot(...mean)
      vectors.push(mean.map((value) => value / norm))
    }
  }
  return vectors
}

const cosine = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i], 0)

function pearson(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [ma, mb] = [mean(a), mean(b)]
  const covariance = (x: readonly number[], mx: number, y: readonly number[], my: number) =>
    x.reduce((sum, value, i) => sum + (value - mx) * (y[i] - my), 0)
  return covariance(a, ma, b, mb) / Math.sqrt(covariance(a, ma, a, ma) * covariance(b, mb, b, mb))
}

describe.skipIf(BERTKIT_REFERENCE_DIR === undefined)(
  'MiniLM in int8 (skipped without BERTKIT_REFERENCE_DIR: needs its weights and STS-B)',
  () => {
    test('keeps every sentence of STS-B dev at a cosine of at least 0.995, and Pearson within 0.3 points', async () => {
      const data = path.join(BERTKIT_REFERENCE_DIR!, 'data')
      const folder = path.join(data, 'weights', 'all-MiniLM-L6-v2')
      const rows = fs
        .readFileSync(path.join(data, 'stsb', 'sts-dev.csv'), 'utf8')
        .trimEnd()
        .split('\n')
      const fields = rows.map((row) => row.split('\t'))
      const scores = fields.map((row) => Number(row[4]))
      const tokenizer = await BertTokenizer.fromPretrained(folder)
      const ids = fields.flatMap((row) => [row[5], row[6]]).map((text) => [...tokenizer.encode(text).inputIds])
      using float32 = await BertModel.fromPretrained(folder)
      using int8 = await BertModel.fromPretrained(folder, { dtype: 'int8' })
      const [want, got] = [await embed(float32, ids), await embed(int8, ids)]
      const cosines = want.map((vector, i) => cosine(vector, got[i]))
      const correlation = (vectors: readonly Float64Array[]) =>
        pearson(
          scores,
          scores.map((_, i) => cosine(vectors[2 * i], vectors[2 * i + 1])),
        )
      const [pearson32, pearson8] = [correlation(want), correlation(got)]
      console.log(
        `${ids.length} sentences: least cosine ${Math.min(...cosines).toFixed(5)}, mean ${(cosines.reduce((a, b) => a + b) / cosines.length).toFixed(5)}; Pearson ${pearson32.toFixed(5)} in float32, ${pearson8.toFixed(5)} in int8`,
      )
      expect(ids.length).toBe(3000)
      expect(Math.min(...cosines)).toBeGreaterThanOrEqual(0.995)
      expect(Math.abs(pearson8 - pearson32)).toBeLessThanOrEqual(0.003)
    }, 300_000)
  },
)
