import { lineBlocksOf } from './lines.ts'

/** One line of a table, or several where a quoted cell of CSV holds line ends. */
export interface TableRecord {
  cells: string[]
  /** Of its first line, 1-based. */
  line: number
}

/** TSV has no quoting: a quote is a character. Empty lines are skipped. */
export async function* tsvRecords(
  bytes: AsyncIterable<Uint8Array>,
  file?: string,
): AsyncGenerator<Iterable<TableRecord>> {
  for await (const { lines, line } of lineBlocksOf(bytes, file)) {
    const records: TableRecord[] = []
    for (const [index, text] of lines.entries()) {
      if (text !== '') records.push({ cells: text.split('\t'), line: line + index })
    }
    yield records
  }
}
