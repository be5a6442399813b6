// The readers of .json and .txt, and CSV against the package csv-parse.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parse } from 'csv-parse/sync'
import { describe, expect, it } from 'vitest'
import { csvRecords } from '../../src/data/readers/csv.ts'
import { type ReadRowsOptions, type RowFormat, readRows } from '../../src/data/readers/rows.ts'
import { ArgumentError } from '../../src/errors.ts'
import { Random } from '../formats/helpers.ts'
import { listOf, piecesOf, put, refuses as refusesReading, rowReader } from './reading.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

const ALL: readonly RowFormat[] = ['csv', 'tsv', 'jsonl', 'json', 'parquet', 'conll', 'txt']
const { read, refuses } = rowReader(ALL)

describe('json', () => {
  const rows = [
    [1, { a: 'x"]}\\', b: [1, { c: null }] }],
    [2, { a: 'é漢😀', b: {} }],
  ]
  const [first, second] = ['{"a":"x\\"]}\\\\","b":[1,{"c":null}]}', '{"a":"é漢😀","b":{}}']

  it('is an array of objects, an object with one, or objects one after another', async () => {
    expect(await read('.json', `[${first},\n${second}]`)).toEqual(rows)
    expect(await read('.json', `{"version":"2.0","rows":[${first}\n,${second}],"n":-1e3}\n`)).toEqual(rows)
    expect(await read('.json', `\ufeff${first}\r\n${second}\r\n`)).toEqual(rows)
    expect(await read('.json.gz', gzipSync(`[${first},\n${second}]`))).toEqual(rows)
  })

  it('prefers the array named data, and takes an object that is a row itself as one', async () => {
    expect(await read('.json', '{"others":[{"a":1}],"data":[{"a":2}]}')).toEqual([[1, { a: 2 }]])
    const answers = '{"question":"q","answers":[{"text":"x"}]}'
    expect(await read('.json', answers)).toEqual([[1, { text: 'x' }]])
    expect(await read('.json', answers, { required: ['question'] })).toEqual([[1, JSON.parse(answers)]])
    expect(await read('.json', '{"a":[1],"b":[]}')).toEqual([[1, { a: [1], b: [] }]])
  })

  it('gives the line where each object begins', async () => {
    const text = JSON.stringify([{ a: 1 }, { a: [2, 3] }, { a: 4 }], null, 2)
    const lines = text.split('\n').flatMap((line, index) => (line === '  {' ? [index + 1] : []))
    expect((await read('.json', text)).map(([line]) => line)).toEqual(lines)
    expect((await read('.json', `\n{"n":1,\n"data":\n[\n${first}]}`)).map(([line]) => line)).toEqual([5])
  })

  it('names the line of what is wrong', async () => {
    await refuses('.json', '[{"a":1},\n{"a":}]', 2, /not valid JSON/)
    await refuses('.json', '[{"a":1},\n{"a":1]', 2, /not valid JSON/)
    await refuses('.json', '[{"a":1},\n{"a":"x}]', 2, /what begins here is never closed/)
    await refuses('.json', '[{"a":1},\n2]', 2, /expected an object, but found "2"/)
    await refuses('.json', '[{"a":1},\n]', 2, /expected an object, but found "]"/)
    await refuses('.json', '[{"a":1}\n{"a":2}]', 2, /expected "," or "]" after an object, but found "{"/)
    await refuses('.json', '[{"a":1}', 1, /expected "," or "]" after an object, but found the end of the file/)
    await refuses('.json', '[{"a":1}]\n[]', 2, /expected nothing after the array/)
    await refuses('.json', '{"a":1}\n[]', 2, /expected an object, but found "\["/)
    await refuses('.json', '"text"', 1, /expected an object, but found "\\""/)
    await refuses('.json', '{"v":tru,"data":[{"a":1}]}', 1, /not valid JSON/)
    await refuses('.json', '{"v" 1,"data":[{"a":1}]}', 1, /expected ":" after a name, but found "1"/)
    await refuses('.json', '{"data":[{"a":1}],\n}', 2, /expected a name in quotes, but found "}"/)
    await refuses('.json', '{"a":[{}],"b":[{}]}', 1, /expected one array of objects, .* but found "a", "b"/)
    await refuses('.json', `[{"a":${'['.repeat(40)}${']'.repeat(40)}}]`, 1, /nested 41 deep/)
    await refuses('.json', Buffer.from('[{"a":1},\n{"a":"\xff"}]', 'latin1'), 2, /not valid UTF-8/)
    await refuses('.json', '[{"a":1},\n“b”]', 2, /expected an object, but found "“"/)
    for (const empty of ['', ' \n', '[]', '{"data":[]}', '\ufeff']) {
      await refuses('.json', empty, undefined, /at least one row/)
    }
  })

  it('refuses more than it reads whole, before it has it', async () => {
    let given = 0
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; ; given++) yield Buffer.alloc(2 ** 24, ' ')
    }
    const source = { bytes: endless(), name: 'x' }
    await refusesReading(readRows(source, { format: 'json' }), 'x', undefined, /at most 268435456 bytes.*\.jsonl/)
    expect(given).toBe(16)
  })

  it('finds the records that JSON.parse finds', async () => {
    const random = new Random(8)
    const value = (depth: number): unknown => {
      const kind = random.below(depth > 3 ? 4 : 6)
      if (kind === 4) return Array.from({ length: random.below(4) }, () => value(depth + 1))
      if (kind === 5) return object(depth)
      return [null, random.next() * 1e6, ['', '\\', '"', '\\"', '[{,:', '漢\n'][random.below(6)], true][kind]
    }
    const object = (depth: number): object =>
      Object.fromEntries(Array.from({ length: random.below(4) }, (_, i) => [`${i}"]}`, value(depth + 1)]))
    for (let round = 0; round < 300; round++) {
      const data = Array.from({ length: 1 + random.below(5) }, () => object(0))
      const indent = random.below(3)
      const text = [
        JSON.stringify(data, null, indent),
        JSON.stringify({ data, x: 'y' }, null, indent),
        data.map((each) => JSON.stringify(each, null, indent)).join(random.pick(['', ' ', '\n'])),
      ][data.length > 1 ? random.below(3) : random.below(2)]
      const source = { bytes: piecesOf(text, 1 + random.below(50)), name: 'x' }
      expect((await listOf(readRows(source, { format: 'json' }))).map(({ fields }) => ({ ...fields }))).toEqual(data)
    }
  })
})

