import { encodeChoices } from '../../data/features/choices.ts'
import { type ChoiceExample, choiceRows } from '../../data/multiple-choice.ts'
import { argmax, softmax } from '../../scores.ts'
import { BertForMultipleChoice } from '../../session/models.ts'
import type { Tensor } from '../../tensor.ts'
import { MultipleChoiceEvaluation } from '../metrics/multiple-choice.ts'
import { labelsFor, withOneLabel } from './shared.ts'
import type { Task } from './task.ts'

/** The right one of several continuations or answers. */
export function multipleChoice(): Task<ChoiceExample> {
  return {
    name: 'multiple-choice',
    model: BertForMultipleChoice,
    files: '.jsonl, .json, .csv, .tsv or .parquet',
    bestMetric: 'accuracy',
    metrics: ['accuracy'],
    rowsAreExamples: true,
    rows: (source, settings, purpose) => choiceRows(source, { ...withOneLabel(settings), labels: labelsFor(purpose) }),
    modelFields: () => ({}),
    async *examples(rows, { maxLength, tokenizer }) {
      for await (const row of rows) yield encodeChoices(row, tokenizer, { maxLength })
    },
    evaluation: () => new MultipleChoiceEvaluation(),
    async predict(model, rows, { maxLength, signal, tokenizer }) {
      const encoded = rows.map((row) => encodeChoices({ ...row, label: undefined }, tokenizer, { maxLength }))
      const inputIds = encoded.map((example) => example.inputIds)
      const tokenTypeIds = encoded.map((example) => example.tokenTypeIds)
      const { logits } = (await model.forward({ inputIds, tokenTypeIds } as object as { inputIds: number[][] }, {
        signal,
      })) as { logits: Tensor }
      let start = 0
      return rows.map(({ choices }) => {
        const scores = softmax(logits.data.subarray(start, start + choices.length))
        start += choices.length
        const label = argmax(scores)
        return { label, score: scores[label], scores }
      })
    },
  }
}
