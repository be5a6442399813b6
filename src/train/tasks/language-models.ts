// Masked and causal language models.

import { labelNextTokens } from '../../data/collators/causal-lm.ts'
import { passageBlocks } from '../../data/features/passages.ts'
import { type Passage, passageRows } from '../../data/passages.ts'
import { ArgumentError, DataError } from '../../errors.ts'
import { IGNORE_INDEX } from '../../labels.ts'
import { argmax, softmax } from '../../scores.ts'
import { BertForMaskedLM, BertLMHeadModel } from '../../session/models.ts'
import type { Tensor } from '../../tensor.ts'
import { LanguageModelEvaluation } from '../metrics/language-modeling.ts'
import { maskingCollator, rowOf } from './shared.ts'
import type { Task, TaskOptions } from './task.ts'

const language = ({ lineByLine = false }: TaskOptions) =>
  ({
    files: '.txt, .jsonl, .json, .csv, .tsv or .parquet',
    bestMetric: 'loss',
    metrics: ['perplexity', 'accuracy'],
    rowsAreExamples: false,
    rows: (source, settings) => passageRows(source, settings),
    examples: (rows, { maxLength, tokenizer }) => passageBlocks(rows, tokenizer, { maxLength, lineByLine }),
    rowOf: (text, line) => ({ text, line, document: line }),
  }) satisfies Partial<Task<Passage>>

/** The words under masks, which are made anew for every batch. */
export function maskedLM(options: TaskOptions): Task<Passage> {
  return {
    ...language(options),
    name: 'masked-lm',
    model: BertForMaskedLM,
    modelFields: () => ({}),
    collator: ({ tokenizer }) => maskingCollator(tokenizer, options),
    evaluation: () => new LanguageModelEvaluation(),
    async predict(model, rows, { maxLength, signal, tokenizer }) {
      const inputIds = rows.map(({ line, text }) => {
        const { inputIds: ids } = tokenizer.encode(text, { truncation: false })
        // cut, it would lose masks, and its end
        if (ids.length <= maxLength) return ids
        throw new DataError(
          `line ${line}: expected a text of at most ${maxLength - 2} tokens, besides [CLS] and [SEP], but received ${ids.length - 2}`,
        )
      })
      // a label marks the rows of the vocabulary that are wanted
      const labels = inputIds.map((ids) => ids.map((id) => (id === tokenizer.maskTokenId ? id : IGNORE_INDEX)))
      const { logits } = (await model.forward({ inputIds, labels }, { labelledOnly: true, signal })) as {
        logits: Tensor
      }
      let mask = 0
      return inputIds.map((ids) => {
        const filled = [...ids]
        const fills = ids.flatMap((id, i) => {
          if (id !== tokenizer.maskTokenId) return []
          const scores = softmax(rowOf(logits, mask++))
          const best = argmax(scores)
          filled[i] = best
          // tables of embeddings are often longer than the vocabulary
          const token = tokenizer.decode([best]) === '' ? '' : tokenizer.convertIdsToTokens([best])[0]
          return [{ token, score: scores[best] }]
        })
        return { text: tokenizer.decode(filled, { skipSpecialTokens: true }), fills }
      })
    },
  }
}

/** The next word. */
export function causalLM(options: TaskOptions): Task<Passage> {
  return {
    ...language(options),
    name: 'causal-lm',
    model: BertLMHeadModel,
    modelFields: () => ({ isDecoder: true }),
    async *examples(rows, settings) {
      for await (const example of language(options).examples(rows, settings)) yield labelNextTokens(example)
    },
    evaluation: () => new LanguageModelEvaluation({ causal: true }),
    async predict(model, rows, { maxLength, signal, tokenizer }) {
      if (!(model instanceof BertLMHeadModel))
        throw new ArgumentError(`Expected a BertLMHeadModel but received a ${model.constructor.name}`)
      const inputIds = rows.map(({ line, text }) => {
        // the prompt ends without [SEP]: it is to be continued
        const prompt = tokenizer.encode(text, { truncation: false }).inputIds.slice(0, -1)
        // as generate of Transformers and of the command line: a continuation of something else would look like one of the prompt
        if (prompt.length < maxLength) return prompt
        throw new DataError(
          `line ${line}: expected a prompt of at most ${maxLength - 1} tokens, which leaves room for a new one, but received ${prompt.length}`,
        )
      })
      const eosTokenId = model.generationConfig.eosTokenId === null ? tokenizer.sepTokenId : undefined
      // one sequence a row, and where a model draws its tokens, the same ones in every run
      const options = { eosTokenId, numReturnSequences: 1, seed: model.seed, signal }
      const { sequences } = await model.generate({ inputIds }, options)
      // the most probable tokens are the same ones however many follow: what is too long is cut, prompt by prompt
      return sequences.map((ids) => ({ text: tokenizer.decode(ids.slice(0, maxLength), { skipSpecialTokens: true }) }))
    },
  }
}
