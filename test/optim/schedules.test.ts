import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { ArgumentError } from '../../src/errors.ts'
import * as optim from '../../src/optim/schedules.ts'

const { getScheduler } = optim
type Options = optim.SchedulerOptions

const optimizer = (...rates: number[]) => ({ paramGroups: rates.map((lr) => ({ lr })), defaults: { lr: rates[0] } })

const rates = (scheduler: ReturnType<typeof getScheduler>, count: number): number[] =>
  Array.from({ length: count }, () => {
    const [rate] = scheduler.getLastLr()
    scheduler.step()
    return rate
  })

// Thousandths, from Transformers 5.18 and torch 2.13:
//   optimizer = torch.optim.SGD([parameter], lr=1e-3)
//   s = get_scheduler(name, optimizer, num_warmup_steps, num_training_steps, scheduler_specific_kwargs)
//   for _ in range(13): print(1e3 * optimizer.param_groups[0]["lr"]); optimizer.step(); s.step()
const TABLES: [optim.SchedulerName, Options, number[]][] = [
  [
    'linear',
    { numWarmupSteps: 3, numTrainingSteps: 10 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.857142857142857, 0.714285714285714, 0.571428571428571,
      0.428571428571429, 0.285714285714286, 0.142857142857143, 0.0, 0.0, 0.0,
    ],
  ],
  [
    'linear',
    { numWarmupSteps: 0, numTrainingSteps: 4 },
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
  ],
  [
    'cosine',
    { numWarmupSteps: 3, numTrainingSteps: 10 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.95048443395121, 0.811744900929367, 0.611260466978157,
      0.388739533021843, 0.188255099070633, 0.0495155660487905, 0.0, 0.0495155660487904, 0.188255099070633,
    ],
  ],
  [
    'cosine_with_restarts',
    { numWarmupSteps: 3, numTrainingSteps: 10, numCycles: 2 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.811744900929367, 0.388739533021843, 0.0495155660487905,
      0.95048443395121, 0.611260466978157, 0.188255099070633, 0.0, 0.0, 0.0,
    ],
  ],
  [
    'polynomial',
    { numWarmupSteps: 3, numTrainingSteps: 10 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.857157142857143, 0.714314285714286, 0.571471428571429,
      0.428628571428571, 0.285785714285714, 0.142942857142857, 0.0001, 0.0001, 0.0001,
    ],
  ],
  [
    'polynomial',
    { numWarmupSteps: 3, numTrainingSteps: 10, power: 2.0, lrEnd: 1e-5 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.73734693877551, 0.515102040816327, 0.333265306122449,
      0.191836734693878, 0.0908163265306122, 0.0302040816326531, 0.01, 0.01, 0.01,
    ],
  ],
  ['constant', {}, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]],
  [
    'constant_with_warmup',
    { numWarmupSteps: 3 },
    [0.0, 0.333333333333333, 0.666666666666667, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
  ],
  [
    'inverse_sqrt',
    { numWarmupSteps: 0 },
    [
      1.0, 0.999950003749688, 0.999900014997501, 0.999850033741565, 0.999800059980007, 0.999750093710955,
      0.999700134932536, 0.999650183642878, 0.999600239840112, 0.999550303522367, 0.999500374687773, 0.999450453334462,
      0.999400539460566,
    ],
  ],
  [
    'inverse_sqrt',
    { numWarmupSteps: 3, timescale: 13 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.963624111659432, 0.930949336251263, 0.901387818865997,
      0.874474632195206, 0.849836585598797, 0.827170191868511, 0.806225774829855, 0.786795792469443, 0.768706114785807,
    ],
  ],
  [
    'cosine_with_min_lr',
    { numWarmupSteps: 3, numTrainingSteps: 10, minLr: 0.0001 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 0.955435990556089, 0.83057041083643, 0.650134420280342,
      0.449865579719659, 0.26942958916357, 0.144564009443911, 0.1, 0.144564009443911, 0.26942958916357,
    ],
  ],
  [
    'cosine_warmup_with_min_lr',
    { numWarmupSteps: 3, numTrainingSteps: 10, minLrRate: 0.1 },
    [
      0.333333333333333, 0.666666666666667, 1.0, 0.955435990556089, 0.83057041083643, 0.650134420280342,
      0.449865579719659, 0.26942958916357, 0.144564009443911, 0.1, 0.144564009443911, 0.26942958916357,
      0.449865579719658,
    ],
  ],
  [
    'cosine_warmup_with_min_lr',
    { numWarmupSteps: 3, numTrainingSteps: 10, minLrRate: 0.1, warmupLrRate: 0.25 },
    [
      0.25, 0.625, 1.0, 0.955435990556089, 0.83057041083643, 0.650134420280342, 0.449865579719659, 0.26942958916357,
      0.144564009443911, 0.1, 0.144564009443911, 0.26942958916357, 0.449865579719658,
    ],
  ],
  [
    'warmup_stable_decay',
    { numWarmupSteps: 3, numDecaySteps: 4, numStableSteps: 2 },
    [
      0.0, 0.333333333333333, 0.666666666666667, 1.0, 1.0, 1.0, 0.853553390593274, 0.5, 0.146446609406726, 0.0, 0.0,
      0.0, 0.0,
    ],
  ],
  [
    'warmup_stable_decay',
    {
      numWarmupSteps: 3,
      numTrainingSteps: 10,
      numDecaySteps: 5,
      warmupType: '1-sqrt',
      decayType: 'linear',
      minLrRatio: 0.1,
    },
    [0.1, 0.265153077165047, 0.480384757729337, 1.0, 1.0, 1.0, 0.82, 0.64, 0.46, 0.28, 0.1, 0.1, 0.1],
  ],
  [
    'warmup_stable_decay',
    { numWarmupSteps: 3, numTrainingSteps: 10, numDecaySteps: 5, warmupType: 'cosine', decayType: '1-sqrt' },
    [
      0.0, 0.25, 0.75, 1.0, 1.0, 1.0, 0.552786404500042, 0.367544467966324, 0.225403330758517, 0.105572809000084, 0.0,
      0.0, 0.0,
    ],
  ],
]

