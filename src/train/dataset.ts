import { createHash } from 'node:crypto'
import { ArgumentError } from '../errors.ts'
import { kindOf, quote, snakeCase } from '../json.ts'
import { IGNORE_INDEX } from '../labels.ts'
import { elementsOf, isTensor } from '../tensor.ts'
import { slices } from '../turns.ts'
import type { EvaluatedBatch } from './metrics/evaluation.ts'
import type { Example, ModelBatch, StreamedDataset } from './types.ts'

type LabelField = 'labels' | 'nextSentenceLabel' | 'startPositions' | 'endPositions'

/** Inputs of an example, and those of them that are labels. */
const USUAL_FIELDS = [
  'inputIds',
  'tokenTypeIds',
  'labels',
  'nextSentenceLabel',
  'startPositions',
  'endPositions',
] as const
const RARE_FIELDS = ['attentionMask', 'positionIds'] as const
const FIELDS = [...USUAL_FIELDS, ...RARE_FIELDS] as const
const LABEL_FIELDS = ['labels', 'nextSentenceLabel', 'startPositions', 'endPositions'] as const

export const isStreamed = (dataset: readonly Example[] | StreamedDataset): dataset is StreamedDataset =>
  !Array.isArray(dataset)

/** What an example may not have, because no batch would: a mask that is left out in silence makes other results. */
const REFUSED = new Map([
  ...FIELDS.map((field) => [snakeCase(field), field] as const).filter(([name, field]) => name !== field),
  ...['encoderHiddenStates', 'encoderAttentionMask'].map((name) => [name, 'a loop of your own (AdamW)'] as const),
])

/** Examples that are checked between two looks at the clock. */
const EXAMPLES_AT_A_TIME = 256

/** A mask of another kind would be counted before the model looks at it. */
function checkLists(name: string, row: number, example: Example): void {
  const odd = RARE_FIELDS.find((field) => example[field] !== undefined && !Array.isArray(example[field]))
  if (odd !== undefined)
    throw new ArgumentError(`Expected ${name}[${row}].${odd} to be a list but received ${kindOf(example[odd])}`)
}

function refuseUnknownFields(name: string, example: object): void {
  const refused = Object.keys(example).find((field) => REFUSED.has(field))
  if (refused !== undefined)
    throw new ArgumentError(`Expected ${REFUSED.get(refused)} instead of ${refused} but ${name}[0] has it`)
}

/** Checks examples one after another: that each is one, and that all have the fields of the first. */
export class ExampleCheck {
  readonly #name: string
  #row = 0
  #expected: readonly boolean[] = []

  constructor(name: string) {
    this.#name = name
  }

