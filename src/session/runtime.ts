import type { Program } from '../backend/backend.ts'
import { AbortedError, ArgumentError, BackendError, BusyError } from '../errors.ts'
import { type Capacity, type Packing, roundUp, type Value } from '../graph/graph.ts'
import { Arena, Row } from '../graph/op-table.ts'
import { MAX_ARENA_BYTES, type Plan } from '../graph/plan.ts'
import type { Head } from '../heads/head.ts'
import { unlessAborted } from '../turns.ts'
import { isTrainable, type Layout, type TensorPlace } from './layout.ts'
import { drawMask } from './masks.ts'
import { ModelMemory } from './model-memory.ts'
import { PackedWeights } from './packing.ts'
import {
  capacityFor,
  countRows,
  PlanCache,
  type RecordedStep,
  recordStep,
  rowInputs,
  type StepSettings,
  type StepUpdate,
  writtenGradients,
} from './plans.ts'
import { Regions } from './regions.ts'
import {
  asStored,
  type Profiler,
  type RecordedGeneration,
  type RuntimeOptions,
  type StepBatch,
  type StepRun,
  type StepScalars,
  setStepScalars,
  setUpdateScalars,
  type Update,
} from './runs.ts'

/**
 * A model's native side: its memory, its plans, and the queue that runs them in order. Everything that touches the memory goes
 * through `exclusive`, so a run never meets a read or a write.
 */
export class ModelRuntime extends ModelMemory {
  /** Set it to time every record of every run; unset, nothing is timed. */
  profiler: Profiler | undefined
  readonly #head: Head
  readonly #hiddenSize: number
  readonly #fill: (runtime: ModelRuntime) => Promise<void>
  readonly #steps = new PlanCache<RecordedStep>()
  readonly #generations = new PlanCache<RecordedGeneration>()
  readonly #cacheRegions = new Regions()
  #packedWeights: PackedWeights | undefined
  /** Plans whose memory was had. */
  readonly #haveRun = new WeakSet<Plan>()
  #filling: Promise<void> | undefined
  #tail: Promise<unknown> = Promise.resolve()
  /** Of gradients and moments, from one layout to the next; the next call begins with it. */
  readonly #moves: [from: Layout, to: Layout][] = []
  #pending = 0
  #recorded = 0
  /** Byte offsets of the gradients that a step writes, by its settings. */
  readonly #written = new Map<string, ReadonlySet<number>>()
  /** Byte offsets of gradients (of whole stacks) that are zero because no step has written them since they were cleared. */
  readonly #zeroGradients = new Set<number>()

  /** `fill` writes the first weights, at the first awaited call. */
  constructor(
    head: Head,
    hiddenSize: number,
    layout: Layout,
    options: RuntimeOptions,
    fill: (runtime: ModelRuntime) => Promise<void>,
  ) {
    super(layout, options)
    this.#head = head
    this.#hiddenSize = hiddenSize
    this.#fill = fill
  }

  /** Plans recorded so far. */
  get plansRecorded(): number {
    return this.#recorded
  }

  /**
   * Takes other places for gradients and moments, after a parameter was frozen or is no longer. Moments of what is trained before and
   * after are kept; the memory is as large as the new layout needs.
   */
  relayout(layout: Layout): void {
    const old = this.current
    this.#steps.clear()
    this.#written.clear()
    this.#zeroGradients.clear()
    this.current = layout
    this.#moves.push([old, layout])
  }

  get busy(): boolean {
    return this.#pending > 0
  }

