// Applies a multiplier f(t) of the learning rate to every parameter group, as torch.optim.lr_scheduler.LambdaLR does.
import { ArgumentError } from '../errors.ts'

/** What a schedule needs of an optimiser. `initialLr` is written by the first scheduler built on a group. */
export interface ScheduledOptimizer {
  readonly paramGroups: readonly { lr: number; initialLr?: number }[]
  readonly defaults: { readonly lr: number }
  /** A rate in the precision that the update computes with; absent: exactly as given. */
  roundLr?(lr: number): number
}

/** The multiplier of the base learning rate for step t = 0, 1, 2, … */
export type LearningRateFactor = (step: number) => number

/** All that a scheduler has to remember; the schedule's own options are given again when it is rebuilt. */
export interface SchedulerState {
  /** Steps taken so far. */
  lastEpoch: number
  /** Learning rate of each parameter group that the multiplier applies to. */
  baseLrs: number[]
}

/**
 * A learning-rate schedule bound to an optimiser. Building one sets each group's `lr` to base · f(0).
 * The base is the group's `initialLr` where an earlier scheduler left one, else its `lr`.
 *
 * @throws ArgumentError when a group's learning rate is not a finite number of at least 0.
 */
export class Scheduler {
  readonly #optimizer: ScheduledOptimizer
  readonly #factor: LearningRateFactor
  #baseLrs: number[]
  #step = 0

  constructor(optimizer: ScheduledOptimizer, factor: LearningRateFactor) {
    this.#optimizer = optimizer
    this.#factor = factor
    this.#baseLrs = optimizer.paramGroups.map((group, index) => {
      const base = group?.initialLr ?? group?.lr
      if (!isLearningRate(base))
        throw new ArgumentError(`Expected a learning rate >= 0 in paramGroups[${index}] but received ${String(base)}`)
      group.initialLr = base
      return base
    })
    this.#apply()
  }

  /** The learning rate of each group for the coming optimiser step, as the optimiser will use it. */
  getLastLr(): number[] {
    return this.#rates().map((lr) => this.#optimizer.roundLr?.(lr) ?? lr)
  }

  /** Moves on by one; call it after each optimiser step. */
  step(): void {
    this.#step++
    this.#apply()
  }

  /** A copy, safe to keep and to turn into JSON. */
  stateDict(): SchedulerState {
    return { lastEpoch: this.#step, baseLrs: [...this.#baseLrs] }
  }

  /**
   * Continues from a saved state; the groups' learning rates follow at once.
   *
   * @throws ArgumentError when the state is malformed or was saved for another number of groups.
   */
  loadStateDict(state: SchedulerState): void {
    const groups = this.#optimizer.paramGroups.length
    if (!Number.isInteger(state?.lastEpoch) || state.lastEpoch < 0)
      throw new ArgumentError(
        `Expected lastEpoch, an integer >= 0, in a scheduler's state but received ${String(state?.lastEpoch)}`,
      )
    if (!Array.isArray(state.baseLrs) || state.baseLrs.length !== groups || !state.baseLrs.every(isLearningRate))
      throw new ArgumentError(
        `Expected baseLrs of ${groups} learning rates but received ${JSON.stringify(state.baseLrs)}`,
      )
    this.#step = state.lastEpoch
    this.#baseLrs = [...state.baseLrs]
    this.#optimizer.paramGroups.forEach((group, index) => {
      group.initialLr = this.#baseLrs[index]
    })
    this.#apply()
  }

  #rates(): number[] {
    const factor = this.#factor(this.#step)
    return this.#baseLrs.map((base) => base * factor)
  }

  #apply(): void {
    const rates = this.#rates()
    this.#optimizer.paramGroups.forEach((group, index) => {
      group.lr = rates[index]
    })
  }
}

const isLearningRate = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0
