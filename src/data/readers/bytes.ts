import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { DataError, FileError } from '../../errors.ts'
import { checkFolder, openFile, reasonOf, streamBytes } from '../../formats/files.ts'
import { slices } from '../../turns.ts'

export const isGzipped = (file: string): boolean => file.toLowerCase().endsWith('.gz')

/** The part of a file's name that tells its format, in lower case: "tsv" for "Train.TSV.gz", "" where there is none. */
export const extensionOf = (file: string): string =>
  /\.([^./\\]+)$/.exec(file.toLowerCase().replace(/\.gz$/, ''))?.[1] ?? ''

/** What the bytes that a command reads from there are called. */
export const STANDARD_INPUT = 'standard input'

/** Bytes that are no file on disk, such as standard input; `name` stands for them in errors. */
export interface NamedBytes {
  bytes: AsyncIterable<Uint8Array>
  name: string
}

/** Streams a data file, unpacked where its name ends in .gz. A damaged or truncated archive is a DataError. */
export function openData(file: string): AsyncIterable<Uint8Array> {
  return isGzipped(file) ? gunzip(streamBytes(file), file) : streamBytes(file)
}

/** Throws FileError for a folder: without that, its name would be looked at for a format. */
export async function refuseFolder(file: string): Promise<void> {
  const isFolder = await checkFolder(file).then(
    () => true,
    () => false,
  )
  if (isFolder) throw new FileError(`Cannot read ${file}: ${reasonOf('EISDIR')}`, 'EISDIR')
}

/** Throws FileError or DataError for what cannot be read again and again, as a pipe of which all is gone after the first time. */
export async function checkRereadable(file: string): Promise<void> {
  await refuseFolder(file)
  try {
    await (await openFile(file)).close()
  } catch (error) {
    if (!(error instanceof FileError) || error.errno !== undefined) throw error
    throw new DataError(
      'expected a file on disk, because streamed data (--streaming) is read anew in every epoch, but it is a pipe or a device',
      file,
      undefined,
      { cause: error },
    )
  }
}

async function* gunzip(bytes: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Uint8Array> {
  // The callback has nothing to do: an error destroys the stream and so surfaces from its iterator.
  const unpacked = pipeline(Readable.from(bytes), createGunzip(), () => {})
  try {
    for await (const chunk of unpacked) yield chunk
  } catch (error) {
    const isZlib = error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')
    if (!isZlib) throw error
    throw new DataError(`not a whole gzip file (${error.message})`, file, undefined, { cause: error })
  }
}

/** Formats that cannot be streamed are read whole up to this size, unpacked. */
const MAX_WHOLE_BYTES = 256 * 2 ** 20

/** All bytes of a stream; more than 256 MiB are a DataError that ends in `advice`. */
export async function gather(bytes: AsyncIterable<Uint8Array>, file: string, advice: string): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of bytes) {
    parts.push(part)
    size += part.length
    if (size > MAX_WHOLE_BYTES)
      throw new DataError(`expected at most ${MAX_WHOLE_BYTES} bytes (unpacked); ${advice}`, file)
  }
  // Buffer.concat would hold the event loop for a tenth of a second.
  const turn = slices()
  const whole = Buffer.allocUnsafe(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
    await turn()
  }
  return whole
}