  /** Runs `body` alone, after everything asked for before it; not where `signal` fires before its turn, which is told at once. */
  async exclusive<Result>(body: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
    this.requireNotDisposed()
    this.#pending++
    const before = this.#tail
    const turn = before.then(async () => {
      if (signal?.aborted) throw new AbortedError()
      this.requireNotDisposed()
      await this.#fillOnce()
      while (this.#moves.length > 0) {
        await this.leave(...this.#moves[0])
        this.#moves.shift()
      }
      return body()
    })
    this.#tail = turn.catch(() => {})
    try {
      await unlessAborted(before, signal)
      return await turn
    } finally {
      this.#pending--
    }
  }

  /** Frees the native memory. A BusyError while runs are queued: they would lose it under their feet. */
  dispose(): void {
    if (this.disposed) return
    if (this.busy) throw new BusyError('The model is running: await its runs (or abort them) before dispose()')
    this.#steps.clear()
    this.#generations.clear()
    this.free()
  }

  override writeTensor(place: TensorPlace, values: Float32Array, start = 0): Promise<void> {
    this.#packedWeights?.invalidate()
    return super.writeTensor(place, values, start)
  }

  /** The call cannot wait in the queue: it would change what queued runs were asked to compute. */
  requireIdle(call: string): void {
    this.requireNotDisposed()
    if (this.busy) throw new BusyError(`The model is running: await its runs before ${call}`)
  }

  /**
   * One forward, or forward and backward, or these and the update: the gradients overwrite for microStep 0 and add for later ones. Where
   * the first micro-step writes no gradient, it is zero. `norm`: of the gradients before clipping, where they have made an update.
   */
  async runStep(
    settings: StepSettings,
    { batch, indices, labels }: StepBatch,
    scalars: StepScalars,
    { signal, masks, update }: StepRun = {},
  ): Promise<{ step: RecordedStep; norm: number | undefined }> {
    const counts = countRows(batch, indices, settings)
    const capacity = capacityFor(counts, settings)
    let due: Update | undefined
    let norm: number | undefined
    // a GPU has memory enough, and joins the slopes of an activation to a product
    const recomputing = this.opened.description.backend !== 'cuda'
    const find = (packing?: PackedWeights) => {
      const recording = {
        head: this.#head,
        capacity,
        settings,
        hiddenSize: this.#hiddenSize,
        dtype: this.dtype,
        packing,
        recomputing,
      }
      due = update?.(this.#writtenBy(settings, () => writtenGradients(recording)))
      const last = due && this.#updateOf(due, packing)
      const key = JSON.stringify([settings, capacity, packing !== undefined, last])
      return this.#steps.get(key, () => this.#compile(recordStep(recording, last)))
    }
    const step = await this.#runPacked(this.#packing(settings.differentiate), find, async (step) => {
      for (const [value, data] of rowInputs(step.batch, batch, indices)) this.#write(value, data)
      for (const [name, { rows, data }] of Object.entries(labels?.terms ?? {}))
        this.#write(step.labels[name], rows === 'tokens' ? indices.tokenLabels : data)
      for (const mask of masks ? step.masks : [])
        this.#write(mask.keep, await drawMask(mask, { batch, indices, labels }, masks!))
      if (settings.differentiate && scalars.microStep === 0) this.#clearUnwritten(step.written)
      for (const offset of step.written) this.#zeroGradients.delete(offset)
      const run = this.#scalars(step.plan, counts)
      setStepScalars(run, scalars)
      const running = () => step.program.run(this.requireMemory(), run, signal, this.#timed(step.plan, run))
      if (due) norm = await this.#updating(due, step, run, running)
      else await running()
    })
    return { step, norm }
  }

  /** A run that ends with an update; the norm of its gradients. What is known of the weights follows what became of them. */
  async #updating(
    { ranges, scalars }: Update,
    { norm }: RecordedStep,
    run: Float64Array,
    running: () => Promise<void>,
  ): Promise<number> {
    setUpdateScalars(run, scalars)
    this.momentsUsed = true
    try {
      await running()
    } catch (error) {
      // a run that was stopped has changed nothing; of others it is not known
      if (!(error instanceof AbortedError)) {
        this.weightsChanged()
        this.#packed.invalidate()
      }
      throw error
    }
    const [length] = await this.readOutput(norm!, 1)
    if (Number.isFinite(length)) {
      this.weightsChanged()
      this.#packed.updated(ranges)
    }
    return length
  }

