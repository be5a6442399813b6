import type { Program } from '../backend/backend.ts'
import { type Capacity, type DropoutMask, type FloatType, Graph, type Packing, type Value } from '../graph/graph.ts'
import { Row } from '../graph/op-table.ts'
import { compilePlan, type Plan } from '../graph/plan.ts'
import type { Head, HeadOutput } from '../heads/head.ts'
import type { BatchValues, RowSubset } from '../model/batch.ts'
import { recordUpdate, type UpdateRange } from '../ops/optimizer.ts'
import type { RaggedBatch, RowIndices, RowSelection } from './batch.ts'

/** A label input of a plan. */
export interface LabelSettings {
  readonly name: string
  readonly rows: keyof typeof Row
  readonly width: number
  readonly type: 'float32' | 'int32'
}

/** What a recorded step is for. Two requests with the same settings share a plan. */
export interface StepSettings {
  readonly differentiate: boolean
  readonly training: boolean
  /** The caller gives the masks of dropout. */
  readonly givenMasks: boolean
  readonly checkpointing: boolean
  readonly hiddenStates: boolean
  readonly attentions: boolean
  readonly keyMask: boolean
  readonly selection: RowSelection
  /** Losses over tokens read the labelled rows only. */
  readonly compact: boolean
  readonly encoder: 'none' | 'plain' | 'masked'
  readonly choices: boolean
  readonly labels: { readonly kind: string; readonly terms: readonly LabelSettings[] } | undefined
}

/** A step ready to run, and where its inputs and outputs are. */
export interface RecordedStep {
  readonly plan: Plan
  readonly program: Program
  readonly batch: BatchValues
  /** By the name of the label input. */
  readonly labels: Readonly<Record<string, Value>>
  /** In the order of the forward. */
  readonly masks: readonly DropoutMask[]
  readonly outputs: Readonly<Record<string, HeadOutput>>
  readonly loss: Value | undefined
  /** [norm, clip coefficient] of the gradients, where the step updates. */
  readonly norm: Value | undefined
  readonly hiddenStates: readonly Value[]
  readonly attentions: readonly Value[]
  readonly crossAttentions: readonly Value[]
  /** Byte offsets of the parameter gradients that it writes. */
  readonly written: ReadonlySet<number>
}

export const bucket = (count: number, smallest: number): number => {
  let capacity = smallest
  while (capacity < count) capacity *= 2
  return capacity
}

/** The row counts of a run. */
export function countRows(
  batch: RaggedBatch,
  indices: RowIndices,
  { attentions, givenMasks }: Pick<StepSettings, 'attentions' | 'givenMasks'>,
): Capacity {
  const { encoder, cuSeqlens } = batch
  const keyPairs = () => {
    let sum = 0
    for (let b = 0; b < batch.sequences; b++)
      sum += (cuSeqlens[b + 1] - cuSeqlens[b]) * (encoder!.cuKeys[b + 1] - encoder!.cuKeys[b])
    return sum
  }
  const { selection, only, labelledRows } = indices
  const labelled = labelledRows?.length ?? (selection === 'labelled' ? only!.index.length : 0)
  return {
    tokens: batch.tokens,
    sequences: batch.sequences,
    labelled: labelled + (batch.cuChoices ? batch.cuChoices.length - 1 : 0),
    pairs: attentions || givenMasks ? batch.pairs : 0,
    selected: selection === 'selected' ? only!.index.length : 0,
    keys: encoder?.keys ?? 0,
    keyPairs: attentions && encoder ? keyPairs() : 0,
    cached: 0,
    prompts: 0,
  }
}

/** The least of 64, 80, 96, 112 and their products with powers of two. */
function quarters(count: number): number {
  const most = bucket(count, 64)
  return Math.max(64, Math.ceil(count / (most / 8)) * (most / 8))
}

/**
 * The capacity of a plan for these counts: in powers of two, so that ragged batches share a handful of plans. The tokens of a plan with a
 * backward are closer, because most of its memory is for them; the batches of a training are more alike than those of a server.
 */
export function capacityFor(
  counts: Capacity,
  { differentiate, compact, selection, choices, encoder, attentions, givenMasks }: StepSettings,
): Capacity {
  return {
    tokens: differentiate ? quarters(counts.tokens) : bucket(counts.tokens, 64),
    sequences: bucket(counts.sequences, 16),
    labelled: compact || choices ? bucket(counts.labelled, 16) : 0,
    pairs: attentions || givenMasks ? bucket(counts.pairs, 1024) : 0,
    selected: selection === 'selected' ? bucket(counts.selected, 32) : 0,
    keys: encoder === 'none' ? 0 : bucket(counts.keys, 64),
    keyPairs: attentions && encoder !== 'none' ? bucket(counts.keyPairs, 1024) : 0,
    cached: 0,
    prompts: 0,
  }
}

