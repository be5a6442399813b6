// Names of Google's BERT (google-research/bert, modeling.py and the run_*.py beside it) and what Transformers calls the same
// tensors, by the rules of its load_tf_weights_in_bert (removed in version 5).

/** Suffixes of what an optimiser or the training loop keeps, not the model. */
const NOT_WEIGHTS =
  /(^|\/)(adam_[mv]|AdamWeightDecayOptimizer(_1)?|Adam(_1)?|global_step|beta[12]_power|learning_rate)$/

export const isWeight = (variable: string): boolean => !NOT_WEIGHTS.test(variable)

/** Heads of the run_*.py, which have no scope that says so. */
const HEADS: Readonly<Record<string, string>> = {
  output_weights: 'classifier.weight',
  output_bias: 'classifier.bias',
  'cls/squad/output_weights': 'qa_outputs.weight',
  'cls/squad/output_bias': 'qa_outputs.bias',
}

/** The last part of a variable's name -> of a tensor's. */
const PARTS: Readonly<Record<string, string>> = {
  kernel: 'weight',
  gamma: 'weight',
  beta: 'bias',
  output_weights: 'weight',
  output_bias: 'bias',
}

/** TensorFlow computes x W with W of [in, out], PyTorch x W' with [out, in]; tables of embeddings and output weights are alike. */
export const isTransposed = (variable: string): boolean => /(^|\/)kernel$/.test(variable)

/** Transformers' name of a variable; a name that follows no rule keeps its parts, and a load reports it as unexpected. */
export function nameOf(variable: string): string {
  if (Object.hasOwn(HEADS, variable)) return HEADS[variable]
  const parts = variable.split('/').flatMap((part) => part.replace(/^layer_(\d+)$/, 'layer.$1'))
  const last = parts[parts.length - 1]
  if (Object.hasOwn(PARTS, last)) parts[parts.length - 1] = PARTS[last]
  else if (/_embeddings$/.test(last)) parts.push('weight')
  return parts.join('.')
}
