import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { guarded } from '../formats/files.ts'

/** A file of the package's assets/, which is equally deep under src/ and dist/. Throws FileError where the package is incomplete. */
export function readAsset(name: string): Promise<Buffer> {
  const file = fileURLToPath(new URL(`../../assets/${name}`, import.meta.url))
  return guarded('read', file, () => readFile(file))
}

export const readTextAsset = async (name: string): Promise<string> => (await readAsset(name)).toString('utf8')
