// The reader of .parquet; make.py has written the files.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { classificationRows } from '../../src/data/classification.ts'
import { readRows } from '../../src/data/readers/rows.ts'
import { DataError } from '../../src/errors.ts'
import { Random } from '../formats/helpers.ts'
import { listOf, piecesOf, put, refuses } from './reading.ts'

const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', `${name}.parquet`)
const rowsOf = async (file: string) => (await listOf(readRows(file))).map(({ line, fields }) => [line, { ...fields }])

describe('parquet', () => {
  const TEXTS = ['plain', 'naïve 漢字 😀', '', 'two\nlines', 'a "quote"', 'x'.repeat(300), null]
  const expected = TEXTS.map((text, i) => [i + 1, { text, label: text === null ? null : i }])

  it.each(['snappy', 'gzip', 'zstd', 'brotli', 'lz4', 'none'])('is read by row group: %s', async (codec) => {
    expect(await rowsOf(fixture(codec))).toEqual(expected)
  })

  it('has all kinds of values', async () => {
    expect(await rowsOf(fixture('kinds'))).toEqual([
      [
        1,
        {
          id: 'q0',
          context: 'the 😀 cat sat',
          question: 'who?',
          answers: Object.assign(Object.create(null), { text: ['cat', 'the 😀 cat'], answer_start: [6, 0] }),
          tokens: ['a', 'b'],
          ner_tags: [0, 3],
          small: -1,
          large: 2 ** 53 - 1,
          score: 0.5,
          single: 0.25,
          yes: true,
          day: '2020-02-29T00:00:00.000Z',
          nested: [[1], []],
          category: 'pos',
        },
      ],
      [2, expect.objectContaining({ large: String(2n ** 60n), score: -1e300, single: null, day: null, nested: null })],
    ])
  })

  it.each(['blob', 'marked'])('refuses bytes of a text that are no UTF-8: %s', async (textColumn) => {
    const file = fixture('bytes')
    const texts: string[] = []
    const reading = (async () => {
      for await (const { text } of classificationRows(file, { textColumn })) texts.push(text)
    })()
    await expect(reading).rejects.toThrow(
      `${file}:3: expected "${textColumn}" to be a string, but it is bytes that are not valid UTF-8`,
    )
    await expect(reading).rejects.toThrow(DataError)
    expect(texts).toEqual(['plain', 'na\u00efve'])
    // bytes of a column that nobody reads do no harm
    const rows = await listOf(classificationRows(file))
    expect(rows.map(({ label, text }) => [text, label])).toEqual([
      ['a', '0'],
      ['b', '1'],
      ['c', '0'],
    ])
    const labels = listOf(classificationRows(file, { labelColumn: textColumn }))
    await expect(labels).rejects.toThrow(/to be a name or a number, but it is bytes that are not valid UTF-8/)
  })

  it('may be packed or a stream, which is read whole', async () => {
    const bytes = await readFile(fixture('snappy'))
    expect(await rowsOf(await put('.parquet.gz', gzipSync(bytes)))).toEqual(expected)
    const source = { bytes: piecesOf(bytes, 100), name: 'x' }
    expect((await listOf(readRows(source, { format: 'parquet' }))).length).toBe(7)
  })

  it('that is damaged or lacks columns is refused', async () => {
    const bytes = await readFile(fixture('zstd'))
    for (const damaged of [bytes.subarray(0, bytes.length - 5), '', 'PAR1']) {
      const file = await put('.parquet', damaged)
      await refuses(readRows(file), file, undefined, /not a Parquet file that can be read/)
    }
    const whole = await put('.parquet', bytes)
    const lacking = readRows(whole, { required: ['text', 'tokens'] })
    await refuses(lacking, whole, undefined, /expected "tokens", but found "text", "label"; say which columns/)
    await refuses(readRows(fixture('empty')), fixture('empty'), undefined, /at least one row/)
  })

  it('with bytes changed is read or refused, and never crashes', async () => {
    const bytes = await readFile(fixture('none'))
    const random = new Random(6)
    const outcomes = { read: 0, refused: 0 }
    for (let round = 0; round < 24; round++) {
      const damaged = Buffer.from(bytes)
      for (let changes = random.below(3); changes >= 0; changes--)
        damaged[random.below(bytes.length)] = random.below(256)
      try {
        await listOf(readRows({ bytes: piecesOf(damaged, 1e6), name: 'x' }, { format: 'parquet' }))
        outcomes.read++
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_DATA', file: 'x' })
        outcomes.refused++
      }
    }
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(3)
  })

  it('is decoded without holding the event loop, and can be left', async () => {
    let turns = 0
    const timer = setInterval(() => turns++, 0)
    for await (const { line } of readRows(fixture('snappy'))) if (line === 4) break
    clearInterval(timer)
    expect(turns).toBeGreaterThan(0)
  })
})
