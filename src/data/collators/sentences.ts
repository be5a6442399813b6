// Long passages as sentences, by the ids of the tokens that end them.
import type { Source, TokenizedDocument } from '../features/passages.ts'
import type { BertTokenizer } from '../tokenizer/tokenizer.ts'

/** Latin, Chinese and Japanese, Arabic, Urdu, Hindi, Armenian, Ethiopic, Burmese, Khmer. */
const ENDS = ['.', '!', '?', '…', '。', '！', '？', '．', '｡', '؟', '۔', '।', '॥', '։', '።', '။', '។']
/** What closes a quotation or a parenthesis belongs to the sentence before it. '"' and "'" may open one and are not here. */
const CLOSERS = [')', ']', '”', '’', '»', '」', '』', '》', '）', '】']

/** Cuts a passage after each token of `ends` and the closers that follow it, and wherever a sentence has `limit` tokens. */
function cutPassage(
  passage: readonly number[],
  ends: ReadonlySet<number>,
  closers: ReadonlySet<number>,
  limit: number,
): number[][] {
  const sentences: number[][] = []
  let from = 0
  let ended = false
  passage.forEach((id, i) => {
    // several ends in a row, as in "?!", are one
    const belongs = ended && (ends.has(id) || closers.has(id))
    if ((ended && !belongs) || i - from === limit) {
      sentences.push(passage.slice(from, i))
      from = i
    }
    ended = belongs || ends.has(id)
  })
  sentences.push(passage.slice(from))
  return sentences
}

/** The documents with passages of more than `limit` tokens, and those that are alone in their document, cut into sentences. */
export async function* sentencesOf(
  documents: Source<TokenizedDocument>,
  tokenizer: BertTokenizer,
  limit: number,
): AsyncGenerator<TokenizedDocument> {
  const known = (tokens: readonly string[]) =>
    new Set(tokenizer.convertTokensToIds(tokens).filter((id) => id !== tokenizer.unkTokenId))
  const ends = known(ENDS)
  const closers = known(CLOSERS)
  for await (const document of documents) {
    const passages = document.filter((passage) => passage.length > 0)
    if (passages.length === 0) continue
    yield passages.flatMap((passage) =>
      passage.length > limit || passages.length === 1 ? cutPassage(passage, ends, closers, limit) : [passage],
    )
  }
}
