import { describe, expect, test } from 'vitest'
import { encodeTokens, encodeWords } from '../../../src/data/features/tokens.ts'
import { ArgumentError } from '../../../src/errors.ts'
import { reference, tokenizer, tokensOf } from './reference.ts'

describe('encodeTokens', () => {
  test.each(reference.tokens)('aligns labels as run_ner.py: $words cut to $max_length', (want) => {
    const example = { tokens: want.words, tags: want.tags.map((tag) => `tag ${tag}`) }
    const labelId = (tag: string) => Number(tag.slice(4))
    expect(encodeTokens(example, tokenizer, { maxLength: want.max_length, labelId })).toEqual({
      inputIds: want.input_ids,
      labels: want.labels,
    })
  })

  test('asks for no class of a word that is cut off or has no piece', () => {
    const asked: string[] = []
    const labelId = (tag: string) => asked.push(tag)
    const tokens = ['The', '\u0000', 'museum', 'museum']
    encodeTokens({ tokens, tags: ['a', 'b', 'c', 'd'] }, tokenizer, { maxLength: 4, labelId })
    expect(asked).toEqual(['a', 'c'])
  })

  test('says of a sentence that it is cut', () => {
    let cut = 0
    const encode = (maxLength: number) => {
      const options = { maxLength, labelId: () => 0, onCut: () => cut++ }
      return encodeTokens({ tokens: ['The', 'museum'], tags: ['a', 'b'] }, tokenizer, options)
    }
    const { length } = encode(64).inputIds
    encode(length)
    expect(cut).toBe(0)
    encode(length - 1)
    expect(cut).toBe(1)
  })

  test('refuses tags of another number, and no room', () => {
    const labelId = () => 0
    const encode = (tags: string[], maxLength: number) => () =>
      encodeTokens({ tokens: ['a', 'b'], tags }, tokenizer, { maxLength, labelId })
    expect(encode(['O'], 8)).toThrow(new ArgumentError('Expected 2 tags, one for each token, but received 1'))
    expect(encode(['O', 'O'], 2)).toThrow('Expected maxLength to be an integer of at least 3 but received 2')
  })
})

describe('encodeWords', () => {
  const words = ['The', 'unaffordable', '\u0000', 'Schrödinger', 'museum', 'holds', 'fish', '.']

  test('is one window where the words fit, the same as for training', () => {
    const { windows, words: places } = encodeWords(words, tokenizer, { maxLength: 64, stride: 8 })
    const tags = words.map((_, word) => String(word))
    const { inputIds, labels } = encodeTokens({ tokens: words, tags }, tokenizer, { maxLength: 64, labelId: Number })
    expect(windows).toEqual([{ inputIds }])
    const tokens = words.map((_, word) => labels.indexOf(word))
    expect(places).toEqual(tokens.map((token) => (token === -1 ? null : { window: 0, token })))
    expect(places[2]).toBeNull()
  })

  test('shows every word where most is around it', () => {
    const letters = ['a', 'e', 't', 'x', '.', ',', ';', '?']
    const { windows, words: places } = encodeWords(letters, tokenizer, { maxLength: 6, stride: 2 })
    expect(windows.map(({ inputIds }) => tokensOf(inputIds).join(' '))).toEqual([
      '[CLS] a e t x [SEP]',
      '[CLS] t x . , [SEP]',
      '[CLS] . , ; ? [SEP]',
    ])
    // "t" has two words before it and one after it in the first window, none before it in the second
    expect(places).toEqual([
      { window: 0, token: 1 },
      { window: 0, token: 2 },
      { window: 0, token: 3 },
      { window: 1, token: 2 },
      { window: 1, token: 3 },
      { window: 2, token: 2 },
      { window: 2, token: 3 },
      { window: 2, token: 4 },
    ])
  })

  test.each([0, 1, 3])('finds the first piece of every word of a long sentence with stride %i', (stride) => {
    const sentence = Array.from({ length: 60 }, (_, i) => words[i % words.length])
    const { windows, words: places } = encodeWords(sentence, tokenizer, { maxLength: 7, stride })
    expect(windows.length).toBeGreaterThan(10)
    sentence.forEach((word, i) => {
      const place = places[i]
      const found = place === null ? undefined : tokensOf(windows[place.window].inputIds)[place.token]
      expect(found).toBe(tokenizer.tokenize(word)[0])
    })
    // windows never begin a word twice: later pieces at the beginning of a window are nobody's first
    const used = new Set(places.map((place) => JSON.stringify(place)))
    expect(used.size).toBe(sentence.filter((word) => word !== '\u0000').length + 1)
  })

  test('takes a sentence of nothing', () => {
    const { windows, words: places } = encodeWords(['\u0000', ''], tokenizer, { maxLength: 8, stride: 2 })
    expect(windows.map(({ inputIds }) => tokensOf(inputIds))).toEqual([['[CLS]', '[SEP]']])
    expect(places).toEqual([null, null])
  })

  test('refuses a stride without progress', () => {
    expect(() => encodeWords(['a'], tokenizer, { maxLength: 8, stride: 6 })).toThrow(
      new ArgumentError('Expected stride below 6 (maxLength less 2) but received 6'),
    )
  })
})
