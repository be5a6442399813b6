// What `bertkit train` puts into report.html.
import os from 'node:os'
import type { ClassificationExample } from '../data/classification.ts'
import type { TokenExample } from '../data/token-classification.ts'
import { joinPath } from '../formats/files.ts'
import type { TrainingArguments } from '../train/argument-rules.ts'
import { isStreamed } from '../train/dataset.ts'
import { type Predictions, predictAll } from '../train/evaluation.ts'
import type { LogRecord } from '../train/events.ts'
import { argmaxRows } from '../train/metrics/classification.ts'
import type { TaskModel } from '../train/tasks/task.ts'
import type { TaskData } from '../train/tasks/task-data.ts'
import type { TaskDataset } from '../train/trainer-options.ts'
import type { Example } from '../train/types.ts'
import { type ReportInput, writeReport } from './report.ts'
import { type CurveRecorder, confusionOf, type WorstExample, worstExamples } from './report-data.ts'
import { version } from './version.ts'

/** More evaluation examples are not looked at one by one. */
const INSPECTED = 20_000
const WORST = 20
const SHOWN_WORDS = 60

type Judged = Pick<ReportInput, 'confusion' | 'worst'>

const textOf = ({ text, textPair }: ClassificationExample): string =>
  textPair === undefined ? text : `${text} — ${textPair}`

function judgeClasses(
  rows: readonly ClassificationExample[],
  examples: readonly Example[],
  { logits }: Predictions,
  names: readonly string[],
): Judged {
  const labels = examples.map((example) => example.labels as number)
  return {
    confusion: confusionOf(argmaxRows(logits), labels, names.length),
    worst: worstExamples(rows.map(textOf), labels, logits.data, names, WORST),
  }
}

/** Numbers that are far off. */
function judgeNumbers(
  rows: readonly ClassificationExample[],
  examples: readonly Example[],
  { logits }: Predictions,
): Judged {
  const width = logits.shape[1]
  const shown = (values: readonly number[]): string => values.map((value) => value.toFixed(2)).join(', ')
  const worst = rows.map((row, i): WorstExample => {
    const label = [examples[i].labels ?? []].flat()
    const predicted = Array.from(logits.data.subarray(i * width, (i + 1) * width))
    const loss = label.reduce((sum, value, k) => sum + (value - predicted[k]) ** 2, 0) / width
    return { text: textOf(row), label: shown(label), predicted: shown(predicted), score: Number.NaN, loss }
  })
  return { worst: worst.sort((a, b) => b.loss - a.loss).slice(0, WORST) }
}

/** Every word with a tag is an example: the word, and the sentence around it. */
function judgeTags(
  rows: readonly TokenExample[],
  examples: readonly Example[],
  { logits }: Predictions,
  names: readonly string[],
): Judged {
  const C = names.length
  const labels: number[] = []
  // of each labelled token: the row of its logits, its sentence, and its place among the sentence's labelled tokens
  const places: { readonly token: number; readonly row: number; readonly word: number }[] = []
  let token = 0
  for (const [row, example] of examples.entries()) {
    let word = 0
    for (const label of [example.labels ?? []].flat()) {
      if (label >= 0) {
        labels.push(label)
        places.push({ token, row, word: word++ })
      }
      token++
    }
  }
  const data = new Float32Array(places.length * C)
  for (const [i, place] of places.entries())
    data.set(logits.data.subarray(place.token * C, (place.token + 1) * C), i * C)
  const worst = worstExamples(
    places.map((_, i) => String(i)),
    labels,
    data,
    names,
    WORST,
  )
  const textOfPlace = (i: number): string => {
    const { row, word } = places[i]
    const { tokens } = rows[row]
    const sentence = tokens.slice(0, SHOWN_WORDS).join(' ')
    // a word that the tokenizer drops has no label, and then words cannot be told by counting
    const counted = [examples[row].labels ?? []].flat().filter((label) => label >= 0).length
    return counted === tokens.length ? `${tokens[word]} — ${sentence}` : sentence
  }
  return {
    confusion: confusionOf(argmaxRows({ data, shape: [places.length, C] }), labels, C),
    worst: worst.map((each) => ({ ...each, text: textOfPlace(Number(each.text)) })),
  }
}

/** Runs the model once more over the evaluation data and looks at single examples, for tasks whose examples can be shown. */
async function judge(
  model: TaskModel,
  { labels, rows, task }: TaskData,
  { data }: TaskDataset,
  settings: { batchSize: number; signal?: AbortSignal },
): Promise<Judged> {
  if (isStreamed(data) || rows === undefined || labels === undefined || data.length > INSPECTED) return {}
  if (rows.length !== data.length) return {}
  const predictions = await predictAll(model, data, settings)
  if (task.name === 'token-classification')
    return judgeTags(rows as readonly TokenExample[], data, predictions, labels.names)
  const texts = rows as readonly ClassificationExample[]
  if (labels.problemType === 'single_label_classification') return judgeClasses(texts, data, predictions, labels.names)
  return labels.problemType === 'regression' ? judgeNumbers(texts, data, predictions) : {}
}

export interface FinishedRun {
  readonly model: TaskModel
  readonly args: TrainingArguments
  readonly options: Readonly<Record<string, unknown>>
  readonly curves: CurveRecorder
  readonly logHistory: readonly LogRecord[]
  readonly metrics: LogRecord
  readonly data: TaskData
  readonly evaluation?: { readonly data: TaskData; readonly encoded: TaskDataset }
  readonly seconds: number
  readonly signal?: AbortSignal
}

/** What was asked for: options of the command, and arguments that are not the defaults. */
const argumentsOf = ({ args, options }: FinishedRun): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries({ ...args, ...options })
      .filter(([, value]) => value !== undefined && value !== null && value !== false)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )

/** Writes report.html into the output folder; returns its name. */
export async function reportRun(run: FinishedRun): Promise<string> {
  const { args, curves, data, evaluation, logHistory, metrics, model, seconds, signal } = run
  const { backend, cpu, isa, threads } = await model.describe()
  const batchSize = args.perDeviceEvalBatchSize
  const judged = evaluation ? await judge(model, evaluation.data, evaluation.encoded, { batchSize, signal }) : {}
  const file = joinPath(args.outputDir, 'report.html')
  await writeReport(file, {
    title: `${data.task.name}: ${data.file.split(/[\\/]/).at(-1)}`,
    task: data.task.name,
    args: argumentsOf(run),
    logHistory,
    steps: curves.points,
    machine: {
      processor: cpu,
      backend: `${backend}, ${isa}, ${threads} threads`,
      system: `${os.platform()} ${os.arch()}`,
      dtype: model.dtype,
      versions: `bertkit ${version()}, Node.js ${process.version}`,
      date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    },
    metrics,
    labels: data.labels?.names,
    ...judged,
    seconds,
  })
  return file
}