describe('getScheduler', () => {
  it.each(TABLES)('%s %j gives the rates of Transformers', (name, options, want) => {
    const got = rates(getScheduler(name, optimizer(1e-3), options), want.length)
    got.forEach((rate, t) => {
      expect(Math.abs(rate - 1e-3 * want[t]), `step ${t}`).toBeLessThan(1e-15)
    })
  })

  it('scales every group by its own rate, from construction on', () => {
    const both = optimizer(1e-3, 4e-3)
    const scheduler = getScheduler('linear', both, { numWarmupSteps: 2, numTrainingSteps: 6 })
    expect(both.paramGroups.map((group) => group.lr)).toEqual([0, 0])
    scheduler.step()
    expect(both.paramGroups.map((group) => group.lr)).toEqual([5e-4, 2e-3])
    expect(scheduler.getLastLr()).toEqual([5e-4, 2e-3])
  })

  it("measures polynomial's end by the optimiser's default rate, not the group's", () => {
    const both = optimizer(1e-3, 4e-3)
    const scheduler = getScheduler('polynomial', both, { numWarmupSteps: 0, numTrainingSteps: 1, lrEnd: 1e-4 })
    scheduler.step()
    expect(scheduler.getLastLr()[1]).toBeCloseTo(4e-4, 15)
  })

  it('lets polynomial end at lrEnd when warm-up fills the run', () => {
    const scheduler = getScheduler('polynomial', optimizer(1e-3), { numWarmupSteps: 2, numTrainingSteps: 2 })
    const got = rates(scheduler, 4)
    for (const [t, want] of [0, 5e-4, 1e-7, 1e-7].entries()) expect(got[t]).toBeCloseTo(want, 15)
  })

  it('bases a second scheduler on the rate before the first one, as LambdaLR does', () => {
    const one = optimizer(1e-3)
    getScheduler('linear', one, { numWarmupSteps: 5, numTrainingSteps: 10 })
    expect(getScheduler('constant', one).getLastLr()).toEqual([1e-3])
  })

  const run = { numWarmupSteps: 2, numTrainingSteps: 9 }
  const rejected: [string, string, unknown, RegExp][] = [
    ['an unknown name', 'linera', run, /one of linear, cosine, .* but received linera/],
    ['a name of Object', 'toString', run, /received toString/],
    ['a schedule driven by metrics', 'reduce_lr_on_plateau', run, /received reduce_lr_on_plateau/],
    ['an unknown option', 'linear', { ...run, numCycles: 1 }, /no option 'numCycles'; there are numWarmupSteps, /],
    ['an option of another schedule', 'cosine', { ...run, power: 2 }, /no option 'power'/],
    ['options that are no object', 'cosine', 0.5, /options to be an object but received a number/],
    ['no warm-up steps', 'constant_with_warmup', {}, /numWarmupSteps is required/],
    ['null warm-up steps', 'linear', { numWarmupSteps: null, numTrainingSteps: 9 }, /numWarmupSteps is required/],
    ['no training steps', 'cosine', { numWarmupSteps: 2 }, /numTrainingSteps is required/],
    ['negative steps', 'linear', { numWarmupSteps: -1, numTrainingSteps: 9 }, /numWarmupSteps .* >= 0 .* received -1/],
    ['a text as number', 'linear', { numWarmupSteps: 2, numTrainingSteps: '9' }, /finite number >= 0 .* "9"/],
    ['NaN', 'cosine', { ...run, numCycles: Number.NaN }, /numCycles/],
    ['lrEnd above the rate', 'polynomial', { ...run, lrEnd: 2e-3 }, /lrEnd \(0.002\) to be smaller .* \(0.001\)/],
    ['timescale 0', 'inverse_sqrt', { numWarmupSteps: 2, timescale: 0 }, /timescale to be above 0/],
    ['no minimum', 'cosine_with_min_lr', run, /one of minLr and minLrRate is required/],
    ['two minima', 'cosine_warmup_with_min_lr', { ...run, minLr: 0, minLrRate: 0 }, /not both/],
    ['no decay steps', 'warmup_stable_decay', run, /numDecaySteps is required/],
    ['no end', 'warmup_stable_decay', { numWarmupSteps: 1, numDecaySteps: 2 }, /numTrainingSteps and numStableSteps/],
    ['an unknown shape', 'warmup_stable_decay', { ...run, numDecaySteps: 2, decayType: 'sqrt' }, /decayType .* 1-sqrt/],
  ]
  it.each(rejected)('rejects %s (%s)', (_, name, options, message) => {
    const one = optimizer(1e-3)
    const call = () => getScheduler(name as optim.SchedulerName, one, options as Options)
    expect(call).toThrow(ArgumentError)
    expect(call).toThrow(message)
    expect(one.paramGroups[0].lr).toBe(1e-3)
  })

  it('rejects what is no optimiser and what is no learning rate', () => {
    const bare = {} as Parameters<typeof getScheduler>[1]
    expect(() => getScheduler('constant', bare)).toThrow(/paramGroups and defaults.lr/)
    expect(() => getScheduler('constant', optimizer(1e-3, Number.NaN))).toThrow(/paramGroups\[1\] but received NaN/)
  })

  it.each(['constant', 'constant_with_warmup'] as const)('%s ignores options that are not its own', (name) => {
    const plain = getScheduler(name, optimizer(1e-3), run).getLastLr()
    expect(getScheduler(name, optimizer(1e-3), { ...run, power: 3, minLr: 1 }).getLastLr()).toEqual(plain)
  })
})

