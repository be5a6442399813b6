// How alike sentences are: the cosine of their vectors, which are made as the folder says (sentence-transformers).
import { ArgumentError } from '../errors.ts'
import { kindOf } from '../json.ts'
import { BertModel } from '../session/models.ts'
import { encodeForEmbedding, featureExtraction, folderPooling, POOLER } from './feature-extraction.ts'
import { cosine, pool } from './pooling.ts'
import { type Context, checkText, checkTexts, type Sequence, type Task } from './task.ts'

export interface SimilarityInput {
  readonly sourceSentence: string
  readonly sentences: readonly string[]
}

/** What a folder without modules.json gets, as in sentence-transformers, and a model that is given loaded, which has no folder. */
const DEFAULT_MODES = ['mean'] as const

function* encodeAll(context: Context<BertModel>, texts: readonly string[]): Generator<Sequence> {
  for (const text of texts) {
    const { inputIds, tokenTypeIds } = encodeForEmbedding(context, text)
    yield { inputIds, tokenTypeIds }
  }
}

export const sentenceSimilarity: Task<BertModel, SimilarityInput, object, Float32Array, number[]> = {
  name: 'sentence-similarity',
  modelClass: BertModel,
  unused: POOLER,
  embeds: true,
  checks: {},
  check: (_, context) => void folderPooling(context),

  start(input, _, context) {
    checkTexts(input, ['sourceSentence'], ['sentences'])
    const { sourceSentence, sentences } = input
    if (!Array.isArray(sentences))
      throw new ArgumentError(`Expected sentences to be a list of texts but received ${kindOf(sentences)}`)
    for (const [i, text] of sentences.entries()) checkText(text, `sentences[${i}] to be a text`)
    return {
      sequences: encodeAll(context, [sourceSentence, ...sentences]),
      async finish([source, ...others], pause) {
        const cosines: number[] = []
        for (const other of others) {
          await pause()
          cosines.push(cosine(source, other))
        }
        return cosines
      },
    }
  },

  // pooled here: the vectors of all tokens of all sentences would take too much memory
  async compute(context, sequences, signal, pause) {
    const modes = folderPooling(context)?.modes ?? DEFAULT_MODES
    const vectors: Float32Array[] = []
    for (const rows of await featureExtraction.compute(context, sequences, signal, pause)) {
      await pause()
      vectors.push(pool(rows, context.model.config.hiddenSize, modes))
    }
    return vectors
  },
}
