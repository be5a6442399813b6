import { DataError } from '../../errors.ts'
import { quote } from '../../json.ts'
import { conlluColumns, isBesideWords, isConllu, isSurelyConllu } from './conllu.ts'
import { type LineBlock, lineBlocksOf } from './lines.ts'
import { checkColumns, type Row, SKIPPED } from './table.ts'

// A file without blank lines would otherwise gather in memory.
const MAX_TOKENS = 2 ** 20

/** White space of ASCII only: a no-break or an ideographic space may be a token. */
const BLANK = /^[ \t\v\f\r]*$/
/** Of CoNLL-2003, and of OntoNotes: "#begin document (bn/abc/0001); part 000", "#end document". */
const DOCUMENT_BORDER = /^(?:-DOCSTART-|#(?:begin|end) document)(?:[ \t\v\f\r]|$)/
/** A comment, or a line of the token "#" or "##". "#tag" and "##ing" are tokens. */
const MARKED = /^#+[ \t]/
/** The first cell of a comment with a tab in it: no token begins so. */
const COMMENT_CELL = /^#+ +[^ ]/

export interface ConllOptions {
  /** Whether every line has to have a tag; of lines without `columns`. */
  tagged: boolean
  /** Names from the left, as those of a table. */
  columns?: readonly string[]
  /** Those of `columns` that have to be there, and of which no cell may be empty. */
  required?: readonly string[]
  /** The file is CoNLL-U, whose `columns` are given; its first line tells too. */
  universal?: boolean
}

/**
 * CoNLL: a line for each token, and a blank line after each sentence. Columns are separated by tabs where the line has one, else by
 * spaces. A row is a sentence: with `columns` a list for each name; else the first column is the token and the last its tag, {tokens,
 * tags}, or {tokens} without `tagged`, when a line may have one column. A line with too few columns is a DataError; so is one with more
 * than the first line has, where the last is taken, and a first column of numbers that count the words of each sentence.
 *
 * The borders of documents are skipped, and so are comments: the lines at the start of a sentence that begin with "# " (or "## "), where
 * one of them has other columns than the tokens have, or words beside its "#" before a tab. If all are as tokens are, they are tokens. Of
 * CoNLL-U all lines that begin with "#" are comments, lines that are no words are skipped, and without `columns` its tags are UPOS.
 */
export async function* conllRows(
  bytes: AsyncIterable<Uint8Array>,
  options: ConllOptions,
  file?: string,
): AsyncGenerator<Iterable<Row>> {
  const reader = new SentenceReader(options, file)
  for await (const block of lineBlocksOf(bytes, file)) yield reader.rowsOf(block)
  yield reader.rest()
  reader.end()
}

/** So many sentences whose first column counts 1, 2, 3, ... are no chance. */
const COUNTED_SENTENCES = 3

interface Line {
  text: string
  line: number
  columns: Columns
}

class SentenceReader {
  readonly #file: string | undefined
  readonly #tagged: boolean
  /** Of each column, where they have names. */
  #names: readonly string[] | undefined
  #required: readonly string[]
  /** The lists of the sentence by their names, and how long they are. */
  #lists = new Map<string, string[]>()
  #length = 0
  #first = 0
  /** The first lines of a sentence, of which it is not known yet whether they are comments. */
  #marked: Line[] = []
  /** How the lines of all tokens so far are laid out. */
  readonly #layouts = new Set<number>()
  /** How many columns the first line of a token has. */
  #widest: { count: number; line: number } | undefined
  /** Whether the file is CoNLL-U; undefined until its first line tells. */
  #universal: boolean | undefined
  /** Sentences so far in all of which the first column counts the words; undefined where there is one in which it does not. */
  #counted: { sentences: number; line: number } | undefined = { sentences: 0, line: 1 }

  constructor({ columns, required = [], tagged, universal = false }: ConllOptions, file: string | undefined) {
    this.#file = file
    this.#tagged = tagged
    if (columns !== undefined) checkColumns(columns, required)
    this.#names = columns
    this.#required = required
    // a first column that is said to be the token is no id
    const mayHaveIds = columns === undefined || !required.includes(columns[0])
    this.#universal = mayHaveIds && (universal || undefined)
  }

  *rowsOf({ lines, line }: LineBlock): Generator<Row> {
    for (const [index, text] of lines.entries()) {
      if (BLANK.test(text) || DOCUMENT_BORDER.test(text)) yield* this.rest()
      else if (!(this.#universal && text.startsWith('#')))
        this.#take({ text, line: line + index, columns: columnsOf(text) })
    }
  }

  /** The sentence that has not ended yet. */
  *rest(): Generator<Row> {
    // Where nothing but marked lines is in a sentence, the others say what a token looks like, if they agree; where there are none before
    // it, its own first line does.
    const [layout = this.#marked.length > 0 ? layoutOf(this.#marked[0].columns) : undefined, ...others] = this.#layouts
    this.#settle(others.length === 0 ? layout : undefined)
    if (this.#length === 0) return
    if (this.#names === undefined) this.#checkCounting()
    const fields = Object.assign(Object.create(null), Object.fromEntries(this.#lists))
    const row: Row = { fields, line: this.#first }
    this.#lists = new Map()
    this.#length = 0
    yield row
  }

  /** To be called after the last sentence. */
  end(): void {
    if (this.#counted !== undefined && this.#counted.sentences > 0) throw this.#countingError(this.#counted.line)
  }

  #take(given: Line): void {
    if (this.#length === 0 && MARKED.test(given.text)) {
      this.#checkRoom(this.#marked.length, this.#marked.at(0)?.line, given.line)
      this.#marked.push(given)
      return
    }
    const { cells, tabbed } = given.columns
    if (this.#marked.length > 0) this.#settle(layoutOf(given.columns))
    this.#universal ??= tabbed && (this.#names === undefined ? isSurelyConllu(cells) : isConllu(cells))
    if (this.#universal && this.#names === undefined) {
      this.#required = this.#tagged ? ['tokens', 'tags'] : ['tokens']
      this.#names = conlluColumns(this.#required)
    }
    if (!this.#universal || !isBesideWords(cells[0])) this.#add(given)
  }

  /** Of the marked lines those that are tokens are added; `layout` is what tokens have, where that is known. */
  #settle(layout: number | undefined): void {
    const marked = this.#marked
    this.#marked = []
    const isComment = ({ columns }: Line): boolean =>
      layoutOf(columns) !== layout || COMMENT_CELL.test(columns.cells[0])
    const last = layout === undefined ? -1 : marked.findLastIndex(isComment)
    // A comment may have as many words as there are columns by chance, but not as many tabs: those after it are tokens.
    const areTokens = last < 0 || (layout !== undefined && isTabbed(layout))
    if (areTokens) for (const each of marked.slice(last + 1)) this.#add(each)
  }

  #add({ columns, line, text }: Line): void {
    const named = this.#names === undefined ? this.#tokenAndTag(columns, text, line) : this.#cells(columns, line)
    this.#checkRoom(this.#length, this.#first, line)
    if (this.#length === 0) this.#first = line
    this.#length++
    this.#layouts.add(layoutOf(columns))
    for (const [name, cell] of named) {
      const list = this.#lists.get(name)
      if (list === undefined) this.#lists.set(name, [cell])
      else list.push(cell)
    }
  }

  /** Of a sentence without names: throws where the first column of all so far is no token but counts them, as GermEval has it. */
  #checkCounting(): void {
    const counted = this.#counted
    if (counted === undefined || this.#length < 2) return
    const fewest = Math.min(...Array.from(this.#layouts, Math.abs))
    const isCounted = this.#lists.get('tokens')?.every((token, index) => token === String(index + 1))
    // without a column between them, numbers are tokens
    if (!isCounted || fewest < (this.#tagged ? 3 : 2)) {
      this.#counted = undefined
      return
    }
    if (counted.sentences === 0) counted.line = this.#first
    if (++counted.sentences === COUNTED_SENTENCES) throw this.#countingError(counted.line)
  }

  #countingError(line: number): DataError {
    return this.#fault(
      `expected the token in the first column, but in every sentence it counts 1, 2, 3, ...; name the columns from the left, such as --columns _,tokens${this.#tagged ? ',tags, or _,tokens,_,tags' : ''}`,
      line,
    )
  }

  #checkRoom(length: number, first: number | undefined, line: number): void {
    if (length < MAX_TOKENS) return
    throw this.#fault(
      `the sentence that begins in line ${first} has more than ${MAX_TOKENS} tokens; expected a blank line after each sentence`,
      line,
    )
  }

  #tokenAndTag({ cells }: Columns, text: string, line: number): [name: string, cell: string][] {
    if (cells[0] === '') throw this.#fault('expected a token in the first column, but it is empty', line)
    if (!this.#tagged) return [['tokens', cells[0]]]
    if (cells.length < 2) {
      throw this.#fault(`expected a token and its tag, separated by a tab or a space, but found ${quote(text)}`, line)
    }
    // a comment that is taken for a token says nothing of the others
    if (!MARKED.test(text)) this.#widest ??= { count: cells.length, line }
    const { count, line: first } = this.#widest ?? { count: cells.length, line }
    if (cells.length > count) {
      throw this.#fault(
        `expected at most ${count} columns, as line ${first} has, but found ${cells.length}; is a separator within a cell? (--columns says which to use, if there are more)`,
        line,
      )
    }
    return [
      ['tokens', cells[0]],
      ['tags', cells[cells.length - 1]],
    ]
  }

  #cells({ cells }: Columns, line: number): [name: string, cell: string][] {
    const names = this.#names ?? []
    if (cells.length < names.length) {
      throw this.#fault(`expected ${names.length} columns, but found ${cells.length}`, line)
    }
    const empty = names.find((name, i) => cells[i] === '' && this.#required.includes(name))
    if (empty !== undefined)
      throw this.#fault(`expected something in the column ${quote(empty)}, but it is empty`, line)
    return names.flatMap((name, i): [string, string][] => (name === SKIPPED ? [] : [[name, cells[i]]]))
  }

  #fault(reason: string, line: number): DataError {
    return new DataError(reason, this.#file, line)
  }
}

interface Columns {
  cells: string[]
  /** Tabs separate them, not spaces. */
  tabbed: boolean
}

function columnsOf(text: string): Columns {
  const whole = text.replace(/[ \t\v\f\r]+$/, '')
  const tabbed = whole.includes('\t')
  const cells = tabbed ? whole.split('\t') : whole.replace(/^ +/, '').split(/ +/)
  if (cells.length > 1) cells[cells.length - 1] = cells[cells.length - 1].trim()
  return { cells, tabbed }
}

/** What two lines have in common that are laid out alike: how many columns, and what separates them (tabs: a negative number). */
const layoutOf = ({ cells, tabbed }: Columns): number => (tabbed ? -cells.length : cells.length)
const isTabbed = (layout: number): boolean => layout < 0
