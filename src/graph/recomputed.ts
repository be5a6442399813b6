import { PlanError } from '../errors.ts'
import type { Value } from './graph.ts'

/** Appends what reads a value in the backward. */
type Reader = (value: Value) => void

/** Values that the backward recomputes instead of keeping, with the readers that wait for them. */
export class Recomputed {
  readonly #readers = new Map<Value, Reader[]>()

  /** The backward of what has just been recorded will `serve` the value. */
  offer(value: Value): void {
    this.#readers.set(value, [])
  }

  /** The value is changed in place: it cannot be had from what it was computed of. */
  withdraw(value: Value): void {
    if (this.#readers.get(value)?.length) throw new PlanError(`${value.name} is changed while a backward waits for it`)
    this.#readers.delete(value)
  }

  /** Calls `reader` with the value: now, or when it is served. */
  read(value: Value, reader: Reader): void {
    const readers = this.#readers.get(value)
    if (readers) readers.push(reader)
    else reader(value)
  }

  /** `compute` records what computes the value again, or is told that nobody reads it; then come its readers. */
  serve(value: Value, compute: (again: Value | undefined) => void): void {
    const readers = this.#readers.get(value) ?? []
    this.#readers.delete(value)
    const again: Value = { ...value, offset: undefined, requiresGrad: false }
    compute(readers.length ? again : undefined)
    for (const reader of readers) reader(again)
  }

  /** At the end of the backward: whoever was not served would have no gradient. */
  requireNone(): void {
    for (const [{ name }, readers] of this.#readers)
      if (readers.length) throw new PlanError(`A backward waits for ${name}, which nothing computes again`)
  }
}
