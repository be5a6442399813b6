// The formulas of the learning-rate schedules: pure functions of the step, as in Transformers 5.18 (optimization.py).
// Throughout: t is the step from 0, w the warm-up steps, T the training steps; the result multiplies the learning rate.
import type { LearningRateFactor } from './scheduler.ts'

/** How a phase of warmup_stable_decay rises or falls. */
export type PhaseShape = 'linear' | 'cosine' | '1-sqrt'

export const PHASE_SHAPES: readonly PhaseShape[] = ['linear', 'cosine', '1-sqrt']

const linearWarmup = (t: number, w: number): number => t / Math.max(1, w)

const decayProgress = (t: number, w: number, T: number): number => (t - w) / Math.max(1, T - w)

const cosineWave = (progress: number, cycles: number): number => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress))

const aboveMinimum = (factor: number, minimum: number): number => Math.max(0, factor * (1 - minimum) + minimum)

export const linear =
  (w: number, T: number): LearningRateFactor =>
  (t) =>
    t < w ? linearWarmup(t, w) : Math.max(0, (T - t) / Math.max(1, T - w))

/** Not clamped after T: the wave goes on, as in Transformers. */
export const cosine =
  (w: number, T: number, cycles: number, minimum: number): LearningRateFactor =>
  (t) =>
    t < w ? linearWarmup(t, w) : aboveMinimum(cosineWave(decayProgress(t, w, T), cycles), minimum)

export const cosineWithRestarts =
  (w: number, T: number, cycles: number): LearningRateFactor =>
  (t) => {
    if (t < w) return linearWarmup(t, w)
    const progress = decayProgress(t, w, T)
    if (progress >= 1) return 0
    const turns = cycles * progress
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * (turns - Math.floor(turns)))))
  }

/** Ends at lrEnd also where warm-up fills the whole run; Transformers divides by zero there. */
export const polynomial =
  (w: number, T: number, lrInit: number, lrEnd: number, power: number): LearningRateFactor =>
  (t) => {
    if (t < w) return linearWarmup(t, w)
    if (t > T || T <= w) return lrEnd / lrInit
    return ((lrInit - lrEnd) * (1 - (t - w) / (T - w)) ** power + lrEnd) / lrInit
  }

export const constantWithWarmup =
  (w: number): LearningRateFactor =>
  (t) =>
    t < w ? linearWarmup(t, w) : 1

export const inverseSqrt =
  (w: number, timescale: number): LearningRateFactor =>
  (t) =>
    t < w ? linearWarmup(t, w) : 1 / Math.sqrt((t + timescale - w) / timescale)

/** One step ahead of `cosine`: warm-up starts above zero, and the minimum is reached on the last step of the run. */
export const cosineWarmup =
  (w: number, T: number, cycles: number, minimum: number, start?: number): LearningRateFactor =>
  (t) => {
    if (t >= w) return aboveMinimum(cosineWave(decayProgress(t + 1, w, T), cycles), minimum)
    return start === undefined ? linearWarmup(t + 1, w) : start + ((1 - start) * t) / Math.max(1, w - 1)
  }

const RISE: Record<PhaseShape, (progress: number) => number> = {
  linear: (progress) => progress,
  cosine: (progress) => 0.5 * (1 - Math.cos(Math.PI * progress)),
  '1-sqrt': (progress) => 1 - Math.sqrt(1 - progress),
}

const FALL: Record<PhaseShape, (progress: number, cycles: number) => number> = {
  linear: (progress) => 1 - progress,
  cosine: cosineWave,
  '1-sqrt': (progress) => 1 - Math.sqrt(progress),
}

/** Steps of the three phases and their shapes; `minimum` is a fraction of the learning rate. */
export interface Phases {
  warmup: number
  stable: number
  decay: number
  warmupType: PhaseShape
  decayType: PhaseShape
  minimum: number
  cycles: number
}

export const warmupStableDecay = (phases: Phases): LearningRateFactor => {
  const { warmup, decay, minimum } = phases
  const decayStart = warmup + phases.stable
  return (t) => {
    if (t < warmup) return aboveMinimum(RISE[phases.warmupType](linearWarmup(t, warmup)), minimum)
    if (t < decayStart) return 1
    if (t >= decayStart + decay) return minimum
    return aboveMinimum(FALL[phases.decayType]((t - decayStart) / Math.max(1, decay), phases.cycles), minimum)
  }
}
