import { fieldOf, hasField, textOf } from './fields.ts'
import { NAMED_FORMATS, type NamedBytes, type ReadOptions, readRows } from './readers/rows.ts'

/** A piece of running text; passages of the same document follow each other in the file. */
export interface Passage {
  text: string
  /** Counted from 0 in the order of the file. */
  document: number
  /** The 1-based line where the passage begins. */
  line: number
}

export interface PassageOptions extends Omit<ReadOptions, 'required'> {
  /** Of formats with named columns. Default: "text". */
  textColumn?: string
}

/**
 * Streams text to learn a language from. Passages and documents of .txt are as `textLayout` says; of other formats
 * each row {text} is a document, but rows that follow each other with the same `document` field are one. A text may be empty there.
 */
export async function* passageRows(
  source: string | NamedBytes,
  { textColumn = 'text', ...options }: PassageOptions = {},
): AsyncGenerator<Passage> {
  const file = typeof source === 'string' ? source : source.name
  let document = -1
  let last: string | undefined
  for await (const row of readRows(source, {
    ...options,
    formats: [...NAMED_FORMATS, 'txt'],
    required: [textColumn],
  })) {
    const name = hasField(row, 'document') ? JSON.stringify(fieldOf(row, 'document', file)) : undefined
    if (name === undefined || name !== last) document++
    last = name
    // the text of a plain file has no other name, whatever that of the other files is
    const isPlain = row.fields[textColumn] === undefined && typeof row.fields.document === 'number'
    yield { text: textOf(row, isPlain ? 'text' : textColumn, file), document, line: row.line }
  }
}
