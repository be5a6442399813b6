import { describe, expect, test } from 'vitest'
import { casingDoubt, dataDoubts, vocabularyDoubt } from '../../src/cli/doubts.ts'
import type { DataOptions } from '../../src/cli/options.ts'
import { BertTokenizer } from '../../src/data/tokenizer/tokenizer.ts'
import { createTask } from '../../src/train/tasks/tasks.ts'

test('a tokenizer and a model of other sizes make a doubt, a table that was rounded up does not', () => {
  const fields = { vocabSize: 15 }
  expect(vocabularyDoubt(fields, { vocabSize: 16 }, 'bert')).toBeUndefined()
  expect(vocabularyDoubt(fields, { vocabSize: 142 }, 'bert')).toBeUndefined()
  const message = 'bert: its tokenizer has 15 tokens, but the vocab_size of its config is 14; do they belong together?'
  expect(vocabularyDoubt(fields, { vocabSize: 14 }, 'bert')).toBe(message)
})

describe('labels', () => {
  const doubtsOf = (
    names: string[],
    options: DataOptions = {},
    task: 'sequence-classification' | 'token-classification' = 'sequence-classification',
  ) => {
    const labels = { names, problemType: 'single_label_classification' } as const
    return [...dataDoubts({ count: 1000, file: 'data.tsv', labels, task: createTask(task, {}) }, options)]
  }

  test.each([[['contradiction', 'entailment', '-']], [['-1', '0', '1', '2']], [['B-PER', '-100', 'O']]])(
    '%j have one that is none',
    (names) => {
      expect(doubtsOf(names)).toEqual([expect.stringMatching(/^data\.tsv: the label "-\d*" is learnt as a class/)])
    },
  )

  test.each([[['-1', '0', '1']], [['-1', '1']], [['-2', '-1', '0', '1', '2']], [['a-b', 'c']]])(
    '%j are classes',
    (names) => {
      expect(doubtsOf(names)).toEqual([])
    },
  )

  test.each(["['a', 'b']", '["a"]', "array(['a'], dtype=object)", '[1 0 0]'])(
    'that begin like a list, as %s, are taken for names',
    (name) => {
      const several =
        /^data\.tsv: labels such as "\W*[a1].* begin like a list .*--problem-type multi_label_classification/
      expect(doubtsOf([name, 'other'])).toEqual([expect.stringMatching(name.startsWith('array') ? /array\(/ : several)])
    },
  )

  test('in quotes', () => {
    expect(doubtsOf(['"neg"', '"pos"'])).toEqual([
      'data.tsv: the label "neg" has quotes, which mean nothing in TSV; write a CSV file, or TSV without quotes',
    ])
  })

  test('with the name of their column, of a file that is said to have no header', () => {
    const header = /"label", the name of a column, is learnt as a label; is the first line a header/
    const names = ['label', 'neg', 'pos']
    expect(doubtsOf(names, { columns: '_,text,label', header: false })).toEqual([expect.stringMatching(header)])
    expect(doubtsOf(names, { columns: '_,text,label', header: true })).toEqual([])
    expect(doubtsOf(names, { columns: 'text,stars', header: false, labelColumn: 'stars' })).toEqual([])
  })

  test('of spans', () => {
    expect(doubtsOf(['B-PER', 'O'], {}, 'token-classification')).toEqual([])
    expect(doubtsOf(['NOUN', 'VERB'], {}, 'token-classification')).toEqual([
      expect.stringMatching(/no tag begins with B-/),
    ])
  })
})

test('a vocabulary with upper case and a tokenizer that puts texts into lower case make a doubt', () => {
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  const small = [...special, ...Array.from({ length: 30 }, (_, i) => `wort${i}`)]
  const cased = [...small, 'Wort', '##ABC', 'Österreich']
  const of = (tokens: string[], doLowerCase: boolean) =>
    casingDoubt(BertTokenizer.fromVocab(tokens, { doLowerCase }), 'vocab.txt')
  expect(of(cased, true)).toMatch(
    /^vocab\.txt: 3 of its 38 tokens have upper case, but texts are put into lower case; .*"do_lower_case": false/,
  )
  expect(of(cased, false)).toBeUndefined()
  expect(of([...small, 'Wort'], true)).toBeUndefined()
})