describe('Scheduler', () => {
  const options = { numWarmupSteps: 3, numTrainingSteps: 10 }

  it('continues from its state after a trip through JSON', () => {
    const first = getScheduler('cosine', optimizer(1e-3, 2e-3), options)
    for (let t = 0; t < 5; t++) first.step()
    const target = optimizer(7, 8)
    const second = getScheduler('cosine', target, options)
    second.loadStateDict(JSON.parse(JSON.stringify(first.stateDict())))
    expect(target.paramGroups.map((group) => group.lr)).toEqual(first.getLastLr())
    expect(rates(second, 8)).toEqual(rates(first, 8))
  })

  it('hands out copies of its state', () => {
    const scheduler = getScheduler('constant', optimizer(1e-3))
    scheduler.stateDict().baseLrs[0] = 5
    scheduler.getLastLr()[0] = 5
    expect(scheduler.getLastLr()).toEqual([1e-3])
  })

  it.each([
    [null, /lastEpoch/],
    [{ lastEpoch: -1, baseLrs: [1] }, /received -1/],
    [{ lastEpoch: 1.5, baseLrs: [1] }, /received 1.5/],
    [{ lastEpoch: 1 }, /baseLrs of 1 learning rates/],
    [{ lastEpoch: 1, baseLrs: [1, 2] }, /baseLrs of 1 learning rates but received \[1,2\]/],
    [{ lastEpoch: 1, baseLrs: ['1'] }, /baseLrs/],
  ])('rejects the state %j and keeps its own', (state, message) => {
    const scheduler = getScheduler('constant', optimizer(1e-3))
    expect(() => scheduler.loadStateDict(state as never)).toThrow(message)
    expect(scheduler.stateDict()).toEqual({ lastEpoch: 0, baseLrs: [1e-3] })
  })
})

