import type { Backend, BackendMemory, Program } from '../backend/backend.ts'
import { type BackendOptions, openBackend } from '../backend/open.ts'
import { BusyError, DisposedError } from '../errors.ts'
import { Graph, roundUp, type Value } from '../graph/graph.ts'
import { Arena, Row, Scalar } from '../graph/op-table.ts'
import { compilePlan, type Plan } from '../graph/plan.ts'
import type { Head, PreparedLabels } from '../heads/head.ts'
import { recordUpdate, type UpdateRange } from '../ops/optimizer.ts'
import type { RaggedBatch } from './batch.ts'
import type { Layout, TensorPlace } from './layout.ts'
import { capacityFor, PlanCache, type RecordedStep, recordStep, type StepSettings } from './plans.ts'

const PIECE_ELEMENTS = 2 ** 18

/** Run-time scalars of a step that do not come from the batch. */
export interface StepScalars {
  readonly seed: number
  readonly step: number
  readonly microStep: number
  readonly denominators: readonly number[]
}

/** Scalars of an update. */
export interface UpdateScalars {
  readonly maxGradNorm: number
  readonly betas: readonly [number, number]
  readonly eps: number
  /** Steps taken, this one included. */
  readonly step: number
  readonly groups: readonly { readonly lr: number; readonly weightDecay: number }[]
}

interface RecordedUpdate {
  readonly plan: Plan
  readonly program: Program
  readonly norm: Value
}

/**
 * A model's native side: its memory, its plans, and the queue that runs them in order. Everything that touches the memory goes
 * through `exclusive`, so a run never meets a read or a write.
 */
export class ModelRuntime {
  readonly #head: Head
  readonly #layout: Layout
  readonly #options: BackendOptions
  readonly #fill: (runtime: ModelRuntime) => Promise<void>
  readonly #steps = new PlanCache<RecordedStep>()
  readonly #updates = new PlanCache<RecordedUpdate>(4)
  #backend: Backend | undefined
  #memory: BackendMemory | undefined
  #opening: Promise<void> | undefined
  #tail: Promise<unknown> = Promise.resolve()
  #pending = 0
  #disposed = false
  #recorded = 0

  /** `fill` writes the first weights, at the first awaited call. */
  constructor(head: Head, layout: Layout, options: BackendOptions, fill: (runtime: ModelRuntime) => Promise<void>) {
    this.#head = head
    this.#layout = layout
    this.#options = options
    this.#fill = fill
  }

  get backend(): Backend {
    this.#backend ??= openBackend(this.#options)
    return this.#backend
  }

  get layout(): Layout {
    return this.#layout
  }

  /** Plans recorded so far. */
  get plansRecorded(): number {
    return this.#recorded
  }

  get busy(): boolean {
    return this.#pending > 0
  }

