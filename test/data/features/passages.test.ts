import { describe, expect, test } from 'vitest'
import {
  type PassageInput,
  passageBlocks,
  stretches,
  type TokenizedDocument,
  tokenizedDocuments,
} from '../../../src/data/features/passages.ts'
import { ArgumentError } from '../../../src/errors.ts'
import { collect, reference, tokenizer, tokensOf } from './reference.ts'

const contexts = reference.questions.map(({ context }) => context).filter((context) => context.length > 50)
const [english, chinese] = [contexts[0], contexts[contexts.length - 1]]

const ids = (text: string) => tokenizer.encode(text, { addSpecialTokens: false, truncation: false }).inputIds

async function blocks(passages: Iterable<PassageInput>, maxLength: number, lineByLine: boolean): Promise<number[][]> {
  const made = await collect(passageBlocks(passages, tokenizer, { maxLength, lineByLine }))
  return made.map(({ inputIds }) => inputIds)
}

/** Takes [CLS] and [SEP] away, and fails if they are not there. */
function inside(block: readonly number[]): number[] {
  expect([block[0], block[block.length - 1]]).toEqual([tokenizer.clsTokenId, tokenizer.sepTokenId])
  return block.slice(1, -1)
}

describe('passageBlocks', () => {
  const passages = [
    { text: 'The museum', document: 0 },
    { text: 'holds fish .', document: 0 },
    { text: '', document: 0 },
    { text: 'a e', document: 1 },
  ]

  test('line by line: a sequence for each passage, long ones in several', async () => {
    const made = await blocks(passages, 4, true)
    expect(made.map((block) => tokensOf(block).join(' '))).toEqual([
      '[CLS] The museum [SEP]',
      '[CLS] holds fish [SEP]',
      '[CLS] . [SEP]',
      '[CLS] a e [SEP]',
    ])
  })

  test('joined: passages of a document fill blocks, documents are not mixed', async () => {
    const made = await blocks(passages, 6, false)
    expect(made.map((block) => tokensOf(block).join(' '))).toEqual([
      '[CLS] The museum holds fish [SEP]',
      '[CLS] . [SEP]',
      '[CLS] a e [SEP]',
    ])
  })

  test.each([
    [3, false],
    [3, true],
    [17, false],
    [64, true],
    [512, false],
  ])('loses nothing with blocks of %i, line by line: %s', async (maxLength, lineByLine) => {
    const texts = [english, chinese, english.repeat(120), '', chinese.repeat(400), '\u0000', english]
    const made = await blocks(
      texts.map((text, i) => ({ text, document: i >> 1 })),
      maxLength,
      lineByLine,
    )
    expect(Math.max(...made.map(({ length }) => length))).toBeLessThanOrEqual(maxLength)
    expect(Math.min(...made.map(({ length }) => length))).toBeGreaterThan(2)
    expect(made.flatMap(inside)).toEqual(texts.flatMap(ids))
  })

  test('reads no further than the blocks that are asked for', async () => {
    let read = 0
    function* endless(): Generator<PassageInput> {
      for (;;) yield { text: english, document: read++ }
    }
    let made = 0
    for await (const _ of passageBlocks(endless(), tokenizer, { maxLength: 16, lineByLine: false }))
      if (++made === 20) break
    expect(read).toBeLessThan(10)
  })

  test('refuses blocks without room', async () => {
    await expect(blocks([], 2, true)).rejects.toThrow(
      new ArgumentError('Expected maxLength to be an integer of at least 3 but received 2'),
    )
  })
})

describe('stretches', () => {
  const joined = (text: string) => [...stretches(text)]

  test('leaves short texts as they are', () => {
    expect(joined('')).toEqual([''])
    expect(joined(english)).toEqual([english])
  })

  test('cuts at white space, and so that tokens stay the same', () => {
    const text = english.repeat(100)
    const parts = joined(text)
    expect(parts.length).toBeGreaterThan(2)
    expect(parts.join('')).toBe(text)
    expect(parts.slice(1).every((part) => part.startsWith(' '))).toBe(true)
    expect(parts.flatMap(ids)).toEqual(ids(text))
  })

  test('cuts no character in two', () => {
    const text = `x${'\u{1f600}'.repeat(10_000)}`
    const parts = joined(text)
    expect(parts.join('')).toBe(text)
    expect(parts.some((part) => /\p{Surrogate}/u.test(part))).toBe(false)
  })
})

describe('tokenizedDocuments', () => {
  const words = (documents: readonly TokenizedDocument[]) =>
    documents.map((document) => document.map((passage) => tokensOf(passage).join(' ')))
  const passages = [
    { text: '\u0000', document: 0 },
    { text: 'The museum', document: 1 },
    { text: '', document: 1 },
    { text: 'holds fish', document: 1 },
    { text: 'a e t', document: 2 },
    { text: 'x', document: 2 },
  ]

  test('are lists of passages, without what is empty', async () => {
    const documents = await collect(tokenizedDocuments(passages, tokenizer))
    expect(words(documents)).toEqual([
      ['The museum', 'holds fish'],
      ['a e t', 'x'],
    ])
  })

  test('are several where one is too long', async () => {
    const documents = await collect(tokenizedDocuments(passages, tokenizer, 3))
    expect(words(documents)).toEqual([['The museum', 'holds fish'], ['a e t'], ['x']])
  })
})
