// Files that are no text of UTF-8 where text is expected.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { type RowFormat, readRows } from '../../src/data/readers/rows.ts'
import { listOf, piecesOf, rowReader } from './reading.ts'

const TEXT_FORMATS = ['csv', 'tsv', 'jsonl', 'json', 'conll', 'txt'] as const satisfies RowFormat[]
const { read, refuses } = rowReader(TEXT_FORMATS)

const parquet = await readFile(join(import.meta.dirname, 'fixtures', 'none.parquet'))
const utf16 = (text: string, order: 'LE' | 'BE'): Buffer => {
  const bytes = Buffer.from(text, 'utf16le')
  return order === 'LE' ? bytes : bytes.swap16()
}

describe.each(TEXT_FORMATS)('a file that is read as %s', (format) => {
  it('but is an archive, a workbook or Parquet is called so', async () => {
    const cases = [
      [gzipSync('text,label\na,1\n'), /is a gzip archive, not text; unpack it first .* a name that ends in \.gz$/],
      [Buffer.from('BZh91AY&SY\xec\x1a', 'latin1'), /is an archive \(\.bz2\), not text; unpack it first \(bunzip2\)$/],
      [Buffer.from('\xfd7zXZ\0\0\x04', 'latin1'), /is an archive \(\.xz\), not text; unpack it first \(unxz\)$/],
      [Buffer.from('\x28\xb5\x2f\xfd\x04', 'latin1'), /is an archive \(\.zst\), not text; unpack it first \(unzstd\)$/],
      [Buffer.from('PK\x03\x04\x14\0\x08\0', 'latin1'), /is a zip archive or a workbook \(\.xlsx\), not text; /],
      [parquet, /is Parquet, not text; read it as such \(--file-format parquet\)$/],
    ] as const
    for (const [bytes, message] of cases) await refuses('.csv', bytes, 1, message, { format })
  })

  it.each(['LE', 'BE'] as const)('but is UTF-16%s without a mark is called so', async (order) => {
    const message = new RegExp(`looks like UTF-16 without a byte order mark, .* iconv -f UTF-16${order} -t UTF-8$`)
    await refuses('.csv', utf16('{"text":"a"}\r\nécole,1\n', order), 1, message, { format })
    await refuses('.csv', utf16('É,漢字\n', order), 1, message, { format })
  })
})

describe('an archive', () => {
  it('on standard input can be piped through what unpacks it', async () => {
    const rows = (bytes: Uint8Array) =>
      listOf(readRows({ bytes: piecesOf(bytes, 100), name: 'standard input' }, { format: 'jsonl' }))
    await expect(rows(gzipSync('{"text":"a"}'))).rejects.toThrow(
      'standard input:1: what comes is a gzip archive, not text; pipe it through gunzip (gunzip -c FILE | bertkit ...)',
    )
    await expect(rows(Buffer.from('\xfd7zXZ\0', 'latin1'))).rejects.toThrow(/pipe it through unxz/)
  })

  it.each([
    ['bz2', 'bunzip2'],
    ['xz', 'unxz'],
    ['zst', 'unzstd'],
  ])('called .%s is to be unpacked by %s, whatever its format', async (ending, program) => {
    await refuses(
      `.csv.${ending}`,
      'a',
      undefined,
      new RegExp(`ends in \\.${ending}; unpack it first \\(${program}\\)`),
    )
  })
})

describe('text', () => {
  it('of UTF-16 that begins with other characters is told by its NUL bytes', async () => {
    const hint =
      /:1: the line is not valid UTF-8; it has NUL bytes and looks like UTF-16, .* iconv -f UTF-16LE -t UTF-8$/
    await refuses('.csv', utf16('评论,标签\n很好,1\n', 'LE'), 1, hint)
    await refuses('.csv', Buffer.from('caf\xe9\n', 'latin1'), 1, /not valid UTF-8; .* iconv -f WINDOWS-1252 -t UTF-8$/)
  })

  it('may begin as other files do', async () => {
    expect(await read('.csv', 'PAR1,PK\n1,2\n')).toEqual([[2, { PAR1: '1', PK: '2' }]])
    expect(await read('.csv', 'PAR1\n1\n')).toEqual([[2, { PAR1: '1' }]])
    expect(await read('.csv', 'BZh9\n1\n')).toEqual([[2, { BZh9: '1' }]])
  })

  it('may have NUL characters', async () => {
    expect(await read('.csv', 'a,b\nx\0y,\0\n')).toEqual([[2, { a: 'x\0y', b: '\0' }]])
    for (const text of ['a\0\0\0', '\0\0\0a']) expect(await read('.txt', text)).toEqual([[1, { text, document: 0 }]])
    expect(await read('.txt', 'a\0bc\n')).toEqual([[1, { text: 'a\0bc', document: 0 }]])
  })
})
