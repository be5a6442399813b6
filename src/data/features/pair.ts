import type { BertTokenizer } from '../tokenizer/tokenizer.ts'

/** `[CLS] first [SEP] second [SEP]`, of types 0 and 1. */
export function pairOf(
  first: readonly number[],
  second: readonly number[],
  { clsTokenId, sepTokenId }: Pick<BertTokenizer, 'clsTokenId' | 'sepTokenId'>,
): { inputIds: number[]; tokenTypeIds: number[] } {
  const inputIds = [clsTokenId, ...first, sepTokenId, ...second, sepTokenId]
  return { inputIds, tokenTypeIds: inputIds.map((_, i) => (i < first.length + 2 ? 0 : 1)) }
}
