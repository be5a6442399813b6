// Multiple choice as one pair of texts for each choice. Transformers' examples/pytorch/multiple-choice/run_swag.py: preprocess_function.
import type { BertTokenizer } from '../tokenizer/tokenizer.ts'
import type { Example } from './example.ts'

/** One entry for each choice. */
export interface ChoicesExample extends Example {
  readonly inputIds: number[][]
  readonly tokenTypeIds: number[][]
  readonly labels?: number
}

/**
 * `[CLS] context [SEP] question choice [SEP]` for each choice, the longer of the two cut first where they exceed `maxLength` tokens.
 * `label` is the place of the right choice.
 */
export function encodeChoices(
  {
    context,
    question,
    choices,
    label,
  }: {
    readonly context: string
    readonly question?: string
    readonly choices: readonly string[]
    readonly label?: number
  },
  tokenizer: BertTokenizer,
  { maxLength }: { readonly maxLength: number },
): ChoicesExample {
  const encodings = choices.map((choice) => {
    const second = question === undefined ? choice : `${question} ${choice}`
    return tokenizer.encode(context, second, { truncation: 'longest_first', maxLength })
  })
  return {
    inputIds: encodings.map((encoding) => encoding.inputIds),
    tokenTypeIds: encodings.map((encoding) => encoding.tokenTypeIds),
    ...(label === undefined ? {} : { labels: label }),
  }
}
