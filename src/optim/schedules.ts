// Learning-rate schedules with the names, defaults and rejections of Transformers 5.18 (optimization.py).
import { ArgumentError } from '../errors.ts'
import { checkObject, checkOptionNames, defined } from '../options.ts'
import * as factors from './factors.ts'
import { type LearningRateFactor, type ScheduledOptimizer, Scheduler } from './scheduler.ts'

/** Options of all schedules. Each schedule takes some of them and rejects the others. */
export interface SchedulerOptions {
  /** Steps over which the learning rate rises. */
  numWarmupSteps?: number | null
  /** Steps of the whole run. */
  numTrainingSteps?: number | null
  /** Waves of the cosine (default 0.5: one fall), or restarts of cosine_with_restarts (default 1). */
  numCycles?: number
  /** Exponent of polynomial (default 1). */
  power?: number
  /** Learning rate at the end of polynomial (default 1e-7). */
  lrEnd?: number
  /** Steps over which inverse_sqrt first falls by sqrt(2) (default numWarmupSteps, or 10000 without warm-up). */
  timescale?: number | null
  /** Lowest learning rate of the cosines with a minimum; or give `minLrRate`. */
  minLr?: number | null
  /** The same as a fraction of the optimiser's default learning rate. */
  minLrRate?: number | null
  /** Fraction of the learning rate at which cosine_warmup_with_min_lr starts (default 1 / numWarmupSteps). */
  warmupLrRate?: number | null
  /** Steps of the last phase of warmup_stable_decay. */
  numDecaySteps?: number
  /** Steps of its middle phase (default: what warm-up and decay leave of numTrainingSteps). */
  numStableSteps?: number | null
  /** Shape of its first phase (default linear). */
  warmupType?: factors.PhaseShape
  /** Shape of its last phase (default cosine). */
  decayType?: factors.PhaseShape
  /** Its lowest fraction of the learning rate (default 0). */
  minLrRatio?: number
}

/** Reads the options of one schedule; every failure is an ArgumentError that names the schedule and the option. */
class OptionReader {
  constructor(
    readonly schedule: string,
    readonly options: SchedulerOptions,
    readonly defaultLr: number,
  ) {}

  fail(message: string): never {
    throw new ArgumentError(`Schedule ${this.schedule}: ${message}`)
  }

  optional(name: NumberOption, minimum = Number.NEGATIVE_INFINITY): number | undefined {
    const value = this.options[name]
    if (value === undefined || value === null) return undefined
    if (typeof value !== 'number' || !Number.isFinite(value) || value < minimum) {
      const bound = Number.isFinite(minimum) ? ` >= ${minimum}` : ''
      this.fail(`expected ${name} to be a finite number${bound} but received ${JSON.stringify(value) ?? String(value)}`)
    }
    return value
  }

  required(name: NumberOption): number {
    return this.optional(name, 0) ?? this.fail(`${name} is required`)
  }

  steps(): [warmup: number, total: number] {
    return [this.required('numWarmupSteps'), this.required('numTrainingSteps')]
  }

  shape(name: 'warmupType' | 'decayType'): factors.PhaseShape | undefined {
    const value = this.options[name]
    if (value !== undefined && !factors.PHASE_SHAPES.includes(value))
      this.fail(`expected ${name} to be one of ${factors.PHASE_SHAPES.join(', ')} but received ${String(value)}`)
    return value
  }

  /** The fraction given by exactly one of minLr and minLrRate. */
  minimumRate(): number {
    const minLr = this.optional('minLr')
    const minLrRate = this.optional('minLrRate')
    if (minLr !== undefined && minLrRate !== undefined) this.fail('give one of minLr and minLrRate, not both')
    if (minLrRate !== undefined) return minLrRate
    if (minLr === undefined) this.fail('one of minLr and minLrRate is required')
    if (this.defaultLr === 0) this.fail('minLr needs a learning rate above 0; give minLrRate')
    return minLr / this.defaultLr
  }
}

type OptionName = keyof SchedulerOptions
type NumberOption = Exclude<OptionName, 'warmupType' | 'decayType'>

