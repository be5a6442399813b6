import type { DropoutMask } from '../graph/graph.ts'
import { Row } from '../graph/op-table.ts'
import { slices } from '../turns.ts'
import type { StepBatch } from './runs.ts'

/** A random stream from which a step takes its dropout, instead of bertkit's own. */
export interface MaskSource {
  /** The next mask, of so many elements: not 0 where one is kept, with probability 1 - p. */
  dropout(elements: number, p: number): Promise<Uint8Array>
}

/** What makes an update repeat one of another program. */
export interface Reproduction {
  /** Input is padded then. */
  readonly masks?: MaskSource
  /** What the loss terms of each micro-batch are divided by, from their own denominators; else from the sums of these. */
  readonly denominators?: (own: Denominators) => Denominators
}

type Denominators = readonly (readonly number[])[]

/** What the loss terms of each micro-batch are divided by: the sums over all of them, where no other rule is asked for. */
export function denominatorsOf(own: Denominators, { denominators }: Reproduction): Denominators {
  const sums = own[0].map((_, term) => own.reduce((sum, list) => sum + list[term], 0))
  return denominators?.(own) ?? own.map(() => sums)
}

/**
 * The mask of one dropout for the rows that are there. `source` draws it for every position of the padded batch, as a framework does
 * that computes padding too: [batch, length, width]; of attention, [batch, heads, length, length]; of pooled tokens, [batch, width].
 */
export async function drawMask({ keep, p }: DropoutMask, step: StepBatch, source: MaskSource): Promise<Int32Array> {
  const { batch, indices } = step
  const { sequences, origin, paddedLength: length } = batch
  const { rows, width } = keep
  if (length === undefined) throw new TypeError('Masks are for padded input')
  if (rows === Row.pairs) {
    const mask = await source.dropout(sequences * width * length * length, p)
    return await attentionRows(mask, step, width, length)
  }
  if (rows === Row.sequences) return Int32Array.from(await source.dropout(sequences * width, p))
  const mask = await source.dropout(sequences * length * width, p)
  const positions = rows === Row.labelled ? indices.labelledRows?.map((row) => origin[row]) : origin
  if (!positions) throw new TypeError(`${keep.name} has a mask for rows that are not known`)
  const kept = new Int32Array(positions.length * width)
  const turn = slices()
  for (const [row, position] of positions.entries()) {
    kept.set(mask.subarray(position * width, (position + 1) * width), row * width)
    await turn()
  }
  return kept
}

/** Of [batch, heads, length, length] those queries and keys that are there: of each sequence in turn [heads, L, L]. */
async function attentionRows(
  mask: Uint8Array,
  { batch }: StepBatch,
  heads: number,
  length: number,
): Promise<Int32Array> {
  const { sequences, cuSeqlens, origin, pairs } = batch
  const kept = new Int32Array(pairs * heads)
  const turn = slices()
  let at = 0
  for (let b = 0; b < sequences; b++) {
    const tokens = origin.subarray(cuSeqlens[b], cuSeqlens[b + 1]).map((position) => position - b * length)
    for (let head = 0; head < heads; head++) {
      for (const query of tokens) {
        const row = ((b * heads + head) * length + query) * length
        for (const key of tokens) kept[at++] = mask[row + key]
      }
      await turn()
    }
  }
  return kept
}
