// Parquet whose classes `datasets` of Hugging Face has named; make.py has written the file.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { classificationRows } from '../../src/data/classification.ts'
import { classesOf, withClassNames } from '../../src/data/readers/class-names.ts'
import { type ReadRowsOptions, readRows } from '../../src/data/readers/rows.ts'
import { tokenRows } from '../../src/data/token-classification.ts'
import type { JsonValue } from '../../src/json.ts'
import { listOf, put } from './reading.ts'

const file = join(import.meta.dirname, 'fixtures', 'classes.parquet')
const bytes = await readFile(file)

/** The file with other metadata of the same length. */
function changed(from: string, to: string): Promise<string> {
  const text = bytes.toString('latin1')
  expect(text.split(from)).toHaveLength(2)
  return put('.parquet', Buffer.from(text.replace(from, to.padEnd(from.length)), 'latin1'))
}
const columnsOf = async (path: string, names: string[], options?: ReadRowsOptions) =>
  (await listOf(readRows(path, options))).map(({ fields }) => names.map((name) => fields[name]))

describe('classes of Parquet', () => {
  it('are their names, in columns, lists and fields', async () => {
    expect(await columnsOf(file, ['text', 'label', 'ner_tags', 'large', 'nested', 'answer', 'number'])).toEqual([
      ['a', 'pos', ['B-PER', 'I-PER'], ['I-PER'], [['O'], ['B-PER', 'I-PER']], { kind: 'neg', count: 1 }, 1],
      ['b', -1, ['O'], [], [], { kind: 'pos', count: 0 }, 0],
      ['c', null, [], null, [[]], null, 2],
    ])
    const [{ fields, line }] = await listOf(readRows(file))
    expect([line, Object.getPrototypeOf(fields)]).toEqual([1, null])
  })

  it('are read by tasks as labels and tags', async () => {
    const labels: unknown[] = []
    const reading = (async () => {
      for await (const { label } of classificationRows(file)) labels.push(label)
    })()
    await expect(reading).rejects.toThrow(/:3: /)
    expect(labels).toEqual(['pos', '-1'])
    const [first] = await listOf(tokenRows(file))
    expect(first).toMatchObject({ tokens: ['Ada', 'Lovelace'], tags: ['B-PER', 'I-PER'] })
  })

  it('stay numbers where those are wanted', async () => {
    expect(await columnsOf(file, ['label', 'ner_tags', 'answer'], { classNames: [] })).toEqual([
      [1, [1, 2], { kind: 0, count: 1 }],
      [-1, [0], { kind: 1, count: 0 }],
      [null, [], null],
    ])
  })

  it('have the names that are known, of columns that have one of them', async () => {
    const known = { classNames: ['neg', 'POSITIVE'] }
    expect(await columnsOf(file, ['label', 'ner_tags'], known)).toEqual([
      ['pos', [1, 2]],
      [-1, [0]],
      [null, []],
    ])
  })

  it('that have no name stay numbers', async () => {
    const few = await changed('"label": {"names": ["neg", "pos"]', '"label": {"names": ["neg"]')
    expect((await columnsOf(few, ['label']))[0]).toEqual([1])
    const kind = await changed('"kind": {"names": ["neg", "pos"]', '"kind": {"names": ["neg"]')
    expect((await columnsOf(kind, ['answer']))[1]).toEqual([{ kind: 1, count: 0 }])
  })

  it.each([
    ['{"info"', '["info"'],
    ['{"info"', '{"infp"'],
    ['"features"', '"featureS"'],
    ['"label": {"names": ["neg", "pos"]', '"label": {"names": ["neg", 3]'],
    ['"label": {"names": ["neg", "pos"]', '"label": {"names": []'],
    ['"label": {"names"', '"label": {"namen"'],
  ])('are numbers where the metadata is of another kind: %s as %s', async (from, to) => {
    expect((await columnsOf(await changed(from, to), ['text', 'label'])).slice(0, 2)).toEqual([
      ['a', 1],
      ['b', -1],
    ])
  })
})

describe('classesOf', () => {
  const label = { num_classes: 2, names: ['x', 'y'], names_file: null, id: null, _type: 'ClassLabel' }
  const value = { dtype: 'int32', _type: 'Value' }
  const named = (feature: JsonValue, column: JsonValue): JsonValue => {
    const classes = classesOf(JSON.stringify({ info: { features: { column: feature, absent: label } } }))
    return withClassNames({ fields: { column }, line: 7 }, classes).fields.column
  }

  it('knows every way to write a list', () => {
    const lists: JsonValue[] = [
      [label],
      { feature: label, length: -1, id: null, _type: 'Sequence' },
      { feature: label, _type: 'List' },
      { feature: label, _type: 'LargeList' },
    ]
    for (const feature of lists) expect(named(feature, [1, 0, null, -1])).toEqual(['y', 'x', null, -1])
    // a list of objects is kept as an object of lists
    const objects = { feature: { a: label, b: value }, _type: 'Sequence' }
    expect(named(objects, { a: [0, 1], b: [0, 1] })).toEqual({ a: ['x', 'y'], b: [0, 1] })
    expect(named([{ a: label }], [{ a: 1, c: 1 }])).toEqual([{ a: 'y', c: 1 }])
  })

  it('leaves what is no number of a class', () => {
    for (const column of ['1', 0.5, true, null, { a: 1 }]) expect(named(label, column)).toEqual(column)
    for (const feature of [value, [], [label, label], { names: ['x', 'y'], _type: 'Value' }, 'ClassLabel', null])
      expect(named(feature, 1)).toBe(1)
    for (const column of [2, -2, 1e9, 0.5]) expect(named(label, column)).toBe(column)
  })

  it('knows none in metadata that is none of theirs', () => {
    for (const metadata of [undefined, 5, '', 'x', '[1]', 'null', '{"info":[]}', '['.repeat(1e5)])
      expect(classesOf(metadata).size).toBe(0)
  })
})
