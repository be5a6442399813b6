// Tables that have a row for each word, of a model that is to have more words than its folder, or fewer.
import type { WeightsMatch } from '../formats/names.ts'
import type { Piece } from '../formats/tensors.ts'
import type { BertConfig } from '../model/config.ts'
import { elementsOf } from '../tensor.ts'
import type { TensorPlace } from './layout.ts'
import type { LoadSettings } from './options.ts'

/** The tables, by their names in the model and in the folder; none unless the caller asks for another `vocabSize` than the folder's. */
export function resizedTables(
  { mismatched, rowwise }: WeightsMatch,
  { config: { vocabSize } }: LoadSettings,
  stored: BertConfig,
): ReadonlyMap<string, string> {
  if (vocabSize === undefined || vocabSize === stored.vocabSize) return new Map()
  const ofWords = mismatched.filter(({ expected, found }) => expected[0] === vocabSize && found[0] === stored.vocabSize)
  return new Map(ofWords.flatMap(({ name }) => (rowwise.has(name) ? [[name, rowwise.get(name)!]] : [])))
}

/**
 * The pieces of a table of other rows than those of `place`: what both have, and rows of new words, which are the mean of all the stored
 * ones, as in Transformers (modeling_utils.py, resize_token_embeddings), but for its noise of 1e-9 of their covariance.
 */
export async function* resized(pieces: AsyncIterable<Piece>, place: TensorPlace): AsyncGenerator<Piece> {
  const width = elementsOf(place.shape.slice(1))
  const sums = new Float64Array(width)
  let stored = 0
  for await (const { start, values } of pieces) {
    for (let i = 0; i < values.length; i++) sums[(start + i) % width] += values[i]
    stored = Math.max(stored, start + values.length)
    if (start < place.elements) yield { start, values: values.subarray(0, place.elements - start) }
  }
  const mean = Float32Array.from(sums, (sum) => (sum * width) / stored)
  for (let start = stored; start < place.elements; start += width) yield { start, values: mean.slice() }
}
