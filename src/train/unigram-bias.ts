// How frequent tokens are, told to a new language model before its first update.
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../errors.ts'
import type { PreTrainedModel } from '../session/pretrained.ts'
import { stoppableSlices } from './slices.ts'
import { tokenFrequencies } from './token-counts.ts'
import type { Dataset } from './trainer-options.ts'

const BIAS = 'cls.predictions.bias'
/** Added to each count, so that a token that has not been seen stays possible. */
const SMOOTHING = 0.5

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
  const counts = await tokenFrequencies(dataset, tokenizer, size, stoppableSlices(signal))
  const average = counts.reduce((sum, count) => sum + count + SMOOTHING, 0) / size
  const data = Float32Array.from(counts, (count) => Math.log((count + SMOOTHING) / average))
  await model.loadStateDict(new Map([[BIAS, { data, shape }]]), { strict: false })
}