  /** Runs `body` alone, after everything asked for before it. */
  async exclusive<Result>(body: () => Promise<Result>): Promise<Result> {
    this.#alive()
    this.#pending++
    const turn = this.#tail.then(async () => {
      this.#alive()
      await this.#open()
      return body()
    })
    this.#tail = turn.catch(() => {})
    try {
      return await turn
    } finally {
      this.#pending--
    }
  }

  /** Frees the native memory. A BusyError while runs are queued: they would lose it under their feet. */
  dispose(): void {
    if (this.#disposed) return
    if (this.busy) throw new BusyError('The model is running: await its runs (or abort them) before dispose()')
    this.#disposed = true
    this.#steps.clear()
    this.#updates.clear()
    this.#memory?.dispose()
  }

  /** The call cannot wait in the queue: it would change what queued runs were asked to compute. */
  requireIdle(call: string): void {
    this.#alive()
    if (this.busy) throw new BusyError(`The model is running: await its runs before ${call}`)
  }

  readTensor({ weights, elements }: TensorPlace): Float32Array {
    return this.#read(Arena.weights, weights, elements)
  }

  /** A tensor in stretches of at most 1 MiB, whose memory is used again for the next one. */
  *readTensorPieces({ weights, elements }: TensorPlace): Generator<Float32Array> {
    const buffer = new Float32Array(Math.min(elements, PIECE_ELEMENTS))
    for (let start = 0; start < elements; start += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, elements - start))
      this.#mapped().read(Arena.weights, weights + start * 4, piece)
      yield piece
    }
  }

  /** A tensor of the gradients or of a moment, which lie alike. */
  readLike(arena: Arena, { gradients, elements }: TensorPlace): Float32Array {
    return this.#read(arena, gradients, elements)
  }

  /** Writes `values` from element `start` of a tensor on. */
  writeTensor(place: TensorPlace, values: Float32Array, start = 0): void {
    this.#mapped().write(Arena.weights, place.weights + start * 4, values)
  }

  /** Moments of zero, as a new optimiser has them. */
  clearMoments(): void {
    for (const arena of [Arena.expAvg, Arena.expAvgSq])
      for (const place of this.#layout.tensors.values()) this.writeLike(arena, place, new Float32Array(place.elements))
  }

  writeLike(arena: Arena, place: TensorPlace, values: Float32Array): void {
    this.#mapped().reserve(arena, this.#layout.bytes)
    this.#mapped().write(arena, place.gradients, values)
  }

  /** One forward, or forward and backward: the gradients overwrite for microStep 0 and add for later ones. */
  async runStep(
    settings: StepSettings,
    batch: RaggedBatch,
    labels: PreparedLabels | undefined,
    scalars: StepScalars,
    signal?: AbortSignal,
  ): Promise<RecordedStep> {
    const capacity = capacityFor(batch, settings.attentions)
    const step = this.#steps.get(JSON.stringify([settings, capacity]), () => {
      this.#recorded++
      const recorded = recordStep(this.#head, capacity, settings, 0)
      return { ...recorded, program: this.backend.compile(recorded.plan) }
    })
    const memory = this.#mapped()
    this.#reserve(step.plan)
    const write = (value: Value | undefined, data: Float32Array | Int32Array | undefined) => {
      if (value && data) memory.write(value.arena, value.offset!, data)
    }
    write(step.batch.ids, batch.ids)
    write(step.batch.typeIds, batch.typeIds)
    write(step.batch.positionIds, batch.positionIds)
    write(step.batch.cuSeqlens, batch.cuSeqlens)
    write(step.batch.keyMask, batch.keyMask)
    write(step.batch.firstTokens, batch.firstTokens)
    write(step.labels, labels?.data)
    const run = new Float64Array(step.plan.scalars)
    run[Row.tokens] = batch.tokens
    run[Row.sequences] = batch.sequences
    run[Row.pairs] = settings.attentions ? batch.pairs : 0
    run[Scalar.seed] = scalars.seed
    run[Scalar.step] = scalars.step
    run[Scalar.microStep] = scalars.microStep
    run[Scalar.accumulate] = scalars.microStep > 0 ? 1 : 0
    run.set(scalars.denominators, Scalar.denominator0)
    await step.program.run(memory, run, signal)
    return step
  }

  /** Clips and applies the gradients of the micro-steps; returns their norm before clipping. Nothing changes if it is not finite. */
  async runUpdate(ranges: readonly UpdateRange[], scalars: UpdateScalars): Promise<number> {
    const length = this.#layout.bytes / 4
    const update = this.#updates.get(JSON.stringify([ranges, scalars.groups.length]), () => {
      const graph = new Graph(
        { tokens: 0, sequences: 0, labelled: 0, pairs: 0 },
        { differentiate: false, training: false },
      )
      const norm = recordUpdate(graph, length, ranges)
      const plan = compilePlan(graph, scalars.groups.length)
      return { plan, norm, program: this.backend.compile(plan) }
    })
    this.#reserve(update.plan)
    const [beta1, beta2] = scalars.betas
    const run = new Float64Array(update.plan.scalars)
    run[Scalar.maxGradNorm] = scalars.maxGradNorm
    run[Scalar.beta1] = beta1
    run[Scalar.beta2] = beta2
    run[Scalar.eps] = scalars.eps
    run[Scalar.biasCorrection1] = 1 - beta1 ** scalars.step
    run[Scalar.biasCorrection2Sqrt] = Math.sqrt(1 - beta2 ** scalars.step)
    for (const [g, { lr, weightDecay }] of scalars.groups.entries()) run.set([lr, weightDecay], Scalar.group0 + 2 * g)
    await update.program.run(this.#mapped(), run)
    return this.readOutput(update.norm, 2)[0]
  }

  /** The first `elements` of a kept value of the last run. */
  readOutput(value: Value, elements: number): Float32Array {
    return this.#read(value.arena, value.offset!, elements)
  }

  #read(arena: Arena, offset: number, elements: number): Float32Array {
    const target = new Float32Array(elements)
    this.#mapped().read(arena, offset, target)
    return target
  }

  #mapped(): BackendMemory {
    if (!this.#memory) throw new DisposedError('The model has no memory yet')
    return this.#memory
  }

  #alive(): void {
    if (this.#disposed) throw new DisposedError('The model was disposed')
  }

  #reserve(plan: Plan): void {
    for (const name of Object.keys(Arena) as (keyof typeof Arena)[])
      if (plan.arenaBytes[name] > 0) this.#mapped().reserve(Arena[name], roundUp(plan.arenaBytes[name]))
  }

  async #open(): Promise<void> {
    this.#opening ??= (async () => {
      this.#memory = this.backend.createMemory()
      this.#memory.reserve(Arena.weights, this.#layout.bytes)
      await this.#fill(this)
    })().catch((error: unknown) => {
      // the next call tries again: what was missing may be there by then
      this.#memory?.dispose()
      this.#memory = undefined
      this.#opening = undefined
      throw error
    })
    await this.#opening
  }
}
