// The class of a text or a pair: transformers/pipelines/text_classification.py.

import type { BertConfig } from '../model/config.ts'
import { atLeast, oneOf } from '../options.ts'
import { argmax, sigmoid, softmax } from '../scores.ts'
import { BertForSequenceClassification } from '../session/models.ts'
import { checkText, checkTexts, encodeWhole, infer, rowsOf, type Task, TEXT_CHECKS, type TextOptions } from './task.ts'

export interface TextClassificationOptions extends TextOptions {
  /** How many labels, best first; null: all of them. Left out: the best one, not in a list. */
  readonly topK?: number | null
  /** What turns logits into scores. Default: sigmoid for one label or several that may hold at once, none for a regression, else softmax. */
  readonly functionToApply?: 'sigmoid' | 'softmax' | 'none'
}

export type TextOrPair = string | { readonly text: string; readonly textPair?: string }

export interface Classification {
  readonly label: string
  readonly score: number
}

const FUNCTIONS = { sigmoid, softmax, none: (logits: ArrayLike<number>) => Array.from(logits) }

function defaultFunction({ problemType, numLabels }: BertConfig): keyof typeof FUNCTIONS {
  if (problemType === 'regression') return 'none'
  return problemType === 'multi_label_classification' || numLabels === 1 ? 'sigmoid' : 'softmax'
}

const POSITIVE = atLeast(1)

export const textClassification: Task<
  BertForSequenceClassification,
  TextOrPair,
  TextClassificationOptions,
  Float32Array,
  Classification | Classification[]
> = {
  name: 'text-classification',
  modelClass: BertForSequenceClassification,
  architectures: ['BertForSequenceClassification'],
  checks: {
    ...TEXT_CHECKS,
    topK: [`${POSITIVE[0]}, or null`, (value) => value === null || POSITIVE[1](value)],
    functionToApply: oneOf('sigmoid', 'softmax', 'none'),
  },

  start(input, { topK, functionToApply, truncation, maxLength }, context) {
    const { text, textPair } = typeof input === 'string' ? { text: input } : checked(input)
    // an empty second text is none, as in Transformers
    const { inputIds, tokenTypeIds } = encodeWhole(context, text, textPair || undefined, { truncation, maxLength })
    const { config } = context.model
    return {
      sequences: [{ inputIds, tokenTypeIds }],
      finish([logits]) {
        const scores = FUNCTIONS[functionToApply ?? defaultFunction(config)](logits)
        const { labels } = config
        const best = argmax(scores)
        if (topK === undefined) return { label: labels[best], score: scores[best] }
        const all = scores.map((score, id) => ({ label: labels[id], score })).sort((a, b) => b.score - a.score)
        return topK === null ? all : all.slice(0, topK)
      },
    }
  },

  async compute({ model }, sequences, signal) {
    const { logits } = await infer(model, sequences, signal)
    return rowsOf(logits)
  },

  // as Transformers: a text alone gives a list, unless the call says how many labels
  single: (output, input, { topK }) => (typeof input === 'string' && topK === undefined ? [output] : output),
}

function checked(input: Exclude<TextOrPair, string>): { text: string; textPair?: string } {
  checkTexts(input, ['text'], ['textPair'])
  if (input.textPair !== undefined) checkText(input.textPair, 'textPair to be a text')
  return input
}