describe('named schedules', () => {
  const one = () => optimizer(1e-3)
  const run = { numWarmupSteps: 3, numTrainingSteps: 10 }
  const same: [string, ReturnType<typeof getScheduler>, optim.SchedulerName, Options][] = [
    ['getConstantSchedule', optim.getConstantSchedule(one()), 'constant', {}],
    ['getConstantScheduleWithWarmup', optim.getConstantScheduleWithWarmup(one(), 3), 'constant_with_warmup', run],
    ['getLinearScheduleWithWarmup', optim.getLinearScheduleWithWarmup(one(), 3, 10), 'linear', run],
    ['getCosineScheduleWithWarmup', optim.getCosineScheduleWithWarmup(one(), 3, 10), 'cosine', run],
    [
      'getCosineWithHardRestartsScheduleWithWarmup',
      optim.getCosineWithHardRestartsScheduleWithWarmup(one(), 3, 10, { numCycles: 2 }),
      'cosine_with_restarts',
      { ...run, numCycles: 2 },
    ],
    [
      'getPolynomialDecayScheduleWithWarmup',
      optim.getPolynomialDecayScheduleWithWarmup(one(), 3, 10, { power: 2 }),
      'polynomial',
      { ...run, power: 2 },
    ],
    ['getInverseSqrtSchedule', optim.getInverseSqrtSchedule(one(), 3), 'inverse_sqrt', run],
    [
      'getCosineWithMinLrScheduleWithWarmup',
      optim.getCosineWithMinLrScheduleWithWarmup(one(), 3, 10, { minLr: 1e-4 }),
      'cosine_with_min_lr',
      { ...run, minLr: 1e-4 },
    ],
    [
      'getCosineWithMinLrScheduleWithWarmupLrRate',
      optim.getCosineWithMinLrScheduleWithWarmupLrRate(one(), 3, 10, { minLrRate: 0.1, warmupLrRate: 0.3 }),
      'cosine_warmup_with_min_lr',
      { ...run, minLrRate: 0.1, warmupLrRate: 0.3 },
    ],
    [
      'getWsdSchedule',
      optim.getWsdSchedule(one(), 3, 4, { numTrainingSteps: 10 }),
      'warmup_stable_decay',
      { ...run, numDecaySteps: 4 },
    ],
  ]
  it.each(same)('%s is its schedule by name', (_, scheduler, name, options) => {
    expect(rates(scheduler, 12)).toEqual(rates(getScheduler(name, one(), options), 12))
  })

  it('rejects a number where options are expected', () => {
    expect(() => optim.getCosineScheduleWithWarmup(one(), 3, 10, 0.5 as never)).toThrow(/options to be an object/)
  })
})

const reference = path.join(process.env.BERTKIT_REFERENCE_DIR ?? '', 'golden/cases/schedules.json')
const missing = !process.env.BERTKIT_REFERENCE_DIR || !existsSync(reference)

describe.skipIf(missing)(
  `tables of the reference folder${missing ? ' (skipped: BERTKIT_REFERENCE_DIR is not set)' : ''}`,
  () => {
    interface Table {
      name: optim.SchedulerName
      kwargs: Record<string, unknown>
      num_warmup_steps: number
      num_training_steps: number
      base_lr: number
      lrs?: number[]
      error?: string
    }
    const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
    const tables: Table[] = missing ? [] : JSON.parse(readFileSync(reference, 'utf8'))

    it('hold to 1e-12 of the base rate, and rejections are rejections', () => {
      expect(tables.length).toBeGreaterThan(0)
      for (const table of tables) {
        const kwargs = Object.fromEntries(Object.entries(table.kwargs).map(([name, value]) => [camel(name), value]))
        const options = {
          numWarmupSteps: table.num_warmup_steps,
          numTrainingSteps: table.num_training_steps,
          ...kwargs,
        }
        const build = () => getScheduler(table.name, optimizer(table.base_lr), options)
        const title = `${table.name} ${JSON.stringify(options)}`
        if (table.error) {
          expect(build, title).toThrow(ArgumentError)
          continue
        }
        const got = rates(build(), table.lrs!.length)
        const worst = Math.max(...got.map((rate, t) => Math.abs(rate - table.lrs![t]) / table.base_lr))
        expect(worst, title).toBeLessThan(1e-12)
      }
    })
  },
)
