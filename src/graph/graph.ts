import { PlanError } from '../errors.ts'
import { type AttributesOf, encode, type OperandsOf } from './attributes.ts'
import { type ActivationName, Arena, type OpName, type OpSpec, ops, Row } from './op-table.ts'
import { Recomputed } from './recomputed.ts'

/** What a value's elements are. Kernels compute in float32; bfloat16 is how activations of a model of that dtype are stored. */
export type ElementType = 'float32' | 'int32' | 'bfloat16'
export type FloatType = Exclude<ElementType, 'int32'>
export const elementBytes = (type: ElementType): number => (type === 'bfloat16' ? 2 : 4)

/**
 * A buffer that a record reads or writes: `rows` x `width` elements, or `width` alone without a row dimension.
 * Lives at a fixed place (weights, gradients, io) or, `offset` undefined, where the planner puts it in the activations.
 */
export interface Value {
  readonly name: string
  readonly rows: Row | undefined
  readonly width: number
  readonly type: ElementType
  readonly arena: Arena
  /** In bytes, a multiple of 64. */
  offset: number | undefined
  /** Whether the loss depends on it through something trainable. */
  readonly requiresGrad: boolean
  /** The parameter behind it, for its gradient. */
  readonly parameter?: ParameterSlot
}

/** Where a parameter lies: byte offsets in the weights and, unless it is frozen, in the gradients. */
export interface ParameterSlot {
  readonly name: string
  readonly width: number
  readonly weights: number
  readonly gradients: number | undefined
  /** Of a stack that is frozen in part: the tensors that are not, with places of their own in the gradients. */
  readonly parts?: readonly ParameterSlot[]
  /** Of a matrix that is kept as int8 (src/int8.ts): `weights` is where its words begin; its rows, and the byte offset of their scales. */
  readonly int8?: { readonly words: number; readonly rows: number; readonly scales: number }
}

/** The gradient of a parameter, or of a part of it. */
export interface GradientPiece extends GradientTarget {
  /** First element of the part. */
  readonly first: number
}

/** A recorded op; operands and attributes in the order of ops.def. */
export interface OpRecord {
  readonly op: OpSpec
  readonly path: string
  readonly operands: readonly (Value | undefined)[]
  readonly attributes: Int32Array
}

/** The largest row counts that a plan is made for. */
export type Capacity = Readonly<Record<keyof typeof Row, number>>

const NO_ROWS = Object.fromEntries(Object.keys(Row).map((name) => [name, 0])) as Capacity

/** A value's gradient to write, and whether to add to it because someone has written before. */
export interface GradientTarget {
  readonly value: Value
  readonly add: boolean
}

/** Which elements a dropout keeps, those that are not 0, where the caller says so before each run. */
export type DropoutMask = { readonly keep: Value; readonly p: number }

/** Where a product finds a linear layer's weight [N, K] packed. */
export interface Packing {
  /** Byte offset in the packed weights, and 4-byte words. */
  place(slot: ParameterSlot, K: number): { readonly offset: number; readonly words: number }
}

export interface RecordOptions {
  /** Keep what backward needs. */
  readonly differentiate: boolean
  /** Dropout is on. */
  readonly training: boolean
  /** What `checkpoint` wraps keeps nothing for the backward, which computes it again. */
  readonly checkpointing?: boolean
  /** What activations are stored as; statistics, scores and losses are float32 always. float32 */
  readonly dtype?: FloatType
  /** Without it, products pack the weights that they read. */
  readonly packing?: Packing
  /** The caller gives the mask of every dropout, as inputs: `Graph.masks`. */
  readonly givenMasks?: boolean
  /** Keep only an activation's input and recompute its output in the backward: less memory, for little time. */
  readonly recomputing?: boolean
}

export const roundUp = (bytes: number): number => Math.ceil(bytes / 64) * 64 // the unit of offsets in a plan
const rowName = (row: Row): keyof typeof Row => (Object.keys(Row) as (keyof typeof Row)[]).find((k) => Row[k] === row)!

/**
 * Records a step. Calling an op computes nothing: it appends a record and, when training, a closure that appends its backward
 * records; `backward` runs the closures in reverse. What is not asked for is not recorded: a frozen parameter's gradient, the
 * gradient of an input.
 */
export class Graph {
  readonly records: OpRecord[] = []
  /** Values whose contents the caller reads after the run. */
  readonly kept = new Set<Value>()
  /** By their sites, in the order of the forward. */
  readonly masks = new Map<number, DropoutMask>()
  private tape: (() => void)[] = []
  /** Whether ops keep what their backward reads: not in a forward that the backward records again. */
  saving = true
  private readonly recomputed = new Recomputed()
  private readonly gradients = new Map<Value, Value>()
  private readonly written = new Set<Value>()
  private readonly parameters = new Map<ParameterSlot, Value>()
  private readonly accumulated = new Set<ParameterSlot>()
  private path: string[] = []
  private ioBytes = 0
  readonly capacity: Capacity