  /** Asked before plans are, because what they update depends on it. */
  #writtenBy(settings: StepSettings, record: () => ReadonlySet<number>): ReadonlySet<number> {
    const key = JSON.stringify(settings)
    const written = this.#written.get(key) ?? record()
    this.#written.set(key, written)
    return written
  }

  #updateOf({ ranges, scalars }: Update, packing: PackedWeights | undefined): StepUpdate {
    const stretches = packing?.split(ranges) ?? ranges
    return { gradients: this.current.gradientBytes / 4, stretches, groups: scalars.groups.length }
  }

  /** One step of a generation: writes its inputs by their names, and runs. `record` is called once for each `key`. */
  async runGeneration(
    key: string,
    record: (head: Head, packing?: Packing) => Omit<RecordedGeneration, 'program'>,
    inputs: Readonly<Record<string, Float32Array | Int32Array | undefined>>,
    counts: Partial<Capacity>,
    signal?: AbortSignal,
  ): Promise<RecordedGeneration> {
    const find = (packing?: PackedWeights) =>
      this.#generations.get(`${key} ${packing !== undefined}`, () => this.#compile(record(this.#head, packing)))
    return this.#runPacked(this.#packing(false), find, async (step) => {
      for (const [name, value] of Object.entries(step.inputs)) this.#write(value, inputs[name])
      const run = this.#scalars(step.plan, counts)
      await step.program.run(this.requireMemory(), run, signal, this.#timed(step.plan, run))
    })
  }

  /** A stretch of the cache for one generation; its byte offset. An ArgumentError when it would be too large to address. */
  takeCache(bytes: number): number {
    const offset = this.#cacheRegions.take(bytes)
    if (offset + bytes <= MAX_ARENA_BYTES) return offset
    this.#cacheRegions.free(offset)
    throw new ArgumentError(
      `The keys and values need ${(bytes / 2 ** 30).toFixed(1)} GiB, and a model can have ${MAX_ARENA_BYTES / 2 ** 30} at a time: take fewer sequences or fewer tokens`,
    )
  }

  freeCache(offset: number): void {
    this.#cacheRegions.free(offset)
    if (this.#cacheRegions.empty && !this.busy && !this.disposed) this.memory?.release(Arena.cache)
  }

  #compile<Recorded extends { readonly plan: Plan }>(recorded: Recorded): Recorded & { readonly program: Program } {
    this.#recorded++
    return { ...recorded, program: this.opened.compile(recorded.plan) }
  }

  #write(value: Value | undefined, data: Float32Array | Int32Array | undefined): void {
    if (value && data) this.requireMemory().write(value.arena, value.offset!, asStored(value, data))
  }

  #scalars(plan: Plan, counts: Partial<Capacity>): Float64Array {
    const run = new Float64Array(plan.scalars)
    for (const [name, count] of Object.entries(counts)) run[Row[name as keyof typeof Row]] = count
    return run
  }

  #timed(plan: Plan, scalars: Float64Array): ((seconds: Float64Array) => void) | undefined {
    const { profiler } = this
    return profiler && ((seconds) => profiler(plan, scalars, seconds))
  }

  /** Gradients that nothing writes in this step: those of a part of the model that its inputs leave out. */
  #clearUnwritten(written: ReadonlySet<number>): void {
    const places = [...this.current.tensors.values()]
      .filter(isTrainable)
      .filter(({ owner }) => !written.has(owner) && !this.#zeroGradients.has(owner))
    for (const place of places) {
      this.clearLike(Arena.gradients, place)
      this.#zeroGradients.add(place.owner)
    }
  }

  get #packed(): PackedWeights {
    const { dtype } = this
    this.#packedWeights ??= new PackedWeights(dtype, this.opened.description.products[dtype])
    return this.#packedWeights
  }

  /** Where the products of a run find their weights packed. */
  #packing(differentiate: boolean): PackedWeights | undefined {
    if (this.#packed.serves(differentiate, this.weightsVersion)) return this.#packed
    if (differentiate) this.requireMemory().release(Arena.packed)
    return undefined
  }

  /**
   * Runs what `find` records, with packed weights or without. They are faster, and take memory beside the weights: where a first run with
   * them is refused that, they are given back, and it is done without them, as all later ones.
   */
  async #runPacked<Recorded extends { readonly plan: Plan }>(
    packing: PackedWeights | undefined,
    find: (packing?: PackedWeights) => Recorded,
    run: (recorded: Recorded) => Promise<void>,
  ): Promise<Recorded> {
    const recorded = find(packing)
    try {
      await this.#prepare(recorded.plan, packing)
      await run(recorded)
      this.#haveRun.add(recorded.plan)
      return recorded
    } catch (error) {
      if (
        !packing?.optional ||
        this.#haveRun.has(recorded.plan) ||
        !(error instanceof BackendError && error.reason === 'memory')
      )
        throw error
    }
    packing.giveUp()
    // what lies between two runs is empty anyway: given back too, so that all of it is one piece
    for (const arena of [Arena.packed, Arena.activations, Arena.io]) this.requireMemory().release(arena)
    return this.#runPacked(undefined, find, run)
  }

  /** Memory for a step, and the weights that it reads packed. */
  async #prepare(plan: Plan, packing: PackedWeights | undefined): Promise<void> {
    if (plan.arenaBytes.expAvg > 0) await this.placeMoments()
    this.#reserve(plan)
    if (!packing) return
    this.requireMemory().reserve(Arena.packed, packing.bytes)
    const stale = packing.stale()
    if (!stale) return
    const program = this.opened.compile(stale.plan)
    const run = this.#scalars(stale.plan, {})
    try {
      await program.run(this.requireMemory(), run, undefined, this.#timed(stale.plan, run))
      stale.packed()
    } finally {
      program.dispose()
    }
  }

  #reserve(plan: Plan): void {
    for (const name of Object.keys(Arena) as (keyof typeof Arena)[])
      if (plan.arenaBytes[name] > 0) this.requireMemory().reserve(Arena[name], roundUp(plan.arenaBytes[name]))
  }

  async #fillOnce(): Promise<void> {
    this.#filling ??= (async () => {
      this.memory = (await this.openBackend()).createMemory()
      this.memory.reserve(Arena.weights, this.current.weightBytes)
      await this.#fill(this)
    })().catch((error: unknown) => {
      this.memory?.dispose()
      this.memory = undefined
      this.#filling = undefined
      throw error
    })
    await this.#filling
  }
}
