import { cleanUpText } from '../data/tokenizer/decoder.ts'
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'

/** The text of a sequence with a token at a place. */
type Filler = (position: number) => (token: number) => string

/**
 * What the tokenizer makes of a sequence with one token or another at a place, padding left out. The text of a token depends on whether
 * it is the first one, and on no other token: the texts of all are made once, and not again for each token at each place.
 * Only what cleans up across tokens has to see the whole text.
 */
export function fillerOf(inputIds: readonly number[], tokenizer: BertTokenizer, skipSpecialTokens: boolean): Filler {
  const { padTokenId, cleanUpTokenizationSpaces } = tokenizer
  const whole = cleanUpTokenizationSpaces ? cleanUpText : (joined: string) => joined
  const skipped = new Set(skipSpecialTokens ? tokenizer.allSpecialIds : []).add(padTokenId)
  const text = (...ids: number[]) =>
    tokenizer.decode(
      ids.filter((id) => id !== padTokenId),
      { skipSpecialTokens, cleanUp: false },
    )
  const first = inputIds.findIndex((id) => !skipped.has(id))
  if (first < 0) return () => (token) => whole(text(token))
  const beginning = text(inputIds[first])
  /** A token after another one. */
  const following = (id: number) => text(inputIds[first], id).slice(beginning.length)
  const parts = inputIds.map((id, i) => (i === first ? beginning : skipped.has(id) ? '' : following(id)))
  return (position) => {
    if (first < position) {
      const [before, after] = [parts.slice(0, position).join(''), parts.slice(position + 1).join('')]
      return (token) => whole(before + following(token) + after)
    }
    // the token is the first one, if it is not left out itself: then the next one is, and is written as such
    const next = inputIds.findIndex((id, i) => i > position && !skipped.has(id))
    if (next < 0) return (token) => whole(text(token))
    const rest = parts.slice(next + 1).join('')
    return (token) => whole(text(token, inputIds[next]) + rest)
  }
}
