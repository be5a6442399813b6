import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { linesOf } from '../../src/data/readers/lines.ts'
import { type ReadOptions, readRows } from '../../src/data/readers/rows.ts'
import { ArgumentError, DataError, FileError } from '../../src/errors.ts'

const reference = process.env.BERTKIT_REFERENCE_DIR
const needsReference = reference ? '' : ' (skipped: BERTKIT_REFERENCE_DIR is not set)'

let folder: string
let count = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bertkit-readers-'))
})
async function put(extension: string, content: string | Uint8Array): Promise<string> {
  const file = join(folder, `${count++}${extension}`)
  await writeFile(file, content)
  return file
}
const rowsOf = async (file: string, options?: ReadOptions) => {
  const rows: [number, Record<string, unknown>][] = []
  for await (const { fields, line } of readRows(file, options)) rows.push([line, { ...fields }])
  return rows
}
const read = async (extension: string, content: string | Uint8Array, options?: ReadOptions) =>
  rowsOf(await put(extension, content), options)
async function refuses(
  extension: string,
  content: string | Uint8Array,
  line: number | undefined,
  message: RegExp,
  options?: ReadOptions,
) {
  const file = await put(extension, content)
  const error: unknown = await rowsOf(file, options).catch((reason) => reason)
  expect(error).toBeInstanceOf(DataError)
  expect(error).toMatchObject({ file, line })
  expect(String(error)).toContain(line === undefined ? `${file}: ` : `${file}:${line}: `)
  expect(String(error)).toMatch(message)
  expect(String(error).length).toBeLessThan(1000)
}
async function listOf<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}
async function* piecesOf(text: string | Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

describe('linesOf', () => {
  const text = '\ufefffirst\r\n\nthird é漢😀\n\ufeff\rlast'
  it.each([1, 2, 3, 5, 7, 1000])('cuts at line ends whatever the chunks (%d bytes)', async (size) => {
    const lines = await listOf(linesOf(piecesOf(text, size)))
    expect(lines).toEqual(['first', '', 'third é漢😀', '\ufeff\rlast'])
  })

  it('gives no line of nothing, and none after the last line feed', async () => {
    expect(await listOf(linesOf(piecesOf('', 1)))).toEqual([])
    expect(await listOf(linesOf(piecesOf('\ufeff', 1)))).toEqual([''])
    expect(await listOf(linesOf(piecesOf('a\n', 1)))).toEqual(['a'])
    expect(await listOf(linesOf(piecesOf('\n\n', 2)))).toEqual(['', ''])
  })

  it('names the line that is not UTF-8', async () => {
    for (const size of [1, 4, 100]) {
      const bytes = Buffer.concat([Buffer.from('é\nb\n'), Buffer.of(0x63, 0xc3), Buffer.from('\nd\n')])
      const error = await listOf(linesOf(piecesOf(bytes, size), 'x.txt')).catch((reason) => reason)
      expect(error).toBeInstanceOf(DataError)
      expect(error).toMatchObject({ file: 'x.txt', line: 3 })
      expect(String(error)).toMatch(/x\.txt:3: the line is not valid UTF-8; .* iconv -f WINDOWS-1252 -t UTF-8/)
    }
    await expect(listOf(linesOf(piecesOf(Buffer.of(0x61, 0xf0, 0x9f), 1)))).rejects.toThrow(DataError)
  })

  it('knows UTF-16 by its mark', async () => {
    const little = Buffer.from('\ufefftext,label\nä,b\n', 'utf16le')
    for (const bytes of [little, Buffer.from(little).swap16()]) {
      const error = await listOf(linesOf(piecesOf(bytes, 5), 'x.csv')).catch((reason) => reason)
      expect(error).toBeInstanceOf(DataError)
      expect(String(error)).toMatch(/x\.csv:1: the file is UTF-16, not UTF-8; .* iconv -f UTF-16 -t UTF-8/)
      for (const extension of ['.csv', '.jsonl', '.json']) await refuses(extension, bytes, 1, /the file is UTF-16/)
    }
  })

  it('refuses a line without an end', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.alloc(2 ** 22, 'a')
    }
    await expect(listOf(linesOf(endless(), 'x'))).rejects.toThrow(/x:1: the line has more than 67108864 bytes/)
  })
})

