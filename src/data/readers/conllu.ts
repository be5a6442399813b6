// CoNLL-U, of Universal Dependencies: https://universaldependencies.org/format.html. Ten columns with tabs between them, of which the
// first is the id of the word: 1, 2, 3, ...

/** Their names in lower case, but for FORM, the token, and UPOS, the tag. */
export const CONLLU_COLUMNS: readonly string[] = [
  'id',
  'tokens',
  'lemma',
  'tags',
  'xpos',
  'feats',
  'head',
  'deprel',
  'deps',
  'misc',
]

/** The columns of a file, of which those that nobody reads are skipped. */
export const conlluColumns = (read: readonly string[]): string[] =>
  CONLLU_COLUMNS.map((name) => (read.includes(name) ? name : '_'))

/** The first line of a file: a word, an empty node before the first (0.1), or 1-2. WebAnno counts sentences so: 1-1. */
const FIRST_ID = /^(?:\d+|0\.\d+|1-(?!1$)\d+)$/
/** HEAD, the id of another word; multiword tokens have none. */
const HEAD = /^(?:\d+|_)$/
const OTHER_ID = /^\d+[-.]\d+$/

/** Whether the first line of a file is laid out as those of CoNLL-U are; `cells` are what tabs separate. */
export const isConllu = (cells: readonly string[]): boolean =>
  cells.length === CONLLU_COLUMNS.length && FIRST_ID.test(cells[0])

/** The same where nothing else says that the first column is no token, which may be a number. */
export const isSurelyConllu = (cells: readonly string[]): boolean =>
  isConllu(cells) && HEAD.test(cells[CONLLU_COLUMNS.indexOf('head')])

/** Whether a line is no word: several of them as they are written together (1-2: "du", of "de" and "le"), or an empty node (8.1). */
export const isBesideWords = (id: string): boolean => OTHER_ID.test(id)
