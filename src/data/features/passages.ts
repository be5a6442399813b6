// Passages of running text as sequences for language models, and as documents for next-sentence prediction; a passage at a time.
import { slices } from '../../turns.ts'
import type { BertTokenizer } from '../tokenizer/tokenizer.ts'
import { checkAtLeast, type SequenceExample } from './example.ts'

/** A passage of a document; passages of one document follow each other and have its number. */
export interface PassageInput {
  readonly text: string
  readonly document: number
}

export type Source<Item> = AsyncIterable<Item> | Iterable<Item>

export interface BlockOptions {
  /** Tokens of a sequence, [CLS] and [SEP] included. */
  readonly maxLength: number
  /** Every passage begins a sequence of its own; otherwise the passages of a document are joined. */
  readonly lineByLine: boolean
}

/** UTF-16 units that are tokenised without a pause: some milliseconds. */
const STRETCH = 1 << 12

/** `text` in stretches that are tokenised as the whole is: cut at white space, or where there is none (Chinese), between characters. */
export function* stretches(text: string): Generator<string> {
  let from = 0
  while (text.length - from > STRETCH) {
    const limit = from + STRETCH
    let to = limit
    while (to > from && !/[ \t\n\r\u3000]/.test(text[to])) to--
    if (to === from) to = /[\udc00-\udfff]/.test(text[limit]) ? limit - 1 : limit
    yield text.slice(from, to)
    from = to
  }
  yield text.slice(from)
}

/**
 * Sequences `[CLS] ... [SEP]` of at most `maxLength` tokens that hold all tokens of the passages. As run_mlm.py does with line_by_line
 * and without, except that it drops what exceeds `maxLength`, or does not fill it, and joins documents.
 */
export async function* passageBlocks(
  passages: Source<PassageInput>,
  tokenizer: BertTokenizer,
  { maxLength, lineByLine }: BlockOptions,
): AsyncGenerator<SequenceExample> {
  checkAtLeast('maxLength', maxLength, 3)
  const room = maxLength - 2
  const block = (ids: readonly number[]) => ({ inputIds: [tokenizer.clsTokenId, ...ids, tokenizer.sepTokenId] })
  const turn = slices()
  let pending: number[] = []
  let document: number | undefined
  for await (const passage of passages) {
    if (pending.length > 0 && (lineByLine || passage.document !== document)) {
      yield block(pending)
      pending = []
    }
    document = passage.document
    for (const text of stretches(passage.text)) {
      await turn()
      pending = pending.concat(idsOf(text, tokenizer))
      let from = 0
      for (; pending.length - from >= room; from += room) yield block(pending.slice(from, from + room))
      pending = pending.slice(from)
    }
  }
  if (pending.length > 0) yield block(pending)
}

const idsOf = (text: string, tokenizer: BertTokenizer): number[] =>
  tokenizer.encode(text, { addSpecialTokens: false, truncation: false }).inputIds

/** The tokens of the passages of one document, without special tokens. */
export type TokenizedDocument = readonly (readonly number[])[]

/** Tokens above which a document is taken for several, so that it need not fit in memory. */
const DOCUMENT_TOKENS = 1 << 17

/** The documents of a stream of passages. Passages without tokens are left out, as are documents without passages. */
export async function* tokenizedDocuments(
  passages: Source<PassageInput>,
  tokenizer: BertTokenizer,
  documentTokens = DOCUMENT_TOKENS,
): AsyncGenerator<TokenizedDocument> {
  const turn = slices()
  let pending: number[][] = []
  let tokens = 0
  let document: number | undefined
  for await (const passage of passages) {
    const ended = passage.document !== document
    document = passage.document
    for (const [i, text] of [...stretches(passage.text)].entries()) {
      await turn()
      if (pending.length > 0 && ((ended && i === 0) || tokens >= documentTokens)) {
        yield pending
        pending = []
        tokens = 0
      }
      const ids = idsOf(text, tokenizer)
      if (ids.length > 0) pending.push(ids)
      tokens += ids.length
    }
  }
  if (pending.length > 0) yield pending
}
