import { MLM_PROBABILITY } from '../../data/collators/masked-lm.ts'
import { SHORT_SEQ_PROB } from '../../data/collators/next-sentence.ts'
import { inLabelOrder, type LabelSet } from '../../data/label-names.ts'
import { checkRereadable } from '../../data/readers/bytes.ts'
import type { NamedBytes } from '../../data/readers/rows.ts'
import { BertTokenizer } from '../../data/tokenizer/tokenizer.ts'
import { ArgumentError, DataError } from '../../errors.ts'
import { fileBytes } from '../../formats/files.ts'
import { kindOf } from '../../json.ts'
import type { BertConfigFields } from '../../model/config.ts'
import { checkOptionNames } from '../../options.ts'
import { RandomStream } from '../../random.ts'
import { slices } from '../../turns.ts'
import { checkGoesOn } from '../slices.ts'
import type { TaskDataset } from '../trainer-options.ts'
import type { Example, StreamedDataset } from '../types.ts'
import { type ExampleSource, streamOf, watching } from './stream.ts'
import type { EncodeSettings, Purpose, ReadSettings, Task, TaskName, TaskOptions, TaskRow } from './task.ts'
import { createTask } from './tasks.ts'

/** Sets the random numbers that make examples apart from other uses of the same seed. */
const EXAMPLES = 0x6578616d

/** Files of more bytes are streamed: they are read again in every epoch and shuffled within a buffer. */
const STREAMED_BYTES = 32 * 2 ** 20
/** What packing text saves, about. */
const PACKED = 4
/** Rows or examples of a stream that are shuffled together. */
const BUFFER = 8192

/** Counts faults by what they are. */
const counting =
  (faults: Map<string, number>) =>
  (what: string): void =>
    void faults.set(what, (faults.get(what) ?? 0) + 1)

export interface DataSettings extends Omit<ReadSettings, 'classNames' | 'onFault'>, TaskOptions {
  /** The labels of a model: those of the data have to be among them. Default: those that the data has. */
  readonly labels?: LabelSet
  /**
   * Names of the labels of a model that is to learn on, `config.labels`: where the data has the same ones they get the model's ids, so
   * that its head keeps what it knows. Default: sorted.
   */
  readonly labelOrder?: readonly string[]
  /** Default: to train. */
  readonly purpose?: 'train' | 'evaluate'
  /** Read the file anew in every epoch instead of holding it. Default: files of more than 32 MiB (packed ones: 8 MiB). */
  readonly streamed?: boolean
  /** Do not count the examples of a stream first; the Trainer then needs maxSteps. */
  readonly uncounted?: boolean
  /** Of examples that are made by chance (next sentence); 42. */
  readonly seed?: number
  readonly signal?: AbortSignal
  /** Called now and then with the rows read, or the examples made, so far. */
  readonly onProgress?: (what: 'reading' | 'tokenizing' | 'counting', done: number, total?: number) => void
}

export interface TokenizeSettings {
  /** In tokens; default: what the tokenizer says, at most 512. */
  readonly maxLength?: number
}

/** A data file of a task: its rows, or how to read them again, and its labels. */
export class TaskData {
  readonly task: Task
  /** Names the data in messages: its file, or the first of several. */
  readonly file: string
  /** Of tasks whose labels have names. */
  readonly labels: LabelSet | undefined
  /** In memory, unless the file is streamed. */
  readonly rows: readonly TaskRow[] | undefined
  /** Rows; undefined where nobody counted them. */
  readonly count: number | undefined
  readonly #faults: ReadonlyMap<string, number>
  /** Those that the last `encode` found. */
  #encodingFaults = new Map<string, number>()
  readonly #sources: readonly DataSource[]
  readonly #settings: DataSettings

  /** @internal Use `readTaskData`. */
  constructor(
    task: Task,
    sources: readonly DataSource[],
    { count, faults, labels, rows }: Pick<TaskData, 'count' | 'faults' | 'labels' | 'rows'>,
    settings: DataSettings,
  ) {
    this.task = task
    this.file = nameOf(sources[0])
    this.#sources = sources
    this.labels = labels
    this.rows = rows
    this.count = count
    this.#faults = faults
    this.#settings = settings
  }

