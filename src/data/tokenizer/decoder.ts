// From tokens back to text.

const CLEAN_UP: readonly (readonly [string, string])[] = [
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

/**
 * Joins tokens: those with the continuation `prefix` to what is before them, the others after a space. `cleanUp` works on
 * each token with its space, as the WordPiece decoder of the Rust library (src/decoders/wordpiece.rs).
 */
export function decodeTokens(tokens: readonly string[], prefix: string, cleanUp: boolean): string {
  let text = ''
  tokens.forEach((token, i) => {
    let part = token
    if (i > 0) part = token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`
    if (cleanUp) for (const [from, to] of CLEAN_UP) part = part.replaceAll(from, to)
    text += part
  })
  return text
}
