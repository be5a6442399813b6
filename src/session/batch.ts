import type { LabelTerm, PreparedLabels, ReadRows } from '../heads/head.ts'
import { IGNORE_INDEX } from '../labels.ts'
import type { BertConfig } from '../model/config.ts'
import type { EncoderBatch } from './encoder.ts'
import type { GivenFields } from './inputs.ts'

/** Which rows the last layer computes: every one, or those that the head reads. */
export type RowSelection = 'all' | 'first' | 'labelled' | 'selected'

/** A batch as the kernels take it: the rows of all sequences one after another. */
export interface RaggedBatch {
  readonly tokens: number
  readonly sequences: number
  /** Sum of squared lengths. */
  readonly pairs: number
  readonly ids: Int32Array
  readonly typeIds: Int32Array
  readonly positionIds: Int32Array
  readonly cuSeqlens: Int32Array
  readonly keyMask: Int32Array | undefined
  /** Index of each row among the given tokens. */
  readonly origin: Int32Array
  /** [batch, length] when the rows are those of a padded tensor. */
  readonly padded: readonly [number, number] | undefined
  /** Length of the padded tensor that was given; `origin` counts in it. */
  readonly paddedLength: number | undefined
  readonly cuChoices: Int32Array | undefined
  readonly encoder: EncoderBatch | undefined
}

/**
 * Checks the values of an input against the config and lays its rows side by side. `needed`, where not every row matters: whether the
 * caller reads the row of token t of sequence b; rows that the mask hides and that nobody reads are left out.
 */
export function layRows(
  { ids, types, positions, mask, shape }: GivenFields,
  config: BertConfig,
  encoder: EncoderBatch | undefined,
  needed?: (b: number, t: number) => boolean,
): RaggedBatch {
  const { sequences, starts, padded, cuChoices } = shape
  const given = starts[sequences]
  const visible = (b: number, t: number) => !mask || mask.isShown(b, t)
  const columns = {
    ids: new Int32Array(given),
    typeIds: new Int32Array(given),
    positionIds: new Int32Array(given),
    keyMask: new Int32Array(given),
    origin: new Int32Array(given),
  }
  const cuSeqlens = new Int32Array(sequences + 1)
  let [row, pairs, hidden] = [0, 0, false]
  for (let b = 0; b < sequences; b++) {
    const length = starts[b + 1] - starts[b]
    for (let t = 0; t < length; t++) {
      const seen = visible(b, t)
      // a sequence has at least one row: its last, when all are hidden and none is read
      const keep = seen || !needed || needed(b, t) || (t === length - 1 && row === cuSeqlens[b])
      if (!keep) continue
      hidden ||= !seen
      columns.ids[row] = ids.integer(b, t, config.vocabSize, 'vocab_size')
      if (types) columns.typeIds[row] = types.integer(b, t, config.typeVocabSize, 'type_vocab_size')
      columns.positionIds[row] = positions?.integer(b, t, config.maxPositionEmbeddings, 'max_position_embeddings') ?? t
      columns.keyMask[row] = seen ? 1 : 0
      columns.origin[row] = starts[b] + t
      row++
    }
    cuSeqlens[b + 1] = row
    pairs += (row - cuSeqlens[b]) ** 2
  }
  return {
    tokens: row,
    sequences,
    pairs,
    ids: columns.ids.subarray(0, row),
    typeIds: columns.typeIds.subarray(0, row),
    positionIds: columns.positionIds.subarray(0, row),
    cuSeqlens,
    keyMask: hidden ? columns.keyMask.subarray(0, row) : undefined,
    origin: columns.origin.subarray(0, row),
    padded: row === given ? padded : undefined,
    paddedLength: padded?.[1],
    cuChoices,
    encoder,
  }
}

/** The label of each given token, where the labels have such a term; there is at most one. */
export const tokenTermOf = (labels: PreparedLabels | undefined): LabelTerm | undefined =>
  labels && Object.values(labels.terms).find(({ rows }) => rows === 'tokens')

/** Whether the loss reads the row of token t of sequence b. */
export function readsToken(
  reads: ReadRows,
  labels: PreparedLabels | undefined,
  starts: Int32Array,
): (b: number, t: number) => boolean {
  const tokens = tokenTermOf(labels)?.data
  return (b, t) => !!reads.all || (!!reads.first && t === 0) || (!!tokens && tokens[starts[b] + t] !== IGNORE_INDEX)
}

/** The rows that a step reads, as indices; what a plan does not ask for is not there. */
export interface RowIndices {
  readonly selection: RowSelection
  /** Rows that the last layer computes, and their borders. */
  readonly only?: { readonly index: Int32Array; readonly cuRows: Int32Array }
  /** Among the rows of the last hidden state. */
  readonly firstTokens?: Int32Array
  readonly labelledRows?: Int32Array
  /** A label for each row of `labelledRows`, or for each token. */
  readonly tokenLabels?: Int32Array
}

/**
 * Finds the rows that a loss reads. `selective`: the last layer can compute them alone; `compact`: the rows without a label are not
 * wanted, as in a step that only differentiates.
 */
export function indexRows(
  batch: RaggedBatch,
  reads: ReadRows,
  labels: PreparedLabels | undefined,
  { selective, compact }: { readonly selective: boolean; readonly compact: boolean },
): RowIndices {
  const { sequences, cuSeqlens, tokens, origin } = batch
  const given = tokenTermOf(labels)?.data
  const first = cuSeqlens.slice(0, sequences)
  const labelOf = (row: number): number => given![origin[row]]
  if (!compact || !given) {
    const tokenLabels = given && Int32Array.from({ length: tokens }, (_, row) => labelOf(row))
    if (!selective || !reads.first || reads.labelled || reads.all)
      return { selection: 'all', firstTokens: first, tokenLabels }
    const cuRows = Int32Array.from({ length: sequences + 1 }, (_, b) => b)
    return { selection: 'first', only: { index: first, cuRows } }
  }
  const labelled = Int32Array.from(
    Array.from({ length: tokens }, (_, row) => row).filter((row) => labelOf(row) !== IGNORE_INDEX),
  )
  const tokenLabels = labelled.map(labelOf)
  if (!selective) return { selection: 'all', firstTokens: first, labelledRows: labelled, tokenLabels }
  const chosen = new Uint8Array(tokens)
  for (const row of labelled) chosen[row] = 1
  if (reads.first) for (const row of first) chosen[row] = 1
  const place = new Int32Array(tokens)
  const index: number[] = []
  const cuRows = new Int32Array(sequences + 1)
  for (let b = 0; b < sequences; b++) {
    for (let row = cuSeqlens[b]; row < cuSeqlens[b + 1]; row++) if (chosen[row]) place[row] = index.push(row) - 1
    cuRows[b + 1] = index.length
  }
  const only = { index: Int32Array.from(index), cuRows }
  if (!reads.first) return { selection: 'labelled', only, tokenLabels }
  const placed = (rows: Int32Array) => rows.map((row) => place[row])
  return { selection: 'selected', only, firstTokens: placed(first), labelledRows: placed(labelled), tokenLabels }
}