describe('txt', () => {
  it('has a passage on each line, and blank lines between documents', async () => {
    expect(await read('.txt', '\ufeff\n one \r\ntwo\n\n\t\n\u3000\nthree')).toEqual([
      [2, { text: ' one ', document: 0 }],
      [3, { text: 'two', document: 0 }],
      [7, { text: 'three', document: 1 }],
    ])
    await refuses('.txt', ' \n\n', undefined, /at least one row/)
    await refuses('.txt', Buffer.of(0x61, 0x0a, 0xc3), 2, /not valid UTF-8/)
  })

  it('has paragraphs of several lines, and two blank lines or more between documents', async () => {
    const book = 'CHAPTER I\r\n\nIt was the\n  best of times,\nit was\n\n"No," he said.\n\n \n\nCHAPTER II\nhe rose'
    const options: ReadRowsOptions = { textLayout: 'paragraphs' }
    expect(await read('.txt', `\n${book}`, options)).toEqual([
      [2, { text: 'CHAPTER I', document: 0 }],
      [4, { text: 'It was the best of times, it was', document: 0 }],
      [8, { text: '"No," he said.', document: 0 }],
      [12, { text: 'CHAPTER II he rose', document: 1 }],
    ])
  })

  it('ends a paragraph that goes on for ever', async () => {
    const rows = await read('.txt', `${'word '.repeat(200)}\n`.repeat(200), { textLayout: 'paragraphs' })
    const texts = rows.map(([, fields]) => (fields as { text: string }).text)
    expect(rows.length).toBe(4)
    expect(Math.max(...texts.map(({ length }) => length))).toBeLessThanOrEqual(2 ** 16)
    expect(texts.join(' ').split(' ').length).toBe(40_000)
  })

  it('refuses another layout', async () => {
    const options = { textLayout: 'pages' } as unknown as ReadRowsOptions
    await expect(read('.txt', 'a', options)).rejects.toThrow(/lines or paragraphs but received pages/)
  })
})