function recordBatch(graph: Graph, settings: StepSettings, hiddenSize: number): BatchValues {
  const integers = (name: string, rows: Row, extra = 0) => graph.input(name, rows, 1, 'int32', extra)
  const { selection, compact, encoder } = settings
  const subset = (rows: Row): RowSubset => ({
    index: integers('rows', rows),
    cuRows: integers('cu_rows', Row.sequences, 1),
  })
  const subsetRows = { first: Row.sequences, labelled: Row.labelled, selected: Row.selected }
  return {
    ids: integers('input_ids', Row.tokens),
    typeIds: integers('token_type_ids', Row.tokens),
    positionIds: integers('position_ids', Row.tokens),
    cuSeqlens: integers('cu_seqlens', Row.sequences, 1),
    keyMask: settings.keyMask ? integers('attention_mask', Row.tokens) : undefined,
    only: selection === 'all' ? undefined : subset(subsetRows[selection]),
    firstTokens: selection === 'all' || selection === 'selected' ? integers('first_tokens', Row.sequences) : undefined,
    labelledRows: compact && selection !== 'labelled' ? integers('labelled_rows', Row.labelled) : undefined,
    encoder:
      encoder === 'none'
        ? undefined
        : {
            states: graph.input('encoder_hidden_states', Row.keys, hiddenSize, graph.dtype),
            cuKeys: integers('cu_keys', Row.sequences, 1),
            keyMask: encoder === 'masked' ? integers('encoder_attention_mask', Row.keys) : undefined,
          },
    cache: undefined,
    cuChoices: settings.choices ? integers('cu_choices', Row.labelled, 1) : undefined,
  }
}

/** The inputs of a recorded step and what a batch fills them with. */
export const rowInputs = (
  inputs: BatchValues,
  batch: RaggedBatch,
  indices: RowIndices,
): readonly (readonly [Value | undefined, Float32Array | Int32Array | undefined])[] => [
  [inputs.ids, batch.ids],
  [inputs.typeIds, batch.typeIds],
  [inputs.positionIds, batch.positionIds],
  [inputs.cuSeqlens, batch.cuSeqlens],
  [inputs.keyMask, batch.keyMask],
  [inputs.cuChoices, batch.cuChoices],
  [inputs.only?.index, indices.only?.index],
  [inputs.only?.cuRows, indices.only?.cuRows],
  [inputs.firstTokens, indices.firstTokens],
  [inputs.labelledRows, indices.labelledRows],
  [inputs.encoder?.states, batch.encoder?.states],
  [inputs.encoder?.cuKeys, batch.encoder?.cuKeys],
  [inputs.encoder?.keyMask, batch.encoder?.keyMask],
]

/** The update at the end of a step: elements of all gradients, the stretches, and how many have scalars of their own. */
export interface StepUpdate {
  readonly gradients: number
  readonly stretches: readonly UpdateRange[]
  readonly groups: number
}

/** What the graph of a step is made from. */
export interface StepRecording {
  readonly head: Head
  readonly capacity: Partial<Capacity>
  readonly settings: StepSettings
  readonly hiddenSize: number
  readonly dtype: FloatType
  readonly packing: Packing | undefined
  readonly recomputing: boolean
}

/** A head's forward, and its backward where `settings` differentiates. */
function recordGraph({ head, capacity, settings, hiddenSize, ...options }: StepRecording) {
  const graph = new Graph(capacity, { ...settings, ...options })
  const batch = recordBatch(graph, settings, hiddenSize)
  const labels = Object.fromEntries(
    settings.labels?.terms.map(({ name, rows, width, type }) => [name, graph.input(name, Row[rows], width, type)]) ??
      [],
  )
  const hiddenStates: Value[] = []
  const attentions: Value[] = []
  const crossAttentions: Value[] = []
  const values = head.record(graph, batch, settings.labels && { kind: settings.labels.kind, values: labels }, {
    hiddenStates: settings.hiddenStates ? hiddenStates : undefined,
    attentions: settings.attentions ? attentions : undefined,
    crossAttentions: settings.attentions ? crossAttentions : undefined,
  })
  if (settings.differentiate) graph.backward()
  else for (const output of Object.values(values.outputs)) graph.keep('column' in output ? output.value : output)
  return { graph, batch, labels, ...values, hiddenStates, attentions, crossAttentions }
}

/** Byte offsets of the gradients that a step writes, whatever its capacity. */
export const writtenGradients = (step: StepRecording): ReadonlySet<number> => recordGraph(step).graph.writtenGradients

/** Records a head's forward, its backward where `settings` differentiates, and the update of what has gradients. */
export function recordStep(step: StepRecording, update?: StepUpdate): Omit<RecordedStep, 'program'> {
  const { graph, loss, ...recorded } = recordGraph(step)
  const norm = update && recordUpdate(graph, update.gradients, update.stretches, loss)
  return {
    ...recorded,
    plan: compilePlan(graph, update?.groups ?? 0),
    masks: [...graph.masks.values()],
    loss,
    norm,
    written: graph.writtenGradients,
  }
}

const MOST_PLANS = 32

/** The least recently used entries go when there are too many. */
export class PlanCache<Entry extends { readonly program: Program }> {
  private readonly entries = new Map<string, Entry>()

  get(key: string, make: () => Entry): Entry {
    const known = this.entries.get(key)
    const entry = known ?? make()
    this.entries.delete(key)
    this.entries.set(key, entry)
    for (const [oldest, { program }] of this.entries) {
      if (this.entries.size <= MOST_PLANS) break
      program.dispose()
      this.entries.delete(oldest)
    }
    return entry
  }

  clear(): void {
    for (const { program } of this.entries.values()) program.dispose()
    this.entries.clear()
  }
}
