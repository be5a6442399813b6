// Long texts, which are counted a span at a time: where spans end changes no word.
import { describe, expect, test } from 'vitest'
import { NormalizedText, Normalizer, type NormalizerOptions } from '../../src/data/tokenizer/normalizer.ts'
import { wordEnd } from '../../src/data/tokenizer/pre-tokenizer.ts'
import { unicodeData } from '../../src/data/tokenizer/unicode.ts'
import { MAX_WORD_LENGTH, WordCounter } from '../../src/data/tokenizer/word-counter.ts'
import { randomNumbers } from './tokenizer-oracle.mjs'

const normal = { cleanText: true, tokenizeChineseChars: true, stripAccents: null, doLowerCase: true }

async function counted(text: string, options: NormalizerOptions = normal): Promise<WordCounter & { pauses: number }> {
  const counter = Object.assign(new WordCounter(options), { pauses: 0 })
  await counter.add(text, () => {
    counter.pauses++
    return undefined
  })
  return counter
}

/** The words of a text that is normalised and split as a whole. */
function wordsOf(text: string, options: NormalizerOptions): { words: number; counts: Map<string, number> } {
  const normalized = new NormalizedText()
  new Normalizer(options).normalize(text, 0, text.length, normalized)
  const { codes, length } = normalized
  const counts = new Map<string, number>()
  let words = 0
  for (let at = 0, end = 0; at < length; at = Math.max(end, at + 1)) {
    end = wordEnd(unicodeData().kinds, codes, at, length)
    if (end === at) continue
    words++
    if (end - at > MAX_WORD_LENGTH) continue
    const word = Array.from(codes.subarray(at, end), (code) => String.fromCodePoint(code)).join('')
    counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return { words, counts }
}

describe('a text without a space', () => {
  test.each([
    ['letters', 'x'],
    ['Thai', 'ภาษาไทย'],
    ['Hangul', '한국어'],
    ['surrogate pairs', '\u{10400}'],
    ['letters with accents', 'e\u0301\u0323'],
  ])('of %s leaves turns to the event loop, and is one word', async (_, part) => {
    const text = part.repeat(Math.ceil(200_000 / part.length))
    const { counts, pauses, words } = await counted(`one ${text} two`)
    expect(pauses).toBeGreaterThan(8)
    expect(words).toBe(3)
    expect([...counts.keys()]).toEqual(['one', 'two'])
  })

  test('a word that many dropped characters lie in is whole', async () => {
    const { counts, words } = await counted(`a${'\u200b'.repeat(40_000)}b${'\u0301'.repeat(40_000)}c`)
    expect(counts).toEqual(new Map([['abc', 1]]))
    expect(words).toBe(1)
  })

  test('no span ends within a surrogate pair, or between marks', async () => {
    for (let length = 2 ** 14 - 6; length < 2 ** 14 + 6; length++) {
      const space = '\u200b'.repeat(length)
      expect([...(await counted(`a${space}\u{1f600}b`)).counts.keys()]).toEqual(['a\u{1f600}b'])
      // of the marks that stay, the one of the smaller class comes first
      expect([...(await counted(`a${space}\u{1d16d}\u302eb`)).counts.keys()]).toEqual(['a\u302e\u{1d16d}b'])
    }
  })
})

test.each([
  normal,
  { ...normal, doLowerCase: false },
  { ...normal, cleanText: false },
  { ...normal, tokenizeChineseChars: false },
  { ...normal, stripAccents: false },
])('the words of a long text are those of it as a whole, %o', async (options) => {
  const { below, next, pick } = randomNumbers(7)
  // spacing marks outlive the removal of accents, in an order of their own
  const spacing = ['\u302e', '\u302f', '\u{1d165}', '\u{1d16d}']
  const marks = [...spacing, '\u0301', '\u0323', '\u0f71', '\u0f74']
  const bases = ['a', 'É', 'ṩ', 'ก', '가', 'ﬁ', '\u{1f600}', '\u{10400}', '\ud83d', '\udc00', '\u0958', '\u0344']
  const dropped = ['\u200b', '\u0000', '\u00ad', '\ufffd']
  const borders = [' ', '.', '中', '\u2028', '\u00a0', '\u3000']
  let text = ''
  for (let run = 0; run < 20; run++) {
    // without a border: many characters, few that are kept, and of these marks alone
    const [some, rare] = [[...bases, ...marks], [bases, marks, spacing][run % 3]]
    const share = [0.4, 0.02, 0.02, 0.02][run % 4]
    text += pick(bases)
    for (let left = 16_000 + below(4000); left > 0; left--)
      text += next() < share ? pick(run % 4 === 0 ? some : rare) : pick(dropped)
    text += pick(bases) + pick(borders)
  }
  const { counts, words, pauses } = await counted(text, options)
  const expected = wordsOf(text, options)
  expect(pauses).toBeGreaterThan(8)
  expect(words).toBe(expected.words)
  expect(counts).toEqual(expected.counts)
  // words that many spans make
  if (options.cleanText) expect([...counts.keys()].some((word) => word.length > 100)).toBe(true)
})
