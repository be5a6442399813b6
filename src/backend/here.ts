import { pathToFileURL } from 'node:url'

/** Where a module lies, of its import.meta.url. A bundle in CommonJS has none, and lies where it says itself. */
export const here = (url: string | undefined): string => url ?? pathToFileURL(__filename).href
