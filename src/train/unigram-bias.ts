// How frequent tokens are, told to a new language model before its first update.
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { AbortedError, ArgumentError } from '../errors.ts'
import type { PreTrainedModel } from '../session/pretrained.ts'
import { slices } from '../turns.ts'
import { checkExamples, isStreamed } from './dataset.ts'
import { type Dataset, type OpenDataset, openDataset } from './trainer-options.ts'

const BIAS = 'cls.predictions.bias'
/** Tokens of a dataset that are counted: enough to know how frequent they are. */
const COUNTED = 2 ** 22
/** Added to each count, so that a token that has not been seen stays possible. */
const SMOOTHING = 0.5

/** How often each of `vocabSize` tokens comes in a dataset; special ones are left out. */
async function countTokens(
  data: OpenDataset['data'],
  { allSpecialIds }: BertTokenizer,
  vocabSize: number,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const counts = new Float64Array(vocabSize)
  const special = new Set(allSpecialIds)
  const turn = slices()
  const examples = isStreamed(data) ? data.examples({ seed: 0, epoch: 0, skip: 0, shuffle: false }) : data
  let counted = 0
  for await (const { inputIds } of examples) {
    const due = turn()
    if (due) {
      if (signal?.aborted) throw new AbortedError('The preparation of data was stopped')
      await due
    }
    for (const id of inputIds.flat())
      if (!special.has(id)) {
        counts[id]++
        counted++
      }
    if (counted >= COUNTED) break
  }
  return counts
}

/**
 * Sets the bias of a new language model's scores to the logarithm of how frequent each token is in `dataset`, the first four million
 * tokens of it; 0 is as frequent as the average. So training begins with what else it would learn first, and which takes a
 * small model thousands of updates: Meister et al. (2023), "A Natural Bias for Language Generation Models".
 * @throws ArgumentError for a model that does not score a vocabulary, AbortedError.
 */
export async function initializeUnigramBias(
  model: PreTrainedModel,
  dataset: Dataset,
  tokenizer: BertTokenizer,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const parameter = model.parameters().find(({ name }) => name === BIAS)
  if (parameter === undefined)
    throw new ArgumentError(`Expected a model with ${BIAS} but received ${model.constructor.name}`)
  const { shape, size } = parameter
  const opened = openDataset('the dataset', dataset, undefined)
  if (!isStreamed(opened.data)) await checkExamples('the dataset', opened.data)
  const counts = await countTokens(opened.data, tokenizer, size, signal)
  const average = counts.reduce((sum, count) => sum + count + SMOOTHING, 0) / size
  const data = Float32Array.from(counts, (count) => Math.log((count + SMOOTHING) / average))
  await model.loadStateDict(new Map([[BIAS, { data, shape }]]), { strict: false })
}
