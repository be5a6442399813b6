// Which words are alike, told to a new model before its first update.
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { normals } from '../session/initialize.ts'
import type { PreTrainedModel } from '../session/pretrained.ts'
import { Cooccurrence } from './cooccurrence.ts'
import { dot, type Factors, filled, lowRank, orthonormalize } from './low-rank.ts'
import { stoppableSlices, type Turn } from './slices.ts'
import { sequencesOf, tokenFrequencies } from './token-counts.ts'
import type { Dataset } from './trainer-options.ts'

const EMBEDDINGS = 'bert.embeddings.word_embeddings.weight'
/** Dimensions that the text decides. More of them cost much and say little of a few million tokens. */
const MOST_DIMENSIONS = 256
const SEED = 0x776f7264

export interface WordEmbeddingsOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number) => void
}

/**
 * Sets the word embeddings of a new model by which tokens stand near which in `dataset`, the first four million tokens of it: the
 * truncated singular value decomposition of their positive pointwise mutual information, as long as random embeddings are. Tokens that
 * the text lacks, or that stand near nothing, keep theirs. A small model learns that in thousands of updates, and from there on goes
 * faster; this takes some seconds (docs/quality.md). Levy and Goldberg (2014), "Neural Word Embedding as Implicit Matrix
 * Factorization". `onProgress` is called with the share that is done, from 0 to 1. Throws AbortedError.
 */
export async function initializeWordEmbeddings(
  model: PreTrainedModel,
  dataset: Dataset,
  tokenizer: BertTokenizer,
  { onProgress, signal }: WordEmbeddingsOptions = {},
): Promise<void> {
  const place = [...model.runtime.layout.tensors.values()].find(({ name }) => EMBEDDINGS.endsWith(name))!
  const [size, width] = place.shape
  const turn = stoppableSlices(signal)
  const borders = new Set(tokenizer.allSpecialIds)
  const frequencies = await tokenFrequencies(dataset, tokenizer, size, turn)
  const near = new Cooccurrence(frequencies)
  for await (const ids of sequencesOf(dataset, borders, turn)) near.add(ids, borders)
  const normal = normals(SEED)
  const rank = Math.min(width, MOST_DIMENSIONS)
  const factors = await lowRank(await near.positiveInformation(turn), rank, normal, turn, onProgress)
  const data = await model.runtime.exclusive(() => model.runtime.readTensor(place))
  await replaceRows(data, factors, width, model.config.initializerRange, normal, turn)
  await model.loadStateDict(new Map([[place.name, { data, shape: place.shape }]]), { strict: false })
  onProgress?.(1)
}

/**
 * Puts rows into `data`, each with a root mean square of `range`: the factors less their mean, turned at random, so that no dimension is
 * more than others. Tokens near which nothing was found keep theirs.
 */
async function replaceRows(
  data: Float32Array,
  { dimensions, rows }: Factors,
  width: number,
  range: number,
  normal: () => number,
  turn: Turn,
): Promise<void> {
  const rowOf = (id: number): Float64Array => rows.subarray(id * dimensions, (id + 1) * dimensions)
  const turned = await filled(width * dimensions, normal, turn)
  await orthonormalize(turned, dimensions, turn)
  const mean = new Float64Array(dimensions)
  let found = 0
  for (let id = 0; id * width < data.length; id++) {
    const row = rowOf(id)
    if (row.some((value) => value !== 0)) found++
    for (let k = 0; k < dimensions; k++) mean[k] += row[k]
    await turn()
  }
  for (let id = 0; id * width < data.length; id++) {
    await turn()
    const row = rowOf(id)
    if (row.every((value) => value === 0)) continue
    const centred = row.map((value, k) => value - mean[k] / found)
    // columns of `turned` are orthonormal: the length stays
    const scale = range * Math.sqrt(width / dot(centred, centred))
    if (!Number.isFinite(scale)) continue
    for (let k = 0; k < width; k++)
      data[id * width + k] = scale * dot(centred, turned.subarray(k * dimensions, (k + 1) * dimensions))
  }
}
