import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { DataError } from '../../errors.ts'
import { streamBytes } from '../../formats/files.ts'

const isGzipped = (file: string): boolean => file.toLowerCase().endsWith('.gz')

/** The part of a file's name that tells its format, in lower case: "tsv" for "Train.TSV.gz", "" where there is none. */
export const extensionOf = (file: string): string =>
  /\.([^./\\]+)$/.exec(file.toLowerCase().replace(/\.gz$/, ''))?.[1] ?? ''

/** Streams a data file, unpacked where its name ends in .gz. A damaged or truncated archive is a DataError. */
export function openData(file: string): AsyncIterable<Uint8Array> {
  return isGzipped(file) ? gunzip(streamBytes(file), file) : streamBytes(file)
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
