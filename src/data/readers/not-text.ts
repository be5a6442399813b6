// Files that are no text of UTF-8, told by their first bytes, and what to do about them.
import { DataError } from '../../errors.ts'

const convert = (encoding: string): string => `convert it first, e.g. iconv -f ${encoding} -t UTF-8`

/** Whether `bytes` begin with `first`; undefined stands for any byte but NUL. */
const begins = (bytes: Uint8Array, ...first: (number | undefined)[]): boolean =>
  first.every((byte, at) => (byte === undefined ? bytes[at] > 0 : bytes[at] === byte))

/** The order of the bytes of UTF-16, where two characters of Latin-1 begin it. A NUL elsewhere may belong to a text. */
function orderWithoutMark(bytes: Uint8Array): 'LE' | 'BE' | undefined {
  if (begins(bytes, undefined, 0, undefined, 0)) return 'LE'
  return begins(bytes, 0, undefined, 0, undefined) ? 'BE' : undefined
}

/** What a file is by its first bytes; undefined for text. */
function kindOf(bytes: Uint8Array): string | undefined {
  if (begins(bytes, 0x1f, 0x8b))
    return 'is a gzip archive, not text; unpack it first (gunzip), or give it a name that ends in .gz'
  if (begins(bytes, 0x50, 0x4b, 0x03, 0x04))
    return 'is a zip archive or a workbook (.xlsx), not text; unpack it first, or save its sheet as .csv'
  // "PAR1" alone may be the name of a column; in Parquet a field of Thrift follows, an integer
  if (begins(bytes, 0x50, 0x41, 0x52, 0x31, 0x15))
    return 'is Parquet, not text; read it as such (--file-format parquet)'
  if (begins(bytes, 0xff, 0xfe) || begins(bytes, 0xfe, 0xff)) return `is UTF-16, not UTF-8; ${convert('UTF-16')}`
  const order = orderWithoutMark(bytes)
  return order && `looks like UTF-16 without a byte order mark, not UTF-8; ${convert(`UTF-16${order}`)}`
}

/** Throws a DataError for the first bytes of a file that is no text of UTF-8. */
export function refuseNotText(bytes: Uint8Array, file: string | undefined): void {
  const kind = kindOf(bytes)
  if (kind !== undefined) throw new DataError(`the file ${kind}`, file, 1)
}

/** What to do about bytes that are not valid UTF-8. */
export const adviceOnEncoding = (bytes: Uint8Array): string =>
  bytes.includes(0)
    ? `it has NUL bytes and looks like UTF-16, if it is text at all; ${convert('UTF-16LE')}`
    : convert('WINDOWS-1252')