interface Rule {
  /** Options besides numWarmupSteps and numTrainingSteps, which all take; 'any' ignores whatever else is given. */
  options: readonly OptionName[] | 'any'
  build(read: OptionReader): LearningRateFactor
}

const RULES = {
  linear: { options: [], build: (read) => factors.linear(...read.steps()) },
  cosine: {
    options: ['numCycles'],
    build: (read) => factors.cosine(...read.steps(), read.optional('numCycles') ?? 0.5, 0),
  },
  cosine_with_restarts: {
    options: ['numCycles'],
    build: (read) => factors.cosineWithRestarts(...read.steps(), read.optional('numCycles') ?? 1),
  },
  polynomial: {
    options: ['lrEnd', 'power'],
    build: (read) => {
      const lrEnd = read.optional('lrEnd') ?? 1e-7
      if (!(read.defaultLr > lrEnd))
        read.fail(`expected lrEnd (${lrEnd}) to be smaller than the optimiser's learning rate (${read.defaultLr})`)
      return factors.polynomial(...read.steps(), read.defaultLr, lrEnd, read.optional('power', 0) ?? 1)
    },
  },
  constant: { options: 'any', build: () => () => 1 },
  constant_with_warmup: {
    options: 'any',
    build: (read) => factors.constantWithWarmup(read.required('numWarmupSteps')),
  },
  inverse_sqrt: {
    options: ['timescale'],
    build: (read) => {
      const w = read.required('numWarmupSteps')
      const timescale = read.optional('timescale') ?? (w || 10_000)
      if (timescale <= 0) read.fail(`expected timescale to be above 0 but received ${timescale}`)
      return factors.inverseSqrt(w, timescale)
    },
  },
  cosine_with_min_lr: {
    options: ['numCycles', 'minLr', 'minLrRate'],
    build: (read) => factors.cosine(...read.steps(), read.optional('numCycles') ?? 0.5, read.minimumRate()),
  },
  cosine_warmup_with_min_lr: {
    options: ['numCycles', 'minLr', 'minLrRate', 'warmupLrRate'],
    build: (read) => {
      const cycles = read.optional('numCycles') ?? 0.5
      return factors.cosineWarmup(...read.steps(), cycles, read.minimumRate(), read.optional('warmupLrRate'))
    },
  },
  warmup_stable_decay: {
    options: ['numDecaySteps', 'numStableSteps', 'warmupType', 'decayType', 'minLrRatio', 'numCycles'],
    build: (read) => {
      const warmup = read.required('numWarmupSteps')
      const decay = read.required('numDecaySteps')
      const total = read.optional('numTrainingSteps', 0)
      const rest = total === undefined ? undefined : total - warmup - decay
      const stable =
        read.optional('numStableSteps', 0) ??
        rest ??
        read.fail('one of numTrainingSteps and numStableSteps is required')
      return factors.warmupStableDecay({
        warmup,
        stable,
        decay,
        warmupType: read.shape('warmupType') ?? 'linear',
        decayType: read.shape('decayType') ?? 'cosine',
        minimum: read.optional('minLrRatio') ?? 0,
        cycles: read.optional('numCycles') ?? 0.5,
      })
    },
  },
} as const satisfies Record<string, Rule>

export type SchedulerName = keyof typeof RULES

/** The names that getScheduler accepts. */
export const SCHEDULER_NAMES = Object.keys(RULES) as SchedulerName[]

/**
 * Builds a schedule by its name in Transformers.
 *
 * @throws ArgumentError for an unknown name, an option that the schedule does not take, a missing one, or a wrong value.
 *   `constant` and `constant_with_warmup` ignore options that are not theirs, as in Transformers.
 */
