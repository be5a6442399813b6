// Files that are no text of UTF-8, told by their first bytes, and what to do about them.
import { DataError } from '../../errors.ts'
import { STANDARD_INPUT } from './bytes.ts'

const convert = (encoding: string): string => `convert it first, e.g. iconv -f ${encoding} -t UTF-8`

/** Whether `bytes` begin with `first`; undefined stands for any byte but NUL. */
const begins = (bytes: Uint8Array, ...first: (number | undefined)[]): boolean =>
  first.every((byte, at) => (byte === undefined ? bytes[at] > 0 : bytes[at] === byte))

/** The order of the bytes of UTF-16, where two characters of Latin-1 begin it. A NUL elsewhere may belong to a text. */
function orderWithoutMark(bytes: Uint8Array): 'LE' | 'BE' | undefined {
  if (begins(bytes, undefined, 0, undefined, 0)) return 'LE'
  return begins(bytes, 0, undefined, 0, undefined) ? 'BE' : undefined
}

/** Archives of one file that bertkit does not unpack: their first bytes, the ending of their names, and the program that unpacks them. */
const ARCHIVES: readonly (readonly [bytes: readonly number[], ending: string, program: string])[] = [
  [[0x42, 0x5a, 0x68], 'bz2', 'bunzip2'],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], 'xz', 'unxz'],
  [[0x28, 0xb5, 0x2f, 0xfd], 'zst', 'unzstd'],
]
/** After "BZh" and a digit; alone they may be the name of a column. */
const BZIP2_BLOCK = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59]

/** What to do about a file whose name ends as those of archives do; undefined where it is none of those. */
export function adviceOnEnding(ending: string): string | undefined {
  const archive = ARCHIVES.find(([, each]) => each === ending)
  if (archive !== undefined) return `unpack it first (${archive[2]}), or pack it as .gz`
  return ending === 'zip' ? 'unpack it first, or pack it as .gz' : undefined
}

const unpacking = (program: string, isPiped: boolean): string =>
  isPiped ? `pipe it through ${program} (${program} -c FILE | bertkit ...)` : `unpack it first (${program})`

/** What a file is by its first bytes; undefined for text. */
function kindOf(bytes: Uint8Array, isPiped: boolean): string | undefined {
  if (begins(bytes, 0x1f, 0x8b))
    return `is a gzip archive, not text; ${unpacking('gunzip', isPiped)}${isPiped ? '' : ', or give it a name that ends in .gz'}`
  const archive = ARCHIVES.find(([first]) => begins(bytes, ...first))
  if (archive !== undefined && (archive[1] !== 'bz2' || begins(bytes.subarray(4), ...BZIP2_BLOCK)))
    return `is an archive (.${archive[1]}), not text; ${unpacking(archive[2], isPiped)}`
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
  const kind = kindOf(bytes, file === STANDARD_INPUT)
  if (kind !== undefined) throw new DataError(`${file === STANDARD_INPUT ? 'what comes' : 'the file'} ${kind}`, file, 1)
}

/** What to do about bytes that are not valid UTF-8. */
export const adviceOnEncoding = (bytes: Uint8Array): string =>
  bytes.includes(0)
    ? `it has NUL bytes and looks like UTF-16, if it is text at all; ${convert('UTF-16LE')}`
    : convert('WINDOWS-1252')
