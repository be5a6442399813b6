// Parquet where its optional packages are not installed.
import { join } from 'node:path'
import { it, vi } from 'vitest'
import { readRows } from '../../src/data/readers/rows.ts'
import { refuses } from './reading.ts'

vi.mock('node:module', async (original) => {
  const actual = await original<typeof import('node:module')>()
  const resolve = (name: string) => actual.createRequire(import.meta.url).resolve(`${name}-that-is-not-there`)
  return { ...actual, createRequire: () => ({ resolve }) }
})

it('asks for the packages by name', async () => {
  const file = join(import.meta.dirname, 'fixtures', 'none.parquet')
  await refuses(readRows(file), file, undefined, /npm install hyparquet hyparquet-compressors/)
})