describe('csv', () => {
  it('follows RFC 4180 and counts lines through quoted cells', async () => {
    const text = '\ufefftext,label\r\n"a ""b"", c",1\r\n"two\r\nlines\rhere\n",2\r\n\r\n"",3\n,4\nlast,5'
    expect(await read('.csv', text)).toEqual([
      [2, { text: 'a "b", c', label: '1' }],
      [3, { text: 'two\r\nlines\rhere\n', label: '2' }],
      [7, { text: '', label: '3' }],
      [8, { text: '', label: '4' }],
      [9, { text: 'last', label: '5' }],
    ])
  })

  it('names the line of what is wrong', async () => {
    await refuses('.csv', 'a,b\n"x\n\n",1\r\n2\n', 5, /expected 2 columns, but found 1$/)
    await refuses('.csv', 'a,b\n1,2,3\n', 2, /expected 2 columns, but found 3; is a separator within a cell\?/)
    await refuses('.csv', 'a,b\n"x\r\n",2\n"c"d,4\n', 4, /text follows the quote that closes a cell/)
    await refuses('.csv', 'a,b\n1,2\n3,"c""d"e\n', 3, /text follows the quote that closes a cell/)
    await refuses('.csv', 'a,b\n1, "x,y"\n', 2, /expected 2 columns, but found 3; is a separator within a cell\?/)
    await refuses('.csv', 'a,b\n1,2\n"c,4\nx\ny\n', 3, /a quote is opened in the row that begins here/)
    await refuses('.csv', 'a\tb\n1\t2\n', 1, /expected a header line with "a", "b", but found "a\\tb"/, {
      required: ['a', 'b'],
    })
    for (const header of ['a\tb', 'a;b'])
      await refuses('.csv', `${header}\n1\n`, 1, /columns are separated by commas in csv and by tabs in tsv/, {
        required: ['a', 'b'],
      })
    await refuses('.csv', 'x\ty\n', 1, /hold tabs: is it TSV/, { columns: ['a', 'b'], header: false })
    await refuses('.csv', Buffer.of(0x61, 0x0a, 0xff), 2, /not valid UTF-8/)
  })

  it('takes a quote within a cell as it is', async () => {
    expect(
      await read('.csv', 'text,label\n5" disk,1\n "x",a""\r\nb",2\n', { header: true, columns: ['text'] }),
    ).toEqual([
      [2, { text: '5" disk' }],
      [3, { text: ' "x"' }],
      [4, { text: 'b"' }],
    ])
    expect(await read('.csv', 'a"b,"c"\n1,"2 ""\n"\n')).toEqual([[2, { 'a"b': '1', c: '2 "\n' }]])
  })

  it('keeps characters of several bytes whole wherever they lie', async () => {
    const texts = Array.from({ length: 9 }, (_, i) => `${'x'.repeat(i)}${'😀é漢'.repeat(20_000)}`)
    const rows = await read('.csv', `text\n${texts.join('\n')}\n`)
    expect(rows.map(([, { text }]) => text)).toEqual(texts)
  })

  it('ignores empty cells beyond the header', async () => {
    expect(await read('.csv', 'a,b\n1,2,,\n')).toEqual([[2, { a: '1', b: '2' }]])
  })
})

describe('tsv', () => {
  it('has no quoting', async () => {
    const text = '\ufeffa\tb\r\n"x\t1\r\n\r\ny "z"\t"2"\n'
    expect(await read('.tsv', text)).toEqual([
      [2, { a: '"x', b: '1' }],
      [4, { a: 'y "z"', b: '"2"' }],
    ])
  })

  it('names the line of what is wrong', async () => {
    await refuses('.tsv', 'a\tb\n1\t2\n3\n', 3, /expected 2 columns, but found 1/)
    await refuses('.tsv', 'a\tb\n1\t2\t3\n', 2, /expected 2 columns, but found 3; is a separator within a cell\?$/)
    const unquoted = 'cells of tsv are not quoted, a quote is a character like any other \\(csv has quotes\\)$'
    await refuses('.tsv', 'a\tb\n"two\nlines"\t1\n', 2, new RegExp(`expected 2 columns, but found 1; ${unquoted}`))
    await refuses('.tsv', 'a\tb\n"x\ty"\t1\n', 2, new RegExp(`expected 2 columns, but found 3; ${unquoted}`))
    await refuses('.tsv', 'a\ta\n1\t2\n', 1, /the header has "a" twice/, { required: ['a'] })
    await refuses('.tsv', 'a,b\n1,2\n', 1, /found "a,b"; .* commas in csv and by tabs in tsv/, { required: ['a'] })
    await refuses('.tsv', 'x\n1\n', 1, /if this line is a row$/, { required: ['a'] })
  })
})