  /**
   * What is wrong with some rows, which could be used or left out all the same, and with how many; after `encode` also what is not
   * in their examples.
   */
  get faults(): ReadonlyMap<string, number> {
    return new Map([...this.#faults, ...this.#encodingFaults])
  }

  /** Fields of the config of a model for this data: `fromPretrained(folder, data.modelFields)`. */
  get modelFields(): Partial<Omit<BertConfigFields, 'dtype'>> {
    return this.task.modelFields(this.labels)
  }

  /** The metric of the task that says which evaluation of such data is best: `metricForBestModel`, without eval_. */
  get bestMetric(): string {
    const { labels, task } = this
    return (labels && task.bestMetricOf?.(labels)) ?? task.bestMetric
  }

  /** @internal At most `count` rows, the first; read for it where they are not in memory. */
  async firstRows(count: number): Promise<readonly TaskRow[]> {
    if (this.rows !== undefined) return this.rows.slice(0, count)
    const found: TaskRow[] = []
    if (count > 0)
      for await (const row of rowsOf(this.task, this.#sources, this.#settings, this.#settings.purpose ?? 'train'))
        if (found.push(row) >= count) break
    return found
  }

  /**
   * Tokenises the data: what a Trainer takes as trainDataset or evalDataset, with the task's collator and metrics. Throws ArgumentError
   * for a `maxLength` that cannot be, DataError where the data has no example.
   */
  async encode(tokenizer: BertTokenizer, options: TokenizeSettings = {}): Promise<TaskDataset> {
    if (!(tokenizer instanceof BertTokenizer))
      throw new ArgumentError(`Expected a BertTokenizer but received ${kindOf(tokenizer)}`)
    const longest = Number.isFinite(tokenizer.modelMaxLength) ? tokenizer.modelMaxLength : 512
    const { maxLength = Math.min(longest, 512) } = options
    if (!Number.isSafeInteger(maxLength) || maxLength < 3)
      throw new ArgumentError(`Expected maxLength to be an integer of at least 3 but received ${maxLength}`)
    const settings = this.#encodeSettings(tokenizer, maxLength)
    const collator = this.task.collator?.(settings)
    const rest = { settings: this.#describe(maxLength), ...(collator && { collator }) }
    const isMadeAnew = this.task.madeByChance && settings.purpose === 'train'
    if (this.rows === undefined || isMadeAnew) return { data: await this.#stream(settings), ...rest }
    const faults = new Map<string, number>()
    const data = await this.#tokenize(this.rows, { ...settings, onFault: counting(faults) })
    this.#encodingFaults = faults
    if (data.length === 0) throw new DataError('expected at least one example, but its rows have no tokens', this.file)
    return { data, ...rest, evaluation: () => this.task.evaluation(data, settings) }
  }

  /** How examples and batches are made, so that a run is not resumed with others. */
  #describe(maxLength: number): string {
    const { docStride, lineByLine = false, mlmProbability = MLM_PROBABILITY, wholeWordMask = false } = this.#settings
    const { shortSeqProb = SHORT_SEQ_PROB } = this.#settings
    const passages = [docStride, lineByLine, shortSeqProb]
    return JSON.stringify([this.task.name, maxLength, ...passages, mlmProbability, wholeWordMask])
  }

  #encodeSettings(tokenizer: BertTokenizer, maxLength: number, epoch = 0): EncodeSettings {
    const { purpose = 'train', seed = 42 } = this.#settings
    return {
      tokenizer,
      maxLength,
      labels: this.labels,
      file: this.file,
      purpose,
      random: new RandomStream(seed, EXAMPLES, epoch),
    }
  }

  async #tokenize(rows: readonly TaskRow[], settings: EncodeSettings): Promise<Example[]> {
    const { onProgress, signal } = this.#settings
    const examples: Example[] = []
    let taken = 0
    const turn = slices()
    async function* taking(): AsyncGenerator<TaskRow> {
      for (const row of rows) {
        const due = turn()
        if (due) {
          checkGoesOn(signal)
          onProgress?.('tokenizing', taken, rows.length)
          await due
        }
        taken++
        yield row
      }
    }
    for await (const example of this.task.examples(taking(), settings)) examples.push(example)
    return examples
  }

  /** The dataset of data that is read, or made, anew in every epoch; its examples are counted first where that takes a pass. */
  async #stream({ maxLength, purpose, tokenizer }: EncodeSettings): Promise<StreamedDataset> {
    const { count, file, rows: held, task } = this
    const { onProgress, signal, uncounted } = this.#settings
    const source: ExampleSource = {
      file,
      rows: () => (held ? each(held) : rowsOf(task, this.#sources, this.#settings, purpose)),
      examples: (rows, pass) => task.examples(rows, this.#encodeSettings(tokenizer, maxLength, pass)),
      rowsAreExamples: task.rowsAreExamples,
      buffer: held ? Number.POSITIVE_INFINITY : BUFFER,
      signal,
    }
    // of rows that are held, counting costs little more than a first epoch
    if (uncounted && !held) return streamOf(source, undefined)
    if (task.rowsAreExamples) return streamOf(source, count)
    let made = 0
    const watch = (): void => {
      checkGoesOn(signal)
      if (++made % 100 === 0) onProgress?.('counting', made)
    }
    for await (const _ of watching(source.examples(source.rows(), 0), watch));
    if (made === 0) throw new DataError('expected at least one example, but its rows have no tokens', file)
    return streamOf(source, made)
  }
}

async function* each<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items
}

/** A file, or bytes that are read once. */
type DataSource = string | NamedBytes

const nameOf = (source: DataSource): string => (typeof source === 'string' ? source : source.name)

/** The rows of all files, one after another; their documents are told apart. */
async function* rowsOf(
  task: Task,
  sources: readonly DataSource[],
  settings: DataSettings & Pick<ReadSettings, 'onFault'>,
  purpose: Purpose,
): AsyncGenerator<TaskRow> {
  const { labels, problemType } = settings
  // labels that are numbers have none, those of a model its own
  const classNames = task.collectLabels === undefined || problemType === 'regression' ? [] : labels?.names
  let before = 0
  for (const source of sources) {
    let documents = 0
    const place = sources.length > 1 ? { file: nameOf(source) } : {}
    for await (const read of task.rows(source, { ...settings, classNames }, purpose)) {
      const row = Object.assign(read, place)
      if ('document' in row && typeof row.document === 'number') {
        documents = row.document + 1
        yield before === 0 ? row : Object.assign(row, { document: before + row.document })
      } else yield row
    }
    before += documents
  }
}

async function areLarge(files: readonly DataSource[]): Promise<boolean> {
  let bytes = 0
  for (const file of files)
    if (typeof file === 'string') bytes += (await fileBytes(file)) * (file.toLowerCase().endsWith('.gz') ? PACKED : 1)
  return bytes > STREAMED_BYTES
}

const SETTINGS = Object.keys({
  format: true,
  columns: true,
  header: true,
  textColumn: true,
  textPairColumn: true,
  labelColumn: true,
  textLayout: true,
  problemType: true,
  docStride: true,
  maxAnswerLength: true,
  nBestSize: true,
  version2WithNegative: true,
  nullScoreDiffThreshold: true,
  mlmProbability: true,
  wholeWordMask: true,
  lineByLine: true,
  shortSeqProb: true,
  labels: true,
  labelOrder: true,
  purpose: true,
  streamed: true,
  uncounted: true,
  seed: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof DataSettings, true>)

function checkSettings(settings: DataSettings): void {
  checkOptionNames('readTaskData', settings, SETTINGS)
  const { labelOrder } = settings
  if (labelOrder !== undefined && !(Array.isArray(labelOrder) && labelOrder.every((name) => typeof name === 'string')))
    throw new ArgumentError(`Expected labelOrder to be a list of names but received ${kindOf(labelOrder)}`)
}

/**
 * Reads a data file of a task, or several (see the table in the README), as far as they fit in memory, and finds their labels. Throws
 * ArgumentError, DataError (with file and line) or FileError.
 */
export async function readTaskData(
  name: TaskName,
  source: DataSource | readonly string[],
  settings: DataSettings = {},
): Promise<TaskData> {
  checkSettings(settings)
  // labels of a model say what a label is, too
  const task = createTask(name, { ...settings, problemType: settings.problemType ?? settings.labels?.problemType })
  const isOne = typeof source === 'string' || (typeof source === 'object' && source !== null && 'bytes' in source)
  const sources: readonly DataSource[] = isOne ? [source] : source
  if (!isOne && !(Array.isArray(source) && source.every((file) => typeof file === 'string')))
    throw new ArgumentError(`Expected a file name, a list of them, or { bytes, name } but received ${kindOf(source)}`)
  if (sources.length === 0) throw new ArgumentError('Expected at least one data file but received none')
  const { onProgress, purpose = 'train', signal } = settings
  const rereadable = sources.every((each) => typeof each === 'string')
  const streamed = rereadable && (settings.streamed ?? (await areLarge(sources)))
  if (streamed) for (const each of sources) if (typeof each === 'string') await checkRereadable(each)
  const collector = settings.labels === undefined ? task.collectLabels?.() : undefined
  const rows: TaskRow[] | undefined = streamed ? undefined : []
  const faults = new Map<string, number>()
  let count: number | undefined
  // a stream is read once to be counted and for its labels, where anybody wants them
  if (!streamed || collector !== undefined || (task.rowsAreExamples && !settings.uncounted)) {
    count = 0
    let shown = performance.now()
    for await (const row of rowsOf(task, sources, { ...settings, onFault: counting(faults) }, purpose)) {
      collector?.add(row)
      rows?.push(row)
      count++
      if (performance.now() - shown < 100) continue
      shown = performance.now()
      checkGoesOn(signal)
      onProgress?.('reading', count)
    }
  }
  if (count === 0)
    throw new DataError(
      `expected at least one example, but there is none: ${[...faults.keys()].join('; ')}`,
      nameOf(sources[0]),
    )
  const found = collector?.finish(nameOf(sources[0]))
  const labels = settings.labels ?? (found && inLabelOrder(found, settings.labelOrder ?? []))
  return new TaskData(task, sources, { count, faults, labels, rows }, settings)
}
