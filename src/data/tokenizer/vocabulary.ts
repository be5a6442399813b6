// The ids of pieces and added tokens together.

import { defined } from '../../options.ts'
import { type AddedToken, specialToken } from './added-tokens.ts'
import type { SpecialTokens, TokenizerFolder } from './files.ts'

export const DEFAULT_SPECIAL: SpecialTokens = {
  unkToken: '[UNK]',
  sepToken: '[SEP]',
  padToken: '[PAD]',
  clsToken: '[CLS]',
  maskToken: '[MASK]',
}

/**
 * Gives every added token its id: its piece's, the one that the files name, or the next free one. The special tokens are
 * added tokens too. `fail` makes the error for a special token that is missing and for ids that clash.
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
  for (const token of five) {
    const known = vocabulary.has(token) || (names.has(token) && token !== special.unkToken)
    // A model without masks may do without; for any other one a word is missing that every input has.
    if (!known && token !== special.maskToken) {
      throw fail(`Expected a vocabulary with the token ${token} but none of its ${vocabulary.size} tokens is that`)
    }
    if (!names.has(token)) listed.push(specialToken(token))
    names.add(token)
  }
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
    // one of BERT's five is special whatever a file says of it, as in Transformers
    return { ...token, id, special: token.special || five.has(token.content) }
  })
  return { ids, addedTokens, special }
}
