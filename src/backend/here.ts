import { fileURLToPath, pathToFileURL } from 'node:url'
import { ArgumentError, messageOf } from '../errors.ts'

/** Where a module lies, of its import.meta.url. A bundle in CommonJS has none, and lies where it says itself. */
export const here = (url: string | undefined): string => url ?? pathToFileURL(__filename).href

/** The path of a file: URL. An ArgumentError that says what was `expected` where it has none here, such as that of another machine. */
export function pathOfUrl(url: string | URL, expected: string): string {
  try {
    return fileURLToPath(url)
  } catch (cause) {
    const reason = messageOf(cause)
    throw new ArgumentError(`Expected ${expected} but received ${url}: ${reason}`, { cause })
  }
}