  /** `capacity`: of the row symbols that the step uses. */
  constructor(
    capacity: Partial<Capacity>,
    readonly options: RecordOptions,
  ) {
    this.capacity = { ...NO_ROWS, ...capacity }
  }

  /** Names the records of `body` after a module, as in the model's parameter names. */
  scope<Result>(name: string, body: () => Result): Result {
    this.path.push(name)
    try {
      return body()
    } finally {
      this.path.pop()
    }
  }

  get scopePath(): string {
    return this.path.join('.')
  }

  /** The dropout site of the current module: a hash of its path, so it stays the same whatever else is recorded. */
  site(suffix = ''): number {
    let hash = 2166136261
    for (const c of `${this.scopePath}${suffix}`) hash = Math.imul(hash ^ c.charCodeAt(0), 16777619)
    return hash | 0
  }

  /** What activations are stored as. */
  get dtype(): FloatType {
    return this.options.dtype ?? 'float32'
  }

  /** A planned activation. */
  value(name: string, rows: Row | undefined, width: number, requiresGrad = false, type: FloatType = this.dtype): Value {
    return {
      name: this.named(name),
      rows,
      width,
      type,
      arena: Arena.activations,
      offset: undefined,
      requiresGrad,
    }
  }

  /** Numbers of each row that a backward reads, or that the caller does: float32 whatever the activations are. */
  statistic(name: string, rows: Row | undefined, width: number): Value {
    return this.value(name, rows, width, false, 'float32')
  }

  /** A buffer that the caller fills before each run. */
  input(name: string, rows: Row | undefined, width: number, type: ElementType, extra = 0): Value {
    const offset = this.ioBytes
    const value: Value = { name, rows, width, type, arena: Arena.io, offset, requiresGrad: false }
    this.ioBytes += roundUp((this.elements(value) + extra) * elementBytes(type))
    return value
  }

  /** What dropout at this site keeps, [rows, width], where the caller says so. A site that is recorded again has the same mask. */
  keepMask(site: number, rows: Row, width: number, p: number): Value | undefined {
    if (!this.options.givenMasks || p === 0) return undefined
    const mask = this.masks.get(site) ?? { keep: this.input(this.named('keep'), rows, width, 'int32'), p }
    this.masks.set(site, mask)
    return mask.keep
  }

  /** A stretch of the cache that outlives the run; `offset` in bytes. */
  cached(name: string, rows: Row, width: number, offset: number): Value {
    return { name, rows, width, type: this.dtype, arena: Arena.cache, offset, requiresGrad: false }
  }

  parameter(slot: ParameterSlot): Value {
    let value = this.parameters.get(slot)
    if (!value) {
      const trainable = slot.gradients !== undefined || slot.parts !== undefined
      const requiresGrad = this.options.differentiate && trainable
      const { name, width, weights } = slot
      value = {
        name,
        rows: undefined,
        width,
        type: 'float32',
        arena: Arena.weights,
        offset: weights,
        requiresGrad,
        parameter: slot,
      }
      this.parameters.set(slot, value)
    }
    return value
  }

  /** The packed form of a linear layer's weight, where weights are packed. */
  packed(w: Value, K: number): Value | undefined {
    const { packing } = this.options
    if (!packing || !w.parameter) return undefined
    const { offset, words } = packing.place(w.parameter, K)
    const name = `packed ${w.name}`
    return { name, rows: undefined, width: words, type: 'float32', arena: Arena.packed, offset, requiresGrad: false }
  }

  /** Elements of a value at the plan's capacity. */
  elements(value: Value): number {
    return (value.rows === undefined ? 1 : this.capacity[rowName(value.rows)]) * value.width
  }

  bytes(value: Value): number {
    return this.elements(value) * elementBytes(value.type)
  }

  /** Marks a value that the caller will read after the run. */
  keep(value: Value): Value {
    this.kept.add(value)
    return value
  }

  emit<Name extends OpName>(name: Name, operands: OperandsOf<Name>, attributes: AttributesOf<Name>): void {
    const op: OpSpec = ops[name]
    const values = operands as Readonly<Record<string, Value | undefined>>
    const given = attributes as Readonly<Record<string, number | boolean | ActivationName>>
    const types: Partial<Record<string, ElementType>> = { float32: 'float32', int32: 'int32' }
    this.records.push({
      op,
      path: this.scopePath,
      operands: op.operands.map((spec) => {
        const value = values[spec.name]
        if (value === undefined && !spec.optional)
          throw new PlanError(`${op.name} at ${this.scopePath}: ${spec.name} is missing`)
        if (value && spec.output) this.recomputed.withdraw(value)
        if (value && value.type !== 'int32') types[spec.type] ??= value.type
        if (value && value.type !== types[spec.type])
          throw new PlanError(
            `${op.name} at ${this.scopePath}: ${spec.name} is ${value.type}, expected ${types[spec.type] ?? 'float32 or bfloat16'}`,
          )
        return value
      }),
      attributes: Int32Array.from(op.attributes, ({ name: attribute, kind }) => {
        if (kind === 't') return Number(types[attribute] === 'bfloat16')
        if (given[attribute] !== undefined) return encode(given[attribute], kind)
        return op.operands.reduce((words, { name, dims }) => (dims[0] === attribute && values[name]?.width) || words, 1)
      }),
    })
  }

