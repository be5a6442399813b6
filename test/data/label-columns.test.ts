// Labels and numbers with a column each.

import { describe, expect, it } from 'vitest'
import {
  type ClassificationExample,
  type ClassificationOptions,
  classificationRows,
  labelCollector,
  labelEncoder,
} from '../../src/data/classification.ts'
import { labelColumnOf } from '../../src/data/label-columns.ts'
import type { ClassificationProblem } from '../../src/data/label-names.ts'
import { ArgumentError, DataError } from '../../src/errors.ts'
import { jsonl, listOf, put, reader } from './reading.ts'

const { read, refuses } = reader<ClassificationOptions>(classificationRows)
const labelColumn = 'toxic, obscene,threat'
const columns = ['toxic', 'obscene', 'threat']
/** As Jigsaw's: of the last column no row has a 1. */
const TABLE = 'id,comment_text,toxic,obscene,threat\n7,a,1,0,0\n8,b,0,0,0\n9,"c, d",1,1,0\n'
const options: ClassificationOptions = { textColumn: 'comment_text', labelColumn }

async function collected(examples: readonly object[], problemType?: ClassificationProblem) {
  const collector = labelCollector(problemType)
  for (const example of examples as ClassificationExample[]) collector.add(example)
  return collector.finish('f')
}

describe('a column for each label', () => {
  const expected = [
    { text: 'a', label: ['toxic'], columns, line: 2 },
    { text: 'b', label: [], columns, line: 3 },
    { text: 'c, d', label: ['toxic', 'obscene'], columns, line: 4 },
  ]

  it('gives the labels whose cell is 1', async () => {
    expect(await read('.csv', TABLE, options)).toEqual(expected)
    expect(await read('.csv', TABLE, { ...options, problemType: 'multi_label_classification' })).toEqual(expected)
    expect(await read('.csv', TABLE, { ...options, labelColumn: columns })).toEqual(expected)
    expect(await read('.csv', TABLE, { ...options, labels: 'ignored' })).toEqual(
      expected.map(({ line, text }) => ({ text, line })),
    )
    const rows = jsonl(
      { text: 'a', toxic: true, obscene: 0, threat: '0.0' },
      { text: 'b', toxic: 'False', obscene: ' 1 ', threat: 1 },
    )
    expect(await read('.jsonl', rows, { labelColumn })).toMatchObject([
      { label: ['toxic'] },
      { label: ['obscene', 'threat'] },
    ])
  })

  it('makes all columns labels, and rows of flags of them', async () => {
    const examples = await read('.csv', TABLE, options)
    const labels = await collected(examples)
    expect(labels).toEqual({ problemType: 'multi_label_classification', names: ['obscene', 'threat', 'toxic'] })
    expect(expected.map(labelEncoder(labels, 'f'))).toEqual([
      [0, 0, 1],
      [0, 0, 0],
      [1, 0, 1],
    ])
    // what columns are called is no row of flags
    const digits = await read('.csv', 'text,0,1\na,1,1\nb,1,1\n', { labelColumn: '0,1' })
    expect(await collected(digits)).toMatchObject({ names: ['0', '1'] })
  })

  it('are those of the model, all of them', async () => {
    const encode = labelEncoder({ problemType: 'multi_label_classification', names: [...columns, 'insult'] }, 'f')
    const encoding = () => expected.map(encode)
    expect(encoding).toThrow(DataError)
    expect(encoding).toThrow('f:2: expected a column for each label, but "insult" has none among ["toxic","obscene","t')
    const fewer = labelEncoder({ problemType: 'multi_label_classification', names: ['toxic', 'threat'] }, 'f')
    expect(() => expected.map(fewer)).toThrow('f:2: label "obscene" is not one of "toxic", "threat"')
  })

  it('names the row and the column of what is neither 1 nor 0', async () => {
    const cells = (cell: string): string => `text,toxic,obscene,threat\na,1,0,0\nb,0,${cell},0\n`
    for (const cell of ['2', '-1', '', 'yes', '0.5', '10'])
      await refuses(
        '.csv',
        cells(cell),
        3,
        /"obscene" to be 1 or 0, or true or false, .* numbers need --problem-type/,
        {
          labelColumn,
        },
      )
    const multi = { labelColumn, problemType: 'multi_label_classification' } as const
    await refuses('.csv', cells('2'), 3, /"obscene" to be 1 or 0, .* but it is "2"$/, multi)
    for (const cell of [null, [1], 2])
      await refuses('.jsonl', jsonl({ text: 'a', toxic: 1, obscene: cell }), 1, /"obscene" to be 1 or 0/, {
        labelColumn,
      })
  })

  it('names a column that is not there', async () => {
    const table = 'text,toxic,threat\na,1,0\n'
    await refuses('.csv', table, 2, /expected a field "obscene", but found "text", "toxic", "threat"/, { labelColumn })
    await refuses('.csv', table, 1, /expected a header line with "obscene"/, { labelColumn: columns })
    const rows = jsonl({ text: 'a', toxic: 1, obscene: 0, threat: 0 }, { text: 'b', toxic: 1, threat: 0 })
    await refuses('.jsonl', rows, 2, /expected a field "obscene"/, { labelColumn })
  })

  it('may be one column of that name', async () => {
    const table = 'text,"a,b",a,b\nx,yes,1,0\ny,no,0,1\n'
    const named = await read('.csv', table, { labelColumn: 'a,b' })
    expect(named).toEqual([
      { text: 'x', label: 'yes', line: 2 },
      { text: 'y', label: 'no', line: 3 },
    ])
    expect(await collected(named)).toEqual({ problemType: 'single_label_classification', names: ['no', 'yes'] })
    const both = await read('.csv', table, { labelColumn: ['a', 'b'] })
    expect(both).toMatchObject([{ label: ['a'] }, { label: ['b'] }])
    expect(await read('.csv', table, { labelColumn: ['a,b'] })).toEqual(named)
    // one label each: there is nothing to split
    const one = { labelColumn: 'a,b', problemType: 'single_label_classification' } as const
    expect(await read('.csv', table, one)).toEqual(named)
    await refuses('.csv', 'text,a,b\nx,1,0\n', 1, /expected a header line with "a,b"/, one)
    // and of what is no list of names
    await refuses('.csv', 'text,a,b\nx,1,0\n', 1, /expected a header line with "a,,b"/, { labelColumn: 'a,,b' })
  })
})

