// What the tests of readers share.
import { mkdtempSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type ReadRowsOptions, type Row, type RowFormat, readRows } from '../../src/data/readers/rows.ts'
import { DataError } from '../../src/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'bertkit-readers-'))
let count = 0

/** Writes a file of its own; gives its path. */
export async function put(extension: string, content: string | Uint8Array): Promise<string> {
  const file = join(folder, `${count++}${extension}`)
  await writeFile(file, content)
  return file
}

export async function listOf<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

export async function* piecesOf(text: string | Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** Expects a DataError of `file` that names its line and says no more of the file than it needs to. */
export async function refuses(
  reading: AsyncIterable<unknown>,
  file: string,
  line: number | undefined,
  message: RegExp,
): Promise<void> {
  const error: unknown = await listOf(reading).catch((reason) => reason)
  expect(error).toBeInstanceOf(DataError)
  expect(error).toMatchObject({ file, line })
  expect(String(error)).toContain(line === undefined ? `${file}: ` : `${file}:${line}: `)
  expect(String(error)).toMatch(message)
  expect(String(error).length).toBeLessThan(1000)
}

/** The text of a .jsonl file. */
export const jsonl = (...rows: object[]): string => rows.map((row) => JSON.stringify(row)).join('\n')

/** `read` and `refuses` of one task's reader. */
export function reader<Options, Item = object>(rows: (file: string, options?: Options) => AsyncIterable<Item>) {
  return {
    read: async (extension: string, content: string | Uint8Array, options?: Options) =>
      listOf(rows(await put(extension, content), options)),
    refuses: async (
      extension: string,
      content: string | Uint8Array,
      line: number | undefined,
      message: RegExp,
      options?: Options,
    ) => {
      const file = await put(extension, content)
      await refuses(rows(file, options), file, line, message)
    },
  }
}

async function* linesAndFields(rows: AsyncIterable<Row>): AsyncGenerator<[line: number, fields: Row['fields']]> {
  for await (const { fields, line } of rows) yield [line, { ...fields }]
}

/** `read` and `refuses` of any file of `formats`; a row is its line and its fields. */
export const rowReader = (formats?: readonly RowFormat[]) =>
  reader<ReadRowsOptions, [line: number, fields: Row['fields']]>((file, options) =>
    linesAndFields(readRows(file, { formats, ...options })),
  )
