import type { Program } from '../backend/backend.ts'
import { type Capacity, Graph, type Value } from '../graph/graph.ts'
import { Row } from '../graph/op-table.ts'
import { compilePlan, type Plan } from '../graph/plan.ts'
import type { Head } from '../heads/head.ts'
import type { BatchValues } from '../model/bert.ts'
import type { RaggedBatch } from './batch.ts'

/** What a recorded step is for. Two requests with the same settings share a plan. */
export interface StepSettings {
  readonly differentiate: boolean
  readonly training: boolean
  readonly hiddenStates: boolean
  readonly attentions: boolean
  readonly keyMask: boolean
  readonly labels: { readonly kind: string; readonly width: number; readonly integer: boolean } | undefined
}

/** A step ready to run, and where its inputs and outputs are. */
export interface RecordedStep {
  readonly plan: Plan
  readonly program: Program
  readonly batch: BatchValues
  readonly labels: Value | undefined
  readonly outputs: Readonly<Record<string, Value>>
  readonly loss: Value | undefined
  readonly hiddenStates: readonly Value[]
  readonly attentions: readonly Value[]
}

const bucket = (count: number, smallest: number): number => {
  let capacity = smallest
  while (capacity < count) capacity *= 2
  return capacity
}

/** Capacities come in powers of two, so that ragged batches share a handful of plans. */
export const capacityFor = (batch: RaggedBatch, attentions: boolean): Capacity => ({
  tokens: bucket(batch.tokens, 64),
  sequences: bucket(batch.sequences, 16),
  labelled: 0,
  pairs: attentions ? bucket(batch.pairs, 1024) : 0,
})

/** Records a head's forward, and its backward where `settings` differentiates. */
export function recordStep(
  head: Head,
  capacity: Capacity,
  settings: StepSettings,
  groups: number,
): Omit<RecordedStep, 'program'> {
  const graph = new Graph(capacity, settings)
  const batch: BatchValues = {
    ids: graph.input('input_ids', Row.tokens, 1, true),
    typeIds: graph.input('token_type_ids', Row.tokens, 1, true),
    positionIds: graph.input('position_ids', Row.tokens, 1, true),
    cuSeqlens: graph.input('cu_seqlens', Row.sequences, 1, true, 1),
    keyMask: settings.keyMask ? graph.input('attention_mask', Row.tokens, 1, true) : undefined,
    firstTokens: graph.input('first_tokens', Row.sequences, 1, true),
  }
  const labels = settings.labels && graph.input('labels', Row.sequences, settings.labels.width, settings.labels.integer)
  const hiddenStates: Value[] = []
  const attentions: Value[] = []
  const values = head.record(graph, batch, labels && { kind: settings.labels!.kind, value: labels }, {
    hiddenStates: settings.hiddenStates ? hiddenStates : undefined,
    attentions: settings.attentions ? attentions : undefined,
  })
  for (const output of Object.values(values.outputs)) graph.keep(output)
  if (settings.differentiate) graph.backward()
  return {
    plan: compilePlan(graph, groups),
    batch,
    labels,
    outputs: values.outputs,
    loss: values.loss,
    hiddenStates,
    attentions,
  }
}

/** The least recently used entries go when there are too many. */
export class PlanCache<Entry extends { readonly program: Program }> {
  private readonly entries = new Map<string, Entry>()

  constructor(private readonly limit = 32) {}

  get(key: string, make: () => Entry): Entry {
    const known = this.entries.get(key)
    const entry = known ?? make()
    this.entries.delete(key)
    this.entries.set(key, entry)
    for (const [oldest, { program }] of this.entries) {
      if (this.entries.size <= this.limit) break
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
