// Any labels, by a model of natural language inference: transformers/pipelines/zero_shot_classification.py.
import { pairOf } from '../data/features/pair.ts'
import { cut } from '../data/tokenizer/truncation.ts'
import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import type { BertConfig } from '../model/config.ts'
import { BOOLEAN } from '../options.ts'
import { softmax } from '../scores.ts'
import { BertForSequenceClassification } from '../session/models.ts'
import { type Context, checkText, infer, rowsOf, type Sequence, type Task } from './task.ts'

export interface ZeroShotClassificationOptions {
  /** Labels to choose among, also as one text with commas between. */
  readonly candidateLabels?: string | readonly string[]
  /** The hypothesis that a label makes, which takes the place of the one {}; default 'This example is {}.'. */
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

/** The class that says that a hypothesis follows; -1 where none is named so (zero_shot_classification.py, entailment_id). */
const entailmentOf = ({ label2id }: BertConfig): number =>
  Object.entries(label2id).find(([name]) => name.toLowerCase().startsWith('entail'))?.[1] ?? -1

const warned = new WeakSet<BertForSequenceClassification>()

/** Scores of a model that was trained on something else look like any others: says so once, as Transformers. */
function warnOfLabels(model: BertForSequenceClassification): void {
  const { config } = model
  if (entailmentOf(config) >= 0 || warned.has(model)) return
  warned.add(model)
  console.warn(
    `bertkit: zero-shot-classification takes the last of the model's labels, ${quote(config.labels.at(-1))}, for entailment, because none of ${quote(config.labels)} begins with "entail"; scores mean nothing unless it is, and label2id of its config can say so`,
  )
}

/** The text with each hypothesis, cut where both are too long; a text too short for that stays whole, as in Transformers. */
function* encodePairs(
  { model, tokenizer, maxLength }: Context<BertForSequenceClassification>,
  text: string,
  hypotheses: Iterable<string>,
): Generator<Sequence> {
  const encode = (part: string) => tokenizer.encode(part, { addSpecialTokens: false }).inputIds
  const most = model.config.maxPositionEmbeddings
  const premise = encode(text)
  for (const hypothesis of hypotheses) {
    const hypothesisIds = encode(hypothesis)
    const length = premise.length + hypothesisIds.length + 3
    const surplus = Math.max(length - maxLength, 0)
    const isCut = surplus < premise.length
    const [{ from, to }] = cut(premise.length, premise.length - (isCut ? surplus : 0), 0, tokenizer.truncationSide)
    if (!isCut && length > most)
      throw new ArgumentError(
        `Expected at most ${most} tokens but received ${length}: the hypothesis ${quote(hypothesis)} leaves the text no room`,
      )
    yield pairOf(premise.slice(from, to), hypothesisIds, tokenizer)
  }
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
      'a text with one {}, the place of the label,',
      (value) => typeof value === 'string' && value.split('{}').length === 2,
    ],
    multiLabel: BOOLEAN,
  },
  check({ candidateLabels }, { model }) {
    labelsOf(candidateLabels)
    warnOfLabels(model)
  },

  start(text, { candidateLabels, hypothesisTemplate = 'This example is {}.', multiLabel = false }, context) {
    checkText(text)
    if (text === '') throw new ArgumentError('Expected a text but received an empty one')
    const labels = [...labelsOf(candidateLabels)] // the caller's list may change meanwhile
    const { config } = context.model
    const found = entailmentOf(config)
    const entailment = found < 0 ? config.numLabels - 1 : found // without such a label the last one, as in Transformers
    const contradiction = found === 0 ? config.numLabels - 1 : 0
    const [before, after] = hypothesisTemplate.split('{}')
    return {
      sequences: encodePairs(
        context,
        text,
        labels.map((label) => `${before}${label}${after}`),
      ),
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

  async compute({ model }, sequences, signal) {
    const { logits } = await infer(model, sequences, signal)
    return rowsOf(logits)
  },
}