describe('jsonl', () => {
  it('reads objects of any JSON', async () => {
    const text = '{"text":"a\\n","label":[1,"b"],"more":{"x":null}}\n\n  \r\n{"text":"\\ud83d\\ude00","label":2}'
    expect(await read('.jsonl', text)).toEqual([
      [1, { text: 'a\n', label: [1, 'b'], more: { x: null } }],
      [4, { text: '😀', label: 2 }],
    ])
  })

  it('names the line of what is wrong', async () => {
    await refuses('.jsonl', '{"a":1}\n{"a":\n', 2, /not valid JSON/)
    await refuses('.jsonl', '{"a":1}\n\n[1]\n', 3, /expected an object, but found a list/)
    await refuses('.jsonl', 'null\n', 1, /expected an object, but found null/)
    await refuses('.jsonl', `{"a":${'['.repeat(1e5)}`, 1, /nested 100001 deep/)
  })

  it('tells a file that is no JSON lines by its first line', async () => {
    const hint = /; it looks like a \.json file, not one object a line \(--file-format json\)$/
    const rows = [{ a: 1 }, { a: 2 }]
    const list = JSON.stringify(rows)
    for (const text of [JSON.stringify(rows, null, 2), JSON.stringify(rows[0], null, 1), list, `[{"a":1},\n{"a":2}]`])
      await refuses('.jsonl', `\n${text}\n`, 2, hint)
    expect((await read('.jsonl', list, { format: 'json' })).length).toBe(2)
    for (const text of ['{"a":\n', '{"a":1}}\n']) await refuses('.jsonl', text, 1, /not valid JSON[^;]*$/)
    for (const text of ['{"a":1}\n{\n', '{"a":1}\n[1]\n'])
      await refuses('.jsonl', text, 2, /(?:not valid JSON|a list)[^;]*$/)
  })

  it('cannot reach prototypes', async () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    const file = await put('.jsonl', '{"__proto__":{"text":"x"},"constructor":1}\n')
    const [{ fields }] = await listOf(readRows(file))
    expect([fields.text, fields.toString, Object.keys(fields)]).toEqual([
      undefined,
      undefined,
      ['__proto__', 'constructor'],
    ])
    const table = await listOf(readRows(await put('.csv', '__proto__,constructor\n1,2\n')))
    expect(Object.entries(table[0].fields)).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
    ])
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })
})

describe('a file of one long line', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  /** The bytes that searches of one byte looked at while `work` ran. */
  async function searched(work: () => Promise<unknown>): Promise<number> {
    let total = 0
    for (const prototype of [Uint8Array.prototype, Buffer.prototype]) {
      const { indexOf } = prototype
      vi.spyOn(prototype, 'indexOf').mockImplementation(function (this: Uint8Array, ...args: unknown[]) {
        const found: number = Reflect.apply(indexOf, this, args)
        total += (found < 0 ? this.length : found + 1) - Number(args[1] ?? 0)
        return found
      })
    }
    await work()
    vi.restoreAllMocks()
    return total
  }

  it.each([
    ['.csv', (count: number) => `text,label\n"${'a ""b"" c '.repeat(count)}",1\n`],
    [
      '.json',
      (count: number) =>
        JSON.stringify(Array.from({ length: count }, (_, i) => ({ text: 'some text', label: String(i % 2) }))),
    ],
  ] as const)('of %s is searched no more often than one of many lines', async (extension, content) => {
    const text = content(2000)
    const file = await put(extension, text)
    const bytes = await searched(async () => {
      for await (const _ of readRows(file));
    })
    expect(bytes).toBeLessThan(8 * text.length)
  })
})

