// Any labels, by a model of natural language inference: transformers/pipelines/zero_shot_classification.py.
import { BOOLEAN } from '../data/tokenizer/options.ts'
import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { softmax } from '../scores.ts'
import { BertForSequenceClassification } from '../session/models.ts'
import { type Context, checkText, encodeWhole, infer, rowsOf, type Sequence, type Task } from './task.ts'

export interface ZeroShotClassificationOptions {
  /** Labels to choose among, also as one text with commas between. */
  readonly candidateLabels?: string | readonly string[]
  /** The hypothesis that a label makes, which takes the place of {}; default 'This example is {}.'. */
  readonly hypothesisTemplate?: string
  /** Whether several labels may hold: each score is then entailment against contradiction, on its own. Default false. */
  readonly multiLabel?: boolean
}

export interface ZeroShotClassification {
  readonly sequence: string
  /** By descending score. */
  readonly labels: string[]
  readonly scores: number[]
}

const isLabelList = (value: unknown): boolean =>
  Array.isArray(value) && value.every((label) => typeof label === 'string')

function labelsOf(labels: string | readonly string[] | undefined): readonly string[] {
  const list = typeof labels === 'string' ? labels.split(',').map((label) => label.trim()) : (labels ?? [])
  const given = typeof labels === 'string' ? list.filter((label) => label !== '') : list
  if (given.length > 0) return given
  throw new ArgumentError(`Expected candidateLabels to be one or more labels but received ${quote(labels)}`)
}

/** A premise too short to be cut stays whole, as in Transformers; the model then says no. */
function encodePair(context: Context<BertForSequenceClassification>, text: string, hypothesis: string): Sequence {
  const whole = context.tokenizer.encode(text, hypothesis)
  const surplus = whole.inputIds.length - context.maxLength
  const premise = whole.sequenceIds.filter((id) => id === 0).length
  const truncation = surplus > 0 && surplus < premise ? 'only_first' : false
  return surplus > 0 ? encodeWhole(context, text, hypothesis, { truncation }) : whole
}

export const zeroShotClassification: Task<
  BertForSequenceClassification,
  string,
  ZeroShotClassificationOptions,
  Float32Array,
  ZeroShotClassification
> = {
  name: 'zero-shot-classification',
  modelClass: BertForSequenceClassification,
  architectures: ['BertForSequenceClassification'],
  checks: {
    candidateLabels: ['a text or a list of texts', (value) => typeof value === 'string' || isLabelList(value)],
    hypothesisTemplate: [
      'a text with {} in the place of the label',
      (value) => typeof value === 'string' && value.includes('{}'),
    ],
    multiLabel: BOOLEAN,
  },
  check: ({ candidateLabels }) => void labelsOf(candidateLabels),

  start(text, { candidateLabels, hypothesisTemplate = 'This example is {}.', multiLabel = false }, context) {
    checkText(text)
    if (text === '') throw new ArgumentError('Expected a text but received an empty one')
    const labels = labelsOf(candidateLabels)
    const sequences = labels.map((label) => {
      const hypothesis = hypothesisTemplate.replace('{}', () => label)
      const { inputIds, tokenTypeIds } = encodePair(context, text, hypothesis)
      return { inputIds, tokenTypeIds }
    })
    const { config } = context.model
    const found = config.labels.findIndex((name) => name.toLowerCase().startsWith('entail'))
    const entailment = found < 0 ? config.numLabels - 1 : found // without such a label the last one, as in Transformers
    const contradiction = found === 0 ? config.numLabels - 1 : 0
    return {
      sequences,
      finish(logits) {
        const scores =
          multiLabel || labels.length === 1
            ? logits.map((row) => softmax([row[contradiction], row[entailment]])[1])
            : softmax(logits.map((row) => row[entailment]))
        // of equal scores the last one first, as numpy's order turned round
        const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || b - a)
        return {
          sequence: text,
          labels: order.map((i) => labels[i]),
          scores: order.map((i) => scores[i]),
        }
      },
    }
  },

  async compute(model, sequences, signal) {
    const { logits } = await infer(model, sequences, signal)
    return rowsOf(logits)
  },
}
