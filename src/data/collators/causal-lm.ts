import type { LabelledTokens, SequenceExample } from '../features/example.ts'

/** The labels of a causal language model are its inputs; BertLMHeadModel shifts them, as Transformers' does. */
export function labelNextTokens<Input extends SequenceExample>(example: Input): Input & LabelledTokens {
  return { ...example, labels: example.inputIds.slice() }
}
