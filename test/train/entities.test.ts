import { describe, expect, test } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import { entitiesOf, joinWords } from '../../src/train/entities.ts'

const entities = (words: string, tags: string, probabilities?: number[]) =>
  entitiesOf(joinWords(words.split(' ')), tags.split(' '), probabilities ?? words.split(' ').map(() => 1))
const found = (words: string, tags: string) => entities(words, tags).map(({ type, text }) => [type, text])

describe('entitiesOf', () => {
  test('gives type, place in the joined words, text and mean probability', () => {
    const got = entities('Ada Lovelace lived in London', 'B-PER I-PER O O B-LOC', [0.5, 1, 0.9, 0.9, 0.25])
    expect(got).toEqual([
      { type: 'PER', start: 0, end: 12, text: 'Ada Lovelace', score: 0.75 },
      { type: 'LOC', start: 22, end: 28, text: 'London', score: 0.25 },
    ])
  })

  test('takes a text with the places of its words', () => {
    const text = '吴重阳，中国'
    const offsets = [...text].map((_, i): [number, number] => [i, i + 1])
    const tags = ['B-NAME', 'M-NAME', 'E-NAME', 'O', 'B-CONT', 'E-CONT']
    expect(
      entitiesOf(
        { text, offsets },
        tags,
        tags.map(() => 1),
      ),
    ).toEqual([
      { type: 'NAME', start: 0, end: 3, text: '吴重阳', score: 1 },
      { type: 'CONT', start: 4, end: 6, text: '中国', score: 1 },
    ])
  })

  test('joins words by a space, Chinese characters too, in UTF-16 units', () => {
    expect(joinWords(['𠀀', '重', 'a'])).toEqual({
      text: '𠀀 重 a',
      offsets: [
        [0, 2],
        [3, 4],
        [5, 6],
      ],
    })
    expect(joinWords([])).toEqual({ text: '', offsets: [] })
    expect(found('吴 重 阳 男', 'B-NAME M-NAME E-NAME S-SEX')).toEqual([
      ['NAME', '吴 重 阳'],
      ['SEX', '男'],
    ])
  })

  test.each([
    ['BIOES', 'B-X I-X E-X S-X O', ['a b c', 'd']],
    ['I- that continues nothing', 'O I-X I-X I-Y O', ['b c', 'd']],
    ['B- after B-', 'B-X B-X I-X O O', ['a', 'b c']],
    ['BMES cut short', 'M-X E-X M-X B-X E-X', ['a b', 'c', 'd e']],
    ['BILOU', 'B-X I-X L-X U-X U-X', ['a b c', 'd', 'e']],
    ['BILOU, neighbours', 'B-X L-X B-X L-X U-X', ['a b', 'c d', 'e']],
    ['BILOU cut short', 'L-X I-X L-X U-X I-X', ['a', 'b c', 'd', 'e']],
    ['letters alone', 'B I O S O', ['a b', 'd']],
    ['letters of BILOU alone', 'B L O U U', ['a b', 'd', 'e']],
    ['types that begin with letters of a scheme', 'LOC LOC UNIT U2 U2', ['a b', 'c', 'd e']],
    ['no prefix', 'ORG ORG PER O MISC', ['a b', 'c', 'e']],
  ])('%s', (_, tags, texts) => {
    expect(found('a b c d e', tags).map(([, text]) => text)).toEqual(texts)
  })

  test('names types as the tags do', () => {
    expect(found('a b c d', 'ORG MISC B-geo-loc S').map(([type]) => type)).toEqual(['ORG', 'MISC', 'geo-loc', '_'])
    expect(found('a b c d', 'U-PER L-ORG U-U-Bahn LOC').map(([type]) => type)).toEqual(['PER', 'ORG', 'U-Bahn', 'LOC'])
  })

  test('wants a tag and a probability for each word', () => {
    expect(() => entitiesOf(joinWords(['a', 'b']), ['O'], [1])).toThrow(
      new ArgumentError('Expected a tag and a probability for each of 2 words but received 1 and 1'),
    )
  })

  test('has no entities where there are no words', () => {
    expect(entitiesOf(joinWords([]), [], [])).toEqual([])
  })
})
