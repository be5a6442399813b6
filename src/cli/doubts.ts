// What may be a mistake though it can be done: what a warning says, or undefined where there is nothing to say.
import { SEVERAL_LABELS } from '../data/classification.ts'
import { beginsAsList } from '../data/literals.ts'
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { quote } from '../json.ts'
import type { BertConfig } from '../model/config.ts'
import { isGenerated } from '../model/labels.ts'
import { haveSpans } from '../train/metrics/spans.ts'
import type { TaskModel, TaskRow } from '../train/tasks/task.ts'
import type { TaskData } from '../train/tasks/task-data.ts'
import { grouped } from './io.ts'
import type { DataOptions } from './options.ts'

/** Whether a label is what others write where there is none: SNLI, PyTorch's losses, the Hub's datasets (but not in -1, 0, 1). */
const isNone = (name: string, names: readonly string[]): boolean =>
  name === '-' ||
  name === '-100' ||
  (name === '-1' && !names.includes('-2') && names.some((other) => !/^(?:-1|0|1)$/.test(other)))

/** What may be a mistake in a file of training data. */
export function* dataDoubts(
  data: Pick<TaskData, 'count' | 'file' | 'labels' | 'task'>,
  options: DataOptions,
): Generator<string> {
  const { count = 0, file, labels, task } = data
  const { names = [] } = labels ?? {}
  if (labels?.problemType === 'regression') return
  if (task.name === 'sequence-classification' && labels?.problemType === 'single_label_classification') {
    if (names.some(beginsAsList))
      yield `${file}: labels such as ${quote(names.find(beginsAsList), 40)} begin like a list and are taken for one name each; ${SEVERAL_LABELS}`
    else if (count > 20 && names.length > count / 2)
      yield `${file}: ${grouped(names.length)} different labels in ${grouped(count)} rows; is --label-column the right one?`
    else if (names.some((name) => /^-?\d*\.\d+$/.test(name)))
      yield `${file}: labels are numbers with decimals and taken for names; --problem-type regression takes them for numbers`
  }
  if (task.name === 'token-classification' && !haveSpans(names))
    yield `${file}: no tag begins with B-, I-, E- or S- as in BIO, BIOES and BMES: f1, precision and recall, which are of spans, mean nothing; by default the best evaluation is that of the best accuracy`
  yield* labelDoubts(file, names, options)
}

/** Labels that are none. */
function* labelDoubts(
  file: string,
  names: readonly string[],
  { columns, fileFormat, header, labelColumn }: DataOptions,
): Generator<string> {
  const unlabelled = names.find((name) => isNone(name, names))
  if (unlabelled !== undefined)
    yield `${file}: the label ${quote(unlabelled)} is learnt as a class; where it says that a row has none, leave those rows out`
  const isTsv = fileFormat === 'tsv' || (fileFormat === undefined && /\.tsv(?:\.gz)?$/i.test(file))
  const quoted = isTsv ? names.find((name) => /^".*"$/.test(name)) : undefined
  if (quoted !== undefined)
    yield `${file}: the label ${quoted} has quotes, which mean nothing in TSV; write a CSV file, or TSV without quotes`
  const column = labelColumn ?? 'label'
  if (columns !== undefined && header === false && names.includes(column))
    yield `${file}: ${quote(column)}, the name of a column, is learnt as a label; is the first line a header, which --header leaves out?`
}

const listed = (names: readonly string[]): string => {
  const shown = names.slice(0, 5).map((name) => quote(name, 30))
  return names.length > 5 ? `${shown.join(', ')}, ... (${names.length} in all)` : shown.join(', ')
}

/** What becomes of the head of a model whose labels, `had`, are not those of the data; undefined where there is nothing to say. */
export function headDoubt(
  { loadReport }: Pick<TaskModel, 'loadReport'>,
  had: readonly string[] | undefined,
  { file, labels }: Pick<TaskData, 'file' | 'labels'>,
  nameOrFolder: string | undefined,
): string | undefined {
  if (had === undefined || nameOrFolder === undefined || isGenerated(had)) return undefined
  if (labels === undefined || labels.problemType === 'regression') return undefined
  const isHead = (name: string): boolean => name.startsWith('classifier.')
  // else they have been put into its order
  const isSame = had.join('\n') === labels.names.join('\n')
  if (loadReport === undefined || isSame || loadReport.missing.some(isHead)) return undefined
  const fate = loadReport.mismatched.some(({ name }) => isHead(name))
    ? 'its head is made anew'
    : 'its head begins with weights that were learnt for other labels'
  return `${nameOrFolder} has the labels ${listed(had)}, but ${file} ${listed(labels.names)}: ${fate}`
}

/** Tables of embeddings are often as long as the next multiple of this. */
const ROUNDED = 128

