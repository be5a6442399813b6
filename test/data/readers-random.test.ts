import { expect, it } from 'vitest'
import { type RowFormat, readRows } from '../../src/data/readers/rows.ts'
import { DataError } from '../../src/errors.ts'
import { Random } from '../formats/helpers.ts'

const CHARS = ['a', 'b', ' ', ',', '"', '""', '\n', '\r', '\r\n', '\t', 'é', '漢', '😀', '\ufeff', '\u2028', '\0', '\\']

async function* piecesOf(bytes: Uint8Array, random: Random): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(20)
    yield bytes.subarray(at, at + size)
    at += size
  }
}
const cellOf = (random: Random, without: string): string =>
  Array.from({ length: random.below(6) }, () => random.pick(CHARS))
    .join('')
    .replaceAll(new RegExp(`[${without}]`, 'g'), '')

it('gives back what was written as CSV, with the line of each row', async () => {
  const random = new Random(3)
  for (let round = 0; round < 400; round++) {
    const end = random.pick(['\n', '\r\n'])
    let text = `${random.pick(['', '\ufeff'])}one,two${end}`
    let line = 2
    const expected: unknown[] = []
    for (let rows = random.below(30); rows >= 0; rows--) {
      const cells = ['x', ''].map((start) => start + cellOf(random, ''))
      expected.push({ line, fields: { one: cells[0], two: cells[1] } })
      const quoted = cells.map((cell) =>
        /[",\r\n]/.test(cell) || random.below(3) === 0 ? `"${cell.replaceAll('"', '""')}"` : cell,
      )
      text += quoted.join(',') + end + random.pick(['', '', end])
      line = text.split('\n').length
    }
    const found: unknown[] = []
    const source = { bytes: piecesOf(Buffer.from(text), random), name: 'random' }
    for await (const { fields, line } of readRows(source, { format: 'csv' }))
      found.push({ line, fields: { ...fields } })
    expect(found).toEqual(expected)
  }
})

it('gives back what was written as TSV and as JSON lines', async () => {
  const random = new Random(4)
  for (let round = 0; round < 200; round++) {
    const rows = Array.from({ length: 1 + random.below(20) }, () => ({
      one: `x${cellOf(random, '\r\n\t')}`,
      two: cellOf(random, '\r\n\t'),
    }))
    const files: [RowFormat, string, number][] = [
      ['tsv', `one\ttwo\n${rows.map(({ one, two }) => `${one}\t${two}`).join('\n')}`, 2],
      ['jsonl', rows.map((row) => JSON.stringify(row)).join('\n'), 1],
    ]
    for (const [format, text, first] of files) {
      const found: unknown[] = []
      const source = { bytes: piecesOf(Buffer.from(text), random), name: 'random' }
      for await (const { fields, line } of readRows(source, { format })) found.push({ line, fields: { ...fields } })
      expect(found).toEqual(rows.map((fields, i) => ({ line: first + i, fields })))
    }
  }
})

it('reads or refuses any bytes with a DataError', async () => {
  const random = new Random(5)
  const outcomes = { read: 0, refused: 0 }
  for (let round = 0; round < 3000; round++) {
    const format = random.pick<RowFormat>(['csv', 'tsv', 'jsonl'])
    const start = random.pick(['a,b\n1,2\n', 'a\tb\n1\t2\n', '{"a":1}\n{"__proto__":{}}\n'])
    const bytes = Buffer.from(start + Array.from({ length: random.below(8) }, () => random.pick(CHARS)).join(''))
    if (random.below(2)) bytes[random.below(bytes.length)] = random.below(256)
    try {
      for await (const { line } of readRows({ bytes: piecesOf(bytes, random), name: 'random' }, { format })) {
        expect(line).toBeGreaterThan(0)
      }
      outcomes.read++
    } catch (error) {
      if (!(error instanceof DataError)) throw error
      expect(error.message.length).toBeLessThan(1000)
      outcomes.refused++
    }
  }
  expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(300)
})