  /** Throws ArgumentError, naming the row, where the next example is none or has other fields than the first. */
  next(example: Example): void {
    const [name, row] = [this.#name, this.#row++]
    const given: unknown = example
    if (typeof given !== 'object' || given === null || !('inputIds' in given) || !Array.isArray(given.inputIds))
      throw new ArgumentError(`Expected ${name}[${row}] to be an example with inputIds but received ${quote(given)}`)
    if (row === 0) {
      refuseUnknownFields(name, example)
      this.#expected = FIELDS.map((field) => example[field] !== undefined)
    }
    checkLists(name, row, example)
    for (let f = 0; f < FIELDS.length; f++) {
      if ((example[FIELDS[f]] !== undefined) === this.#expected[f]) continue
      const [having, lacking] = this.#expected[f] ? [0, row] : [row, 0]
      throw new ArgumentError(
        `Expected every or no example of ${name} to have ${FIELDS[f]} but example ${having} has them and example ${lacking} does not`,
      )
    }
  }
}

/** Checks the examples, and yields after some of them. */
function* checks(name: string, examples: readonly Example[]): Generator<void> {
  if (examples.length === 0) throw new ArgumentError(`Expected ${name} to hold at least one example but it is empty`)
  const check = new ExampleCheck(name)
  for (let row = 0; row < examples.length; row++) {
    check.next(examples[row])
    if (row % EXAMPLES_AT_A_TIME === EXAMPLES_AT_A_TIME - 1) yield
  }
}

/** Throws ArgumentError, naming the row, where the examples do not agree on having labels and token types. */
export function checkExamplesAtOnce(name: string, examples: readonly Example[]): void {
  for (const _ of checks(name, examples));
}

/** As `checkExamplesAtOnce`, giving the event loop its turns. */
export async function checkExamples(name: string, examples: readonly Example[]): Promise<void> {
  const turn = slices()
  for (const _ of checks(name, examples)) await turn()
}

export const hasLabels = (example: Example | undefined): boolean =>
  LABEL_FIELDS.some((field) => example?.[field] !== undefined)

/** Whether the fields of a batch are lists. A collator of somebody's may pad, and make tensors, as models take them. */
const isRagged = (batch: ModelBatch): boolean =>
  Object.values(batch).every((field) => field === undefined || Array.isArray(field) || ArrayBuffer.isView(field))

/** How many examples of a batch have a label that a loss reads: one that is not -100, a place within their tokens. All, of tensors. */
export function countLabelledExamples(batch: ModelBatch): number {
  if (!isRagged(batch)) return rowsOf<unknown>(batch.inputIds).length
  const { endPositions, inputIds, labels, nextSentenceLabel, startPositions } = batch
  const isLabel = (label: number | undefined): boolean => label !== undefined && label !== IGNORE_INDEX
  const isLabelled = (row: number): boolean => {
    const label = labels?.[row]
    const isPlace = (place: number | undefined): boolean => place !== undefined && place < inputIds[row].length
    return (
      (Array.isArray(label) ? label.some(isLabel) : isLabel(label)) ||
      isLabel(nextSentenceLabel?.[row]) ||
      isPlace(startPositions?.[row]) ||
      isPlace(endPositions?.[row])
    )
  }
  return inputIds.reduce((count: number, _, row) => count + (isLabelled(row) ? 1 : 0), 0)
}

/** Examples of which a fingerprint is made: enough to tell other data, few enough to take no time. */
const FINGERPRINT_EXAMPLES = 64

/** A hash of the first examples, where they are in memory, and of how all are made. */
export function fingerprintOf(data: readonly Example[] | StreamedDataset, settings: string): string {
  const first = isStreamed(data) ? [] : data.slice(0, FINGERPRINT_EXAMPLES)
  const fields = first.map((example) => [
    ...USUAL_FIELDS.map((field) => example[field]),
    ...RARE_FIELDS.filter((field) => example[field] !== undefined).map((field) => [field, example[field]]),
  ])
  return createHash('sha256')
    .update(JSON.stringify([settings, fields], (_, value) => (typeof value === 'bigint' ? Number(value) : value)))
    .digest('hex')
    .slice(0, 16)
}

const isVector = (labels: readonly (number | number[])[]): labels is number[][] => Array.isArray(labels[0])

/** The rows of a field, of a padded tensor too. */
function rowsOf<Row>(field: readonly Row[]): readonly (Row | number | number[])[] {
  const given: unknown = field
  if (!isTensor(given)) return Array.from(field)
  const { data, shape } = given
  const width = elementsOf(shape.slice(1))
  return Array.from({ length: shape[0] ?? 0 }, (_, row) =>
    shape.length < 2 ? data[row] : Array.from({ length: width }, (_, i) => data[row * width + i]),
  )
}

/** What the loss of a batch compares with, an entry for each example: its labels, of a question [start, end]. */
export function labelsOfBatch({
  endPositions,
  labels,
  nextSentenceLabel,
  startPositions,
}: Pick<EvaluatedBatch, LabelField>): readonly (number | readonly number[])[] {
  if (labels !== undefined || startPositions === undefined || endPositions === undefined)
    return rowsOf(labels ?? nextSentenceLabel ?? [])
  const [starts, ends] = [rowsOf(startPositions) as number[], rowsOf(endPositions) as number[]]
  return starts.map((start, i) => [start, ends[i]])
}

/** The field `labels` of all examples, or undefined where they have none. */
export function labelsOf(examples: readonly Example[]): number[] | number[][] | undefined {
  if (examples[0]?.labels === undefined) return undefined
  const labels = examples.map((example) => example.labels ?? Number.NaN)
  return isVector(labels) ? labels : (labels as number[])
}

/** Puts examples into one ragged batch, in their order: every field of theirs that is an input of a model. */
export const collate = (examples: readonly Example[]): ModelBatch =>
  Object.fromEntries(
    FIELDS.filter((field) => examples[0]?.[field] !== undefined).map((field) => [
      field,
      examples.map((example) => example[field]),
    ]),
  ) as unknown as ModelBatch

const isChoices = (field: number[] | number[][]): field is number[][] => Array.isArray(field[0])

const countSeen = (mask: ArrayLike<number>): number => Array.prototype.filter.call(mask, (seen) => seen !== 0).length

/** Tokens of an example that no mask hides. */
function tokensOf(inputIds: number[] | number[][], attentionMask: number[] | number[][] | undefined): number {
  const field = attentionMask ?? inputIds
  const count = attentionMask === undefined ? ({ length }: number[]) => length : countSeen
  return isChoices(field) ? field.reduce((sum, choice) => sum + count(choice), 0) : count(field)
}

/** Tokens of each example. */
export function lengthsOf(examples: readonly Example[]): Uint32Array {
  const lengths = new Uint32Array(examples.length)
  for (let i = 0; i < lengths.length; i++) lengths[i] = tokensOf(examples[i].inputIds, examples[i].attentionMask)
  return lengths
}

/** Real tokens of a batch, without those that a mask hides. */
export function countTokens({ attentionMask, inputIds }: ModelBatch): number {
  const [ids, mask]: unknown[] = [inputIds, attentionMask]
  if (isTensor(ids)) return isTensor(mask) ? countSeen(mask.data) : ids.data.length
  return (inputIds as (number[] | number[][])[]).reduce<number>(
    (sum, entry, i) => sum + tokensOf(entry, attentionMask?.[i]),
    0,
  )
}

/** Real tokens of the batches of an update, and whether any example of theirs has a label. */
export const countBatches = (batches: readonly ModelBatch[]): { hasLabel: boolean; tokens: number } => ({
  hasLabel: batches.some((batch) => countLabelledExamples(batch) > 0),
  tokens: batches.reduce((sum, batch) => sum + countTokens(batch), 0),
})

/** Consecutive groups of `size` examples; the last may be shorter. */
export function* groupsOf(examples: readonly Example[], size: number): Generator<readonly Example[]> {
  for (let start = 0; start < examples.length; start += size) yield examples.slice(start, start + size)
}
