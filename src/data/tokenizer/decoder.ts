// From tokens back to text.

type Replacements = readonly (readonly [from: string, to: string])[]

const CLEAN_UP: Replacements = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [' do not', " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
]

/** Of a whole text, where "do not" is what somebody wrote: Transformers leaves it. */
const CLEAN_UP_TEXT = CLEAN_UP.filter(([from]) => from !== ' do not')

const replaceAll = (text: string, replacements: Replacements): string =>
  replacements.reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text)

/**
 * Joins tokens: those with the continuation `prefix` to what is before them, the others after a space. Each token with its space is
 * cleaned up for itself, as by the WordPiece decoder of the Rust library (src/decoders/wordpiece.rs).
 */
export function decodeTokens(tokens: readonly string[], prefix: string): string {
  let text = ''
  tokens.forEach((token, i) => {
    let part = token
    if (i > 0) part = token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`
    text += replaceAll(part, CLEAN_UP)
  })
  return text
}

/**
 * Removes spaces across tokens, too: of "it ' s" only this makes "it's". `clean_up_tokenization` of Transformers
 * (tokenization_utils_base.py).
 */
export const cleanUpText = (text: string): string => replaceAll(text, CLEAN_UP_TEXT)
