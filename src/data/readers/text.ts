import { type LineBlock, lineBlocksOf } from './lines.ts'
import type { Row } from './table.ts'

/**
 * Plain text: each line is a row {text, document}. Lines of white space alone are no rows: they stand between documents,
 * which are numbered from 0.
 */
export async function* textRows(bytes: AsyncIterable<Uint8Array>, file?: string): AsyncGenerator<Iterable<Row>> {
  let document = -1
  let within = false
  const rowsOf = function* ({ lines, line }: LineBlock): Generator<Row> {
    for (const [index, text] of lines.entries()) {
      const blank = text.trim() === ''
      if (!blank && !within) document++
      within = !blank
      if (!blank) yield { fields: Object.assign(Object.create(null), { text, document }), line: line + index }
    }
  }
  for await (const block of lineBlocksOf(bytes, file)) yield rowsOf(block)
}
