import { ArgumentError } from '../../errors.ts'
import { type LineBlock, lineBlocksOf } from './lines.ts'
import type { Row } from './table.ts'

/**
 * How plain text is laid out. `lines`: each line is a passage, blank lines stand between documents. `paragraphs`: as books have it,
 * a passage goes over several lines and ends at a blank one; two blank lines or more stand between documents (chapters).
 */
export type TextLayout = 'lines' | 'paragraphs'

export const TEXT_LAYOUTS: readonly TextLayout[] = ['lines', 'paragraphs']

/** UTF-16 units after which a paragraph is ended: a file without blank lines would otherwise gather in memory. */
const MAX_PARAGRAPH = 1 << 16

const rowOf = (text: string, document: number, line: number): Row => ({
  fields: Object.assign(Object.create(null), { text, document }),
  line,
})

/** Rows {text, document} of plain text. Lines of white space alone are blank. Documents are numbered from 0. */
export async function* textRows(
  bytes: AsyncIterable<Uint8Array>,
  layout: TextLayout = 'lines',
  file?: string,
): AsyncGenerator<Iterable<Row>> {
  if (!TEXT_LAYOUTS.includes(layout))
    throw new ArgumentError(`Expected textLayout to be ${TEXT_LAYOUTS.join(' or ')} but received ${String(layout)}`)
  const reader = layout === 'lines' ? new LineReader() : new ParagraphReader()
  for await (const block of lineBlocksOf(bytes, file)) yield reader.rowsOf(block)
  yield reader.rest()
}

class LineReader {
  #within = false
  #document = -1;

  *rowsOf({ lines, line }: LineBlock): Generator<Row> {
    for (const [index, text] of lines.entries()) {
      const blank = text.trim() === ''
      if (!blank && !this.#within) this.#document++
      this.#within = !blank
      if (!blank) yield rowOf(text, this.#document, line + index)
    }
  }

  rest(): Row[] {
    return []
  }
}

class ParagraphReader {
  #document = -1
  /** Since the last line of text; a file begins with a document. */
  #blankLines = 2
  #paragraph: string[] = []
  #length = 0
  #firstLine = 0;

  *rowsOf({ lines, line }: LineBlock): Generator<Row> {
    for (const [index, text] of lines.entries()) {
      const words = text.trim()
      if (words === '') {
        yield* this.rest()
        this.#blankLines++
        continue
      }
      if (this.#blankLines >= 2) this.#document++
      this.#blankLines = 0
      if (this.#length + words.length > MAX_PARAGRAPH) yield* this.rest()
      if (this.#paragraph.length === 0) this.#firstLine = line + index
      this.#paragraph.push(words)
      this.#length += words.length + 1
    }
  }

  /** The paragraph that has not ended yet. */
  rest(): Row[] {
    if (this.#paragraph.length === 0) return []
    const row = rowOf(this.#paragraph.join(' '), this.#document, this.#firstLine)
    this.#paragraph = []
    this.#length = 0
    return [row]
  }
}
