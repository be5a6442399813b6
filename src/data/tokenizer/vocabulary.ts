// The ids of pieces and added tokens together.

import { defined } from '../../options.ts'
import { type AddedToken, specialToken } from './added-tokens.ts'
import { DEFAULT_SPECIAL, type SpecialTokens, type TokenizerFolder } from './files.ts'

/** The keys of Transformers' SPECIAL_TOKENS_ATTRIBUTES that come before BERT's five. */
const BEFORE_FIVE: ReadonlySet<string> = new Set(['bos_token', 'eos_token'])

/**
 * Gives every added token its id: its piece's, the one that the files name, or the next free one. The special tokens are
 * added tokens too, and come after the others in the order of Transformers: bos_token, eos_token, BERT's five, those with another name,
 * those without one. `fail` makes the error for a special token that is missing and for ids that clash.
 */
export function buildVocabulary(
  folder: TokenizerFolder,
  fail: (reason: string) => Error,
): { ids: Map<string, number>; addedTokens: AddedToken[]; special: SpecialTokens } {
  const { vocabulary, addedIds } = folder
  const special: SpecialTokens = { ...DEFAULT_SPECIAL, ...defined(folder.special) }
  const five = new Set<string>(Object.values(special))
  const listed = [...folder.addedTokens]
  const names = new Set(listed.map((each) => each.content))
  const given = new Set([...names, ...folder.furtherTokens])
  const list = (token: string): void => {
    if (!names.has(token)) listed.push(specialToken(token))
    names.add(token)
  }
  for (const [key, token] of folder.namedTokens) if (BEFORE_FIVE.has(key)) list(token)
  for (const token of five) {
    const known = vocabulary.has(token) || (given.has(token) && token !== special.unkToken)
    // A model without masks may do without; for any other one a word is missing that every input has.
    if (!known && token !== special.maskToken) {
      throw fail(`Expected a vocabulary with the token ${token} but none of its ${vocabulary.size} tokens is that`)
    }
    list(token)
  }
  for (const token of [...folder.namedTokens.values(), ...folder.furtherTokens]) list(token)
  const isSpecial = new Set([...five, ...folder.namedTokens.values()])
  // a vocabulary has all of them as a rule, and tens of thousands of tokens: copied only where one comes to it
  const isWhole = listed.every(({ content }) => vocabulary.has(content))
  const ids = isWhole ? vocabulary : new Map(vocabulary)
  const taken = new Set(isWhole ? [] : vocabulary.values())
  const addedTokens = listed.map((token) => {
    const known = ids.get(token.content)
    const named = addedIds.get(token.content)
    if (known !== undefined && named !== undefined && known !== named) {
      throw fail(
        `Expected added token ${token.content} to have its id in the vocabulary, ${known}, but received ${named}`,
      )
    }
    if (known === undefined && named !== undefined && taken.has(named)) {
      throw fail(`Expected added token ${token.content} to have an id of its own but ${named} is taken`)
    }
    let id = known ?? named ?? vocabulary.size
    if (known === undefined && named === undefined) while (taken.has(id)) id++
    if (known === undefined) {
      ids.set(token.content, id)
      taken.add(id)
    }
    // what has a name is special whatever a file says of it, as in Transformers
    return { ...token, id, special: token.special || isSpecial.has(token.content) }
  })
  return { ids, addedTokens, special }
}
