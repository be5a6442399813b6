// What may be a mistake though it can be done: what a warning says, or undefined where there is nothing to say.
import { SEVERAL_LABELS } from '../data/classification.ts'
import { beginsAsList } from '../data/literals.ts'
import type { BertTokenizer } from '../data/tokenizer/tokenizer.ts'
import { quote } from '../json.ts'
import type { BertConfig } from '../model/config.ts'
import { isGenerated } from '../model/labels.ts'
import { haveSpans } from '../train/metrics/spans.ts'
import type { TaskModel } from '../train/tasks/task.ts'
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