/** Whether a tokenizer and a model may not belong together; undefined where there is nothing to say. */
export function vocabularyDoubt(
  { vocabSize: tokens }: Pick<BertTokenizer, 'vocabSize'>,
  { vocabSize }: Pick<BertConfig, 'vocabSize'>,
  name = 'the model',
): string | undefined {
  if (tokens <= vocabSize && vocabSize - tokens < ROUNDED) return undefined
  return `${name}: its tokenizer has ${tokens} tokens, but the vocab_size of its config is ${vocabSize}; do they belong together?`
}

/** How much is looked through for words that the vocabulary lacks: examples, and characters of a field and of all. It takes 20 ms. */
export const UNKNOWN_ROWS = 300
const FIELD_CHARACTERS = 200
const ALL_CHARACTERS = 10_000
/** The share of words that may be unknown: of languages, names and typing errors. */
const UNKNOWN_SHARE = 0.1

type UnknownTokenizer = Pick<
  BertTokenizer,
  'continuingSubwordPrefix' | 'convertTokensToIds' | 'doLowerCase' | 'encode' | 'stripAccents' | 'unkTokenId'
>

/** The words in the fields of a row, whatever the task calls them; labels are none. */
function* textsIn(row: TaskRow): Generator<string> {
  for (const [name, value] of Object.entries(row)) {
    if (/^(?:id|label|columns|tags|file|answers)$/.test(name)) continue
    for (const text of Array.isArray(value) ? value : [value])
      if (typeof text === 'string') yield text.slice(0, FIELD_CHARACTERS)
  }
}

/** Whether a word has a letter that is a token (those who learn vocabularies put all letters in), but another one without its accents. */
function losesLetters(word: string, tokenizer: UnknownTokenizer): boolean {
  const isOther = (letter: string): boolean => letter.normalize('NFD').replace(/\p{Mn}/gu, '') !== letter
  const isToken = (letter: string): boolean =>
    tokenizer
      .convertTokensToIds([letter, tokenizer.continuingSubwordPrefix + letter])
      .some((id) => id !== tokenizer.unkTokenId)
  return Array.from(word).some((letter) => isOther(letter) && isToken(letter))
}

/** Whether a vocabulary lacks many words of the training data, `rows`; undefined where there is nothing to say. */
export function unknownDoubt(
  tokenizer: UnknownTokenizer,
  rows: readonly TaskRow[],
  name = 'the model',
): string | undefined {
  let [characters, examples, words] = [0, 0, 0]
  const unknown: string[] = []
  for (const row of rows) {
    if (characters > ALL_CHARACTERS) break
    examples++
    for (const text of textsIn(row)) {
      const settings = { addSpecialTokens: false, truncation: false, returnOffsets: true }
      const { inputIds, offsets = [], wordIds } = tokenizer.encode(text, settings)
      for (const [i, id] of inputIds.entries()) {
        if (i === 0 || wordIds[i] !== wordIds[i - 1]) words++
        if (id === tokenizer.unkTokenId) unknown.push(text.slice(...offsets[i]))
      }
      characters += text.length
    }
  }
  if (unknown.length <= words * UNKNOWN_SHARE) return undefined
  const stripped = tokenizer.stripAccents ? unknown.find((word) => losesLetters(word, tokenizer)) : undefined
  const [cause, cure] = tokenizer.doLowerCase
    ? ['lower-casing strips accents too', '"do_lower_case": false, or "strip_accents": false,']
    : ['strip_accents is set', '"strip_accents": false']
  const why =
    stripped === undefined
      ? ''
      : `; ${cause}, by which Hangul and vowel signs of Indic scripts are lost: ${cure} in a tokenizer_config.json beside the vocabulary keeps them`
  const share = Math.round((100 * unknown.length) / words)
  return `${name}: ${share} % of the words in the first ${grouped(examples)} examples are not in its vocabulary and become [UNK], such as ${quote(stripped ?? unknown[0], 30)}${why}`
}

/** Of a vocabulary that is cased, more than this share of the tokens has upper case. */
const CASED_SHARE = 0.05

/** Whether texts are put into lower case for a vocabulary that was made for both. */
export function casingDoubt(
  tokenizer: Pick<BertTokenizer, 'doLowerCase' | 'getVocab'>,
  name = 'the model',
): string | undefined {
  if (!tokenizer.doLowerCase) return undefined
  const tokens = [...tokenizer.getVocab().keys()]
  const unused = tokens.filter((token) => /^(?!\[.*\]$).*\p{Lu}/u.test(token)).length
  if (unused < tokens.length * CASED_SHARE) return undefined
  return `${name}: ${grouped(unused)} of its ${grouped(tokens.length)} tokens have upper case, but texts are put into lower case; a tokenizer_config.json with "do_lower_case": false beside the vocabulary keeps it`
}