describe('a column for each number', () => {
  const regression = { labelColumn: 'valence,arousal', problemType: 'regression' } as const
  const table = 'text,valence,arousal\na,1,-0.5\nb,2.5,1e1\n'

  it('gives the numbers in the order of the names', async () => {
    const examples = await read('.csv', table, regression)
    expect(examples).toMatchObject([{ label: [1, -0.5] }, { label: [2.5, 10] }])
    const labels = await collected(examples, 'regression')
    expect(labels).toEqual({ problemType: 'regression', names: ['valence', 'arousal'] })
    const turned = await listOf(
      classificationRows(await put('.csv', table), { ...regression, labelColumn: ['arousal', 'valence'] }),
    )
    expect(turned).toMatchObject([{ label: [-0.5, 1] }, { label: [10, 2.5] }])
    // where the model has their names they are told by them
    expect(turned.map(labelEncoder(labels, 'f'))).toEqual([
      [1, -0.5],
      [2.5, 10],
    ])
    const generated = { ...labels, names: ['LABEL_0', 'LABEL_1'] }
    expect(turned.map(labelEncoder(generated, 'f'))).toEqual([
      [-0.5, 1],
      [10, 2.5],
    ])
  })

  it('names the row and the column of what is none', async () => {
    await refuses(
      '.csv',
      'text,valence,arousal\na,1,2\nb,1,\n',
      3,
      /"arousal" to be a number, but it is ""/,
      regression,
    )
    await refuses('.csv', 'text,valence\na,1\n', 2, /expected a field "arousal"/, regression)
    const one = await read('.csv', table, { ...regression, labelColumn: 'valence' })
    expect(await collected(one, 'regression')).toEqual({ problemType: 'regression', names: ['LABEL_0'] })
  })
})

it.each([[], [''], ['a', 'a'], ['a', 7], 7, null, { a: 1 }].map((given) => [given]))(
  'labelColumn %j names no columns',
  async (given) => {
    const reading = read('.csv', TABLE, { ...options, labelColumn: given as never })
    await expect(reading).rejects.toThrow(ArgumentError)
    await expect(reading).rejects.toThrow(
      /^Expected labelColumn to be a name or a list of different names but received/,
    )
  },
)

it('several columns are for several labels', async () => {
  const problemType = 'single_label_classification'
  const reading = read('.csv', TABLE, { ...options, labelColumn: columns, problemType })
  await expect(reading).rejects.toThrow(
    /^Expected labelColumn to be one name but received \["toxic","obscene","threat"\];/,
  )
  expect(() => labelColumnOf(['a', 'b'])).toThrow(ArgumentError)
  expect([labelColumnOf('a,b'), labelColumnOf(['a']), labelColumnOf(undefined)]).toEqual(['a,b', 'a', undefined])
})
