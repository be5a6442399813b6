// How alike sentences are: the cosine of their vectors, which are made as the folder says (sentence-transformers).
import { ArgumentError } from '../errors.ts'
import { kindOf } from '../json.ts'
import { BertModel } from '../session/models.ts'
import { encodeForEmbedding, featureExtraction, folderPooling, POOLER } from './feature-extraction.ts'
import { cosine, pool } from './pooling.ts'
import { checkText, checkTexts, type Task } from './task.ts'

export interface SimilarityInput {
  readonly sourceSentence: string
  readonly sentences: readonly string[]
}

/** What a folder without modules.json gets, as in sentence-transformers. */
const DEFAULT_MODES = ['mean'] as const

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
    const texts: string[] = [sourceSentence, ...sentences]
    const sequences = texts.map((text, i) => {
      checkText(text, `sentences[${i - 1}] to be a text`)
      const { inputIds, tokenTypeIds } = encodeForEmbedding(context, text)
      return { inputIds, tokenTypeIds }
    })
    const modes = folderPooling(context)?.modes ?? DEFAULT_MODES
    const width = context.model.config.hiddenSize
    return {
      sequences,
      finish(rows) {
        const [source, ...others] = rows.map((each) => pool(each, width, modes))
        return others.map((other) => cosine(source, other))
      },
    }
  },

  compute: featureExtraction.compute,
}