export function getScheduler(
  name: SchedulerName,
  optimizer: ScheduledOptimizer,
  options: SchedulerOptions = {},
): Scheduler {
  if (!Object.hasOwn(RULES, name))
    throw new ArgumentError(`Expected a schedule, one of ${SCHEDULER_NAMES.join(', ')}, but received ${String(name)}`)
  if (!Array.isArray(optimizer?.paramGroups) || typeof optimizer.defaults?.lr !== 'number')
    throw new ArgumentError(`Schedule ${name}: expected an optimiser with paramGroups and defaults.lr`)
  checkObject(`Schedule ${name}`, options)
  const rule: Rule = RULES[name]
  if (rule.options !== 'any')
    checkOptionNames(`Schedule ${name}`, defined(options), ['numWarmupSteps', 'numTrainingSteps', ...rule.options])
  return new Scheduler(optimizer, rule.build(new OptionReader(name, options, optimizer.defaults.lr)))
}

/** A named schedule's options are an object, so a number in their place must not be spread into nothing. */
function getNamed(
  name: SchedulerName,
  optimizer: ScheduledOptimizer,
  required: SchedulerOptions,
  options: SchedulerOptions,
): Scheduler {
  if (typeof options !== 'object' || options === null) return getScheduler(name, optimizer, options)
  return getScheduler(name, optimizer, { ...options, ...required })
}

type Options<Name extends OptionName> = Pick<SchedulerOptions, Name>

/** The optimiser's learning rate throughout. */
export const getConstantSchedule = (optimizer: ScheduledOptimizer): Scheduler => getScheduler('constant', optimizer)

/** Rises linearly from 0, then stays. */
export const getConstantScheduleWithWarmup = (optimizer: ScheduledOptimizer, numWarmupSteps: number): Scheduler =>
  getScheduler('constant_with_warmup', optimizer, { numWarmupSteps })

/** Rises linearly from 0, then falls linearly to 0 at numTrainingSteps. */
export const getLinearScheduleWithWarmup = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
): Scheduler => getScheduler('linear', optimizer, { numWarmupSteps, numTrainingSteps })

/** Rises linearly from 0, then follows a cosine: half a wave, to 0 at numTrainingSteps, unless numCycles says otherwise. */
export const getCosineScheduleWithWarmup = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  options: Options<'numCycles'> = {},
): Scheduler => getNamed('cosine', optimizer, { numWarmupSteps, numTrainingSteps }, options)

/** Rises linearly from 0, then falls numCycles times along half a cosine, jumping back up in between. */
export const getCosineWithHardRestartsScheduleWithWarmup = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  options: Options<'numCycles'> = {},
): Scheduler => getNamed('cosine_with_restarts', optimizer, { numWarmupSteps, numTrainingSteps }, options)

/** Rises linearly from 0, then falls to lrEnd at numTrainingSteps as a polynomial. */
export const getPolynomialDecayScheduleWithWarmup = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  options: Options<'lrEnd' | 'power'> = {},
): Scheduler => getNamed('polynomial', optimizer, { numWarmupSteps, numTrainingSteps }, options)

/** Rises linearly from 0, then falls with the inverse square root of the step. */
export const getInverseSqrtSchedule = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  options: Options<'timescale'> = {},
): Scheduler => getNamed('inverse_sqrt', optimizer, { numWarmupSteps }, options)

/** Rises linearly from 0, then follows a cosine down to minLr or minLrRate, one of which is required. */
export const getCosineWithMinLrScheduleWithWarmup = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  options: Options<'numCycles' | 'minLr' | 'minLrRate'>,
): Scheduler => getNamed('cosine_with_min_lr', optimizer, { numWarmupSteps, numTrainingSteps }, options)

/** The same, but warm-up starts at warmupLrRate. */
export const getCosineWithMinLrScheduleWithWarmupLrRate = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  options: Options<'numCycles' | 'minLr' | 'minLrRate' | 'warmupLrRate'>,
): Scheduler => getNamed('cosine_warmup_with_min_lr', optimizer, { numWarmupSteps, numTrainingSteps }, options)

/** Rises, stays, and falls over the last numDecaySteps; numTrainingSteps or numStableSteps is required. */
export const getWsdSchedule = (
  optimizer: ScheduledOptimizer,
  numWarmupSteps: number,
  numDecaySteps: number,
  options: Omit<SchedulerOptions, 'numWarmupSteps' | 'numDecaySteps'>,
): Scheduler => getNamed('warmup_stable_decay', optimizer, { numWarmupSteps, numDecaySteps }, options)