describe('columns', () => {
  it('are named from the left, skipping some and ignoring the rest', async () => {
    const columns = ['_', 'label', '_', 'text']
    const expected = [
      [1, { label: 'b', text: 'd' }],
      [2, { label: '2', text: '4' }],
    ]
    expect(await read('.tsv', 'a\tb\tc\td\te\tf\n1\t2\t3\t4\t5\t6\n', { columns, header: false })).toEqual(expected)
    expect(await read('.csv', 'a,b,c,d,e\n1,2,3,4,5,,\n', { columns, header: true })).toEqual(expected.slice(1))
  })

  it('belong to rows of as many cells as the first line has: a text with a comma in it would be cut', async () => {
    const options = { columns: ['label', 'text'], header: false }
    const message = /expected 2 columns, but found 3; is a separator within a cell\? \(.*--columns ends with ,_\)/
    await refuses('.csv', '1,plain\n1,Hello there, dear world\n', 2, message, options)
    await refuses('.csv', 'a,b\n1,Hello there, dear world\n', 2, message, { ...options, header: true })
    await refuses(
      '.csv',
      '1,Hello there, dear world\n1,plain\n',
      2,
      /expected 3 columns, but found 2; the first line has more: is/,
      options,
    )
    // a last _ beyond the first line stands for what only some rows have
    const some = { columns: ['label', 'text', '_'], header: false }
    const both = [
      [1, { label: '1', text: 'plain' }],
      [2, { label: '0', text: 'other' }],
    ]
    expect(await read('.csv', '1,plain\n0,other,licence,url\n', some)).toEqual(both)
    // no text has a tab
    expect(await read('.tsv', '1\tplain\n0\tother\tlicence\turl\n', options)).toEqual(both)
    expect(await read('.tsv', '1\tplain\tlicence\turl\n0\tother\n', options)).toEqual(both)
    await refuses('.tsv', '1\tplain\n0\n', 2, /expected 2 columns, but found 1/, options)
    // the header that R writes has no name for the numbers of the rows
    const numbered = { columns: ['_', 'text', 'label'], header: true }
    expect(await read('.csv', 'text,label\n1,plain,x\n', numbered)).toEqual([[2, { text: 'plain', label: 'x' }]])
  })

  it('must be clear', async () => {
    const file = await put('.csv', 'a,b\n1,2\n')
    const fails = (options: ReadOptions, message: RegExp) =>
      Promise.all([
        expect(rowsOf(file, options)).rejects.toThrow(ArgumentError),
        expect(rowsOf(file, options)).rejects.toThrow(message),
      ])
    await fails({ columns: ['a', 'b'] }, /columns needs header: false .* \(--no-header\)/)
    await fails({ header: false }, /needs the names of its columns \(--columns\)/)
    await fails({ columns: ['a', 'a'], header: false }, /"a" is named twice/)
    await fails({ columns: ['a', '_'], header: false, required: ['label', 'a'] }, /expected "label" among them/)
    await refuses('.csv', 'a,b\n1\n', 2, /expected 3 columns, but found 1/, { columns: ['x', 'y', 'z'], header: true })
  })

  it('mean nothing to what has fields of its own, which may be read beside a table', async () => {
    expect(await rowsOf(await put('.jsonl', '{"text":"a"}\n'), { columns: ['x', 'y'], header: false })).toEqual([
      [1, { text: 'a' }],
    ])
  })

  it('that are missing are listed with those that are there', async () => {
    const message = /expected a header line with "text", but found "sentence", "label".*--text-column/
    await refuses('.tsv', 'sentence\tlabel\n', 1, message, { required: ['text', 'label'] })
  })
})

describe('a folder', () => {
  it.each(['', '.csv', '.jsonl', '.parquet', '.txt', '.conll', '.csv.gz'])(
    'called folder%s is no file',
    async (ending) => {
      const path = join(folder, `folder${count++}${ending}`)
      await mkdir(path)
      const error: unknown = await rowsOf(path).catch((reason) => reason)
      expect(error).toBeInstanceOf(FileError)
      expect(error).toMatchObject({ errno: 'EISDIR', message: `Cannot read ${path}: it is a folder, not a file` })
    },
  )
})