  /** Registers the backward of what was just recorded. */
  onBackward(append: () => void): void {
    if (this.options.differentiate) this.tape.push(this.here(append))
  }

  /** Lets the backward compute `value`, just recorded, again rather than keep it: `recompute`. */
  recomputable(value: Value): void {
    if (this.options.recomputing) this.recomputed.offer(value)
  }

  /** Appends what reads `value` in a backward: now, or after it was recomputed. */
  whenComputed(value: Value, append: (value: Value) => void): void {
    this.recomputed.read(value, this.here(append))
  }

  /** `append` records what computes `value` again, where somebody reads it; then come those. */
  recompute(value: Value, append: (again: Value | undefined) => void): void {
    this.recomputed.serve(value, append)
  }

  /** `append`, for later, with its records named as if they were recorded now. */
  private here<Args extends unknown[]>(append: (...args: Args) => void): (...args: Args) => void {
    const path = [...this.path]
    return (...args) => {
      const before = this.path
      this.path = path
      append(...args)
      this.path = before
    }
  }

  /**
   * Records `body`. When checkpointing, nothing inside it outlives the forward: the backward records it once more, with the same
   * dropout bits, and differentiates that. Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016).
   */
  checkpoint(body: () => Value): Value {
    const { differentiate, checkpointing } = this.options
    if (!differentiate || !checkpointing) return body()
    const outer = this.tape
    this.tape = []
    this.saving = false
    const y = body()
    this.saving = true
    this.tape = outer
    if (y.requiresGrad)
      this.onBackward(() => {
        const dy = this.gradientOf(y)
        if (!dy) return
        const rest = this.tape
        this.tape = []
        this.setGradient(body(), dy)
        this.unwind()
        this.tape = rest
      })
    return y
  }

  /** The gradient to add to for a value that needs one. The first writer overwrites: decided here, while recording. */
  gradientTarget(value: Value): GradientTarget | undefined {
    if (!value.requiresGrad) return undefined
    if (value.parameter) return this.slotTarget(value.parameter)
    let gradient = this.gradients.get(value)
    if (!gradient) {
      gradient = { ...value, name: `d ${value.name}`, arena: Arena.activations, offset: undefined, requiresGrad: false }
      this.gradients.set(value, gradient)
    }
    const add = this.written.has(value)
    this.written.add(value)
    return { value: gradient, add }
  }

  /** The gradients to write of a parameter: one, none, or those of the parts of a stack that are not frozen. */
  gradientPieces(value: Value | undefined): GradientPiece[] {
    const slot = value?.parameter
    if (!value?.requiresGrad || !slot) return []
    return (slot.parts ?? [slot]).map((part) => ({
      ...this.slotTarget(part),
      first: (part.weights - slot.weights) / 4,
    }))
  }

  private slotTarget(slot: ParameterSlot): GradientTarget {
    if (slot.parts) throw new TypeError(`${slot.name} is frozen in part, which only a linear layer can be`)
    const add = this.accumulated.has(slot)
    this.accumulated.add(slot)
    return { value: this.parameterGradient(slot), add }
  }

  /** The finished gradient of a value, or undefined if nothing that follows depends on it. */
  gradientOf(value: Value): Value | undefined {
    return this.gradients.get(value)
  }

  /** Lets `gradient`, already written, stand for the gradient of `value`, which nobody has written yet. */
  setGradient(value: Value, gradient: Value): void {
    this.gradients.set(value, gradient)
    this.written.add(value)
  }

  /** Appends the backward of everything recorded. */
  backward(): void {
    this.unwind()
    this.recomputed.requireNone()
  }

  private unwind(): void {
    for (let append = this.tape.pop(); append; append = this.tape.pop()) append()
  }

  /** Byte offsets of the parameter gradients that the records write. */
  get writtenGradients(): ReadonlySet<number> {
    return new Set([...this.accumulated].map(({ gradients }) => gradients!))
  }

  get inputBytes(): number {
    return this.ioBytes
  }

  private parameterGradient(slot: ParameterSlot): Value {
    return {
      name: `d ${slot.name}`,
      rows: undefined,
      width: slot.width,
      type: 'float32',
      arena: Arena.gradients,
      offset: slot.gradients,
      requiresGrad: false,
    }
  }

  private named(name: string): string {
    return this.path.length ? `${this.scopePath}.${name}` : name
  }
}