describe('formats', () => {
  it('are those of the task', async () => {
    const file = await put('.conll', 'a O\n')
    await refusesReading(readRows(file), file, undefined, /expected a \.csv, .* but the name ends in \.conll/)
    await expect(listOf(readRows(file, { format: 'conll' }))).rejects.toThrow(ArgumentError)
    await expect(listOf(readRows(file, { format: 'csv', formats: ['conll', 'txt'] }))).rejects.toThrow(
      /Expected the format of .* to be conll or txt but received csv/,
    )
  })
})

describe('csv', () => {
  it('reads what csv-parse reads', async () => {
    const random = new Random(9)
    const parts = ['a', ',', ',', '\n', '\r\n', '"x"', '"', '""', '"a""b"', '"\n"', '\r', '漢', ' ']
    const outcomes = { read: 0, refused: 0 }
    for (let round = 0; round < 4000; round++) {
      const text = Array.from({ length: random.below(12) }, () => random.pick(parts)).join('')
      const expected = (relax_quotes: boolean): string[][] | undefined => {
        const options = { record_delimiter: ['\r\n', '\n'], relax_column_count: true, skip_empty_lines: true }
        try {
          return parse(text, { ...options, relax_quotes })
        } catch {
          return undefined
        }
      }
      const found: string[][] = []
      try {
        for await (const records of csvRecords(piecesOf(text, 1 + random.below(6))))
          for (const { cells } of records) found.push(cells)
      } catch {
        expect(expected(false), JSON.stringify(text)).toBe(undefined)
        outcomes.refused++
        continue
      }
      // it takes quotes within cells as they are where it is told to, as it does with what follows a closing one
      expect(found, JSON.stringify(text)).toEqual(expected(true))
      outcomes.read++
    }
    expect(Math.min(outcomes.read, outcomes.refused)).toBeGreaterThan(500)
  })
})

describe(`real data${needsReference}`, () => {
  const data = join(reference ?? '', 'data')
  const conll = (name: string) => listOf(readRows(join(data, name), { format: 'conll', formats: ALL }))

  it.skipIf(!reference)('the sentences and tokens of wnut17, resume_ner_zh and GermEval', async () => {
    const counts = async (name: string) => {
      const rows = await conll(name)
      return [rows.length, rows.reduce((sum, { fields }) => sum + (fields.tokens as string[]).length, 0)]
    }
    expect(await counts('wnut17/wnut17train.conll')).toEqual([3394, 62_730])
    expect(await counts('wnut17/emerging.dev.conll')).toEqual([1009, 15_733])
    expect(await counts('wnut17/emerging.test.annotated')).toEqual([1287, 23_394])
    expect(await counts('resume_ner_zh/train.char.bmes')).toEqual([3821, 124_099])
    expect(await counts('resume_ner_zh/dev.char.bmes')).toEqual([463, 13_890])
    const tags = new Set((await conll('hf_tests_samples/GermEval/train.txt')).flatMap(({ fields }) => fields.tags))
    const labels = (await readFile(join(data, 'hf_tests_samples/GermEval/labels.txt'), 'utf8')).trim().split('\n')
    expect(labels).toEqual(expect.arrayContaining([...tags]))
  })

  it.skipIf(!reference)('the objects of the samples of Transformers', async () => {
    const rows = (name: string) => listOf(readRows(join(data, 'hf_tests_samples', name)))
    expect((await rows('SQUAD/sample.json')).map(({ fields }) => typeof fields.context)).toContain('string')
    const text = await readFile(join(data, 'hf_tests_samples/swag/sample.json'), 'utf8')
    const objects = JSON.parse(`[${text.replaceAll(/\}\s*\{/g, '},{')}]`)
    expect((await rows('swag/sample.json')).map(({ fields }) => ({ ...fields }))).toEqual(objects)
    expect((await rows('conll/sample.json')).length).toBeGreaterThan(5)
  })
})