describe('files', () => {
  it.each(['.csv', '.tsv', '.jsonl', '.txt'])('without a row are refused: %s', async (extension) => {
    const format = extension === '.txt' ? 'csv' : undefined
    await refuses(extension, '', undefined, /expected at least one row, but the file has none/, { format })
    await refuses(`${extension}.gz`, gzipSync(''), undefined, /at least one row/, { format })
    await refuses(`${extension}.gz`, '', undefined, /at least one row|not a whole gzip file/, { format })
    if (extension !== '.jsonl') await refuses(extension, 'a,b\n\n', undefined, /at least one row/, { format })
  })

  it('may be packed', async () => {
    const row = [[2, { a: '1', b: 'é' }]]
    expect(await read('.csv.gz', gzipSync('a,b\n1,é\n'))).toEqual(row)
    expect(await read('.TSV.GZ', gzipSync('a\tb\n1\té\n'))).toEqual(row)
    expect(await read('.jsonl.gz', gzipSync('{"a":1}'))).toEqual([[1, { a: 1 }]])
    const members = Buffer.concat([gzipSync('a,b\n'), gzipSync('1,é\n')])
    expect(await read('.csv.gz', members)).toEqual(row)
  })

  it('that are truncated or no archive are refused', async () => {
    const packed = gzipSync(`a,b\n${'1,2\n'.repeat(10_000)}`)
    await refuses('.csv.gz', packed.subarray(0, packed.length - 9), undefined, /not a whole gzip file/)
    await refuses('.csv.gz', packed.subarray(0, 30), undefined, /not a whole gzip file/)
    await refuses('.csv.gz', 'a,b\n1,2\n', undefined, /not a whole gzip file \(incorrect header check\)/)
    const damaged = Uint8Array.from(packed)
    damaged[packed.length - 6] ^= 1
    await refuses('.csv.gz', damaged, undefined, /not a whole gzip file/)
  })

  it('need a known format', async () => {
    const message =
      /expected a \.csv, \.tsv, \.jsonl, \.json or \.parquet file .* the name ends in \.txt; .*--file-format/
    await refuses('.txt', 'x', undefined, message)
    await refuses('', 'x', undefined, /the name ends in no extension/)
    await refuses('.conllu', 'x', undefined, /the name ends in \.conllu;/)
    expect(await read('.txt', 'a\n1\n', { format: 'tsv' })).toEqual([[2, { a: '1' }]])
    expect(await read('.ndjson.gz', gzipSync('{"a":1}\n'))).toEqual([[1, { a: 1 }]])
  })

  it('that cannot be read are FileErrors', async () => {
    for (const name of ['absent.csv', 'absent.csv.gz']) {
      const error: unknown = await rowsOf(join(folder, name)).catch((reason) => reason)
      expect(error).toBeInstanceOf(FileError)
      expect(String(error)).toContain(join(folder, name))
    }
    await expect(rowsOf(folder, { format: 'csv' })).rejects.toThrow(FileError)
  })

  it('may be streams', async () => {
    const source = { bytes: piecesOf('a\tb\n1\t2\n3\n', 3), name: 'standard input' }
    await expect(listOf(readRows(source, { format: 'tsv' }))).rejects.toThrow(/^standard input:3: expected 2/)
  })

  it('can be left after some rows', async () => {
    const file = await put('.csv.gz', gzipSync(`a,b\n${'1,2\n'.repeat(200_000)}`))
    for await (const { line } of readRows(file)) if (line === 3) break
  })
})

describe(`real data${needsReference}`, () => {
  const data = join(reference ?? '', 'data')
  const read = (name: string, options?: ReadOptions) => listOf(readRows(join(data, name), options))

  it.skipIf(!reference)('banking77 has its rows and lines', async () => {
    const rows = await read('banking77/train.csv', { required: ['text', 'category'] })
    expect(rows.length).toBe(10_003)
    expect(rows.some(({ fields }) => String(fields.text).includes('\n'))).toBe(true)
    // Lines of the file by an independent count: each row takes one and those within its cells, after the header.
    let line = 2
    for (const { fields, line: found } of rows) {
      expect(found).toBe(line)
      line += 1 + String(fields.text).split('\n').length - 1
    }
    expect((await read('banking77/test.csv')).length).toBe(3080)
  })

  it.skipIf(!reference)('sst2, mrpc, stsb, goemotions, rte and cola have their rows', async () => {
    expect((await read('sst2/train.tsv.gz', { required: ['sentence', 'label'] })).length).toBe(67_349)
    expect((await read('sst2/dev_first436.tsv')).length).toBe(436)
    const mrpc = await read('mrpc/msr_paraphrase_train.txt', { format: 'tsv', required: ['Quality', '#2 String'] })
    expect([mrpc.length, mrpc.filter(({ fields }) => fields.Quality === '1').length]).toEqual([4076, 2753])
    const columns = ['_', '_', '_', '_', 'label', 'text', 'text_pair', '_']
    expect((await read('stsb/sts-train.csv', { format: 'tsv', columns, header: false })).length).toBe(5749)
    const emotions = { columns: ['text', 'label', '_'], header: false }
    expect((await read('goemotions/train.tsv.gz', emotions)).length).toBe(43_410)
    expect((await read('rte/train.tsv')).length).toBe(2490)
    expect((await read('cola/dev.tsv', { columns: ['_', 'label', '_', 'text'], header: false })).length).toBe(1043)
    expect((await read('xcopa_zh/val.zh.jsonl')).length).toBe(100)
    expect((await read('hf_tests_samples/MRPC/dev.csv')).length).toBe(6)
  })
})
