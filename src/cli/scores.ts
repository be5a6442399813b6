import type { BertConfig } from '../model/config.ts'
import type { Tensor } from '../tensor.ts'

/** Row i of a [rows, columns] tensor. */
const rowOf = ({ data, shape }: Tensor, row: number): Float32Array =>
  data.subarray(row * shape[1], (row + 1) * shape[1])

/** Probabilities of labels that exclude one another. */
export function softmax(logits: Float32Array): number[] {
  const highest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest))
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / total)
}

/** Probabilities of labels that do not exclude one another. */
const sigmoid = (logits: Float32Array): number[] => Array.from(logits, (logit) => 1 / (1 + Math.exp(-logit)))

/** What `predict` writes for one input; see DESIGN's table of tasks. */
export type Prediction =
  | { readonly label: string; readonly score: number; readonly scores: Record<string, number> }
  | { readonly labels: string[]; readonly scores: Record<string, number> }
  | { readonly score: number }
  | { readonly scores: Record<string, number> }

/** Labels may be called anything, "__proto__" too, which only entries keep as a name. */
const named = (labels: readonly string[], values: readonly number[]): Record<string, number> =>
  Object.fromEntries(labels.map((label, id) => [label, values[id]]))

/** Turns row `row` of the logits [sequences, labels] into labels and scores, as the model's problem type wants. */
export function predictionOf(logits: Tensor, row: number, config: BertConfig): Prediction {
  const values = rowOf(logits, row)
  const { labels } = config
  if (config.problemType === 'regression' || config.numLabels === 1) {
    return config.numLabels === 1 ? { score: values[0] } : { scores: named(labels, Array.from(values)) }
  }
  if (config.problemType === 'multi_label_classification') {
    const scores = sigmoid(values)
    return { labels: labels.filter((_, id) => scores[id] > 0.5), scores: named(labels, scores) }
  }
  const scores = softmax(values)
  const best = scores.indexOf(Math.max(...scores))
  return { label: labels[best], score: scores[best], scores: named(labels, scores) }
}
