import { ArgumentError } from '../errors.ts'
import { roundUp } from '../graph/graph.ts'
import { Arena } from '../graph/op-table.ts'
import { quote } from '../json.ts'
import type { UpdateRange } from '../ops/optimizer.ts'
import { defaultParamGroups, type ParamGroup } from '../optim/param-groups.ts'
import { checkOptionNames } from '../options.ts'
import { isTensor, type Tensor } from '../tensor.ts'
import { slices } from '../turns.ts'
import { refuseInt8 } from './int8-weights.ts'
import { isTrainable } from './layout.ts'
import type { Reproduction } from './masks.ts'
import { checkCall, type LossOptions } from './options.ts'
import type { StepInputs } from './prepare.ts'
import { PreTrainedModel } from './pretrained.ts'
import type { Accumulation } from './runs.ts'
import { checkNumbers, mapOf, valuesOf } from './state-dict.ts'

export interface AdamWOptions {
  /** 1e-3 */
  readonly lr?: number
  /** [0.9, 0.999] */
  readonly betas?: readonly [number, number]
  /** 1e-8 */
  readonly eps?: number
  /** 0.01; biases and LayerNorm never decay */
  readonly weightDecay?: number
  /**
   * true: the decay is taken from the weights, whatever the gradient (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
   * 2019). false: Adam with an L2 term, weightDecay * w added to the clipped gradient before the moments, PyTorch's torch.optim.Adam,
   * whose option decoupled_weight_decay has this name.
   */
  readonly decoupledWeightDecay?: boolean
}

export interface StepOptions extends LossOptions {
  /** Gradients are scaled down to this global norm; 0 (the default): never. */
  readonly maxGradNorm?: number
}

/** The parameter groups as they are at the call of a step. */
interface Groups {
  /** By the names of parameters. */
  readonly of: ReadonlyMap<string, number>
  readonly rates: readonly { readonly lr: number; readonly weightDecay: number }[]
}

/** Where AdamW's state lies, and how its tensors' names end. */
const MOMENTS = [
  { arena: Arena.expAvg, suffix: 'exp_avg' },
  { arena: Arena.expAvgSq, suffix: 'exp_avg_sq' },
] as const

const MAX_GROUPS = 64
/** No rate, decay or epsilon is anywhere near the largest; float32 still computes with it. */
const RATES = { least: 0, most: 1e15, text: 'from 0 to 1e15' } as const
const isRate = (value: unknown): value is number =>
  typeof value === 'number' && value >= RATES.least && value <= RATES.most

function resolveAdamWOptions(options: AdamWOptions) {
  checkOptionNames('AdamW', options, ['lr', 'betas', 'eps', 'weightDecay', 'decoupledWeightDecay'])
  const { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, decoupledWeightDecay = true } = options
  const check = (name: string, value: unknown, valid: boolean, expected: string) => {
    if (!valid) throw new ArgumentError(`AdamW: expected ${name} ${expected} but received ${quote(value)}`)
  }
  for (const [name, value] of Object.entries({ lr, eps, weightDecay })) check(name, value, isRate(value), RATES.text)
  check('decoupledWeightDecay', decoupledWeightDecay, typeof decoupledWeightDecay === 'boolean', 'true or false')
  check('betas', betas, Array.isArray(betas) && betas.length === 2, 'of two numbers')
  for (const [i, beta] of betas.entries())
    check(`betas[${i}]`, beta, typeof beta === 'number' && beta >= 0 && beta < 1, 'from 0 to below 1')
  return { lr, betas, eps, weightDecay, decoupledWeightDecay }
}

/**
 * AdamW with decoupled weight decay and bias correction, PyTorch's torch.optim.AdamW, fused into one sweep over the model's flat
 * buffers. `paramGroups` may be changed between steps: each names parameters, and has its own lr and weightDecay.
 */
export class AdamW {
  readonly defaults: Readonly<Required<AdamWOptions>>
  readonly paramGroups: ParamGroup[]
  readonly #model: PreTrainedModel
  #used = false

  constructor(model: PreTrainedModel, options: AdamWOptions = {}) {
    if (!(model instanceof PreTrainedModel)) throw new ArgumentError('AdamW: expected a model as the first argument')
    refuseInt8(model.runtime.int8, 'AdamW')
    this.defaults = resolveAdamWOptions(options)
    this.#model = model
    this.paramGroups = defaultParamGroups(
      model.parameters().map(({ name }) => name),
      this.defaults,
    )
  }

  /**
   * One update from one batch or from several micro-batches, whose gradients add up to that of the whole. Returns the loss over all
   * of them and the gradient norm before clipping. A NonFiniteError or AbortedError leaves weights and state as they were.
   */
  async step(
    batches: StepInputs | readonly StepInputs[],
    options: StepOptions = {},
  ): Promise<{ loss: number; gradNorm: number }> {
    return this.stepReproducing(batches, options, {})
  }

  /** @internal `step` with the dropout masks and the denominators of another program, for the Trainer's `parity`. */
  async stepReproducing(
    batches: StepInputs | readonly StepInputs[],
    stepOptions: StepOptions,
    reproduction: Reproduction,
  ): Promise<{ loss: number; gradNorm: number }> {
    checkCall('step', stepOptions, ['maxGradNorm', 'labelSmoothing', 'signal'])
    const { maxGradNorm = 0, ...options } = stepOptions
    if (!Number.isFinite(maxGradNorm) || maxGradNorm < 0)
      throw new ArgumentError(`Expected maxGradNorm of at least 0 but received ${maxGradNorm}`)
    const model = this.#model
    const list = Array.isArray(batches) ? Array.from(batches) : [batches as StepInputs]
    // with the rates of now, whatever they are changed to while this waits in the queue
    const groups = this.#groups()
    if (model.runtime.layout.gradientBytes === 0) throw new ArgumentError('Every parameter is frozen: nothing to train')
    const { betas, eps, decoupledWeightDecay } = this.defaults
    let updated: readonly string[] = []
    const accumulation: Accumulation<number> = {
      begin: () => this.#takeOver(),
      update: (written) => {
        const { ranges, scalars, names } = this.#update(groups, written)
        updated = names
        return { ranges, scalars: { maxGradNorm, betas, eps, decoupledWeightDecay, groups: scalars } }
      },
      finish: async ({ loss, norm = Number.NaN }) => {
        if (!Number.isFinite(loss) || !Number.isFinite(norm)) throw await model.nonFinite(loss)
        model.optimizerSteps++
        for (const name of updated) model.parameterSteps.set(name, (model.parameterSteps.get(name) ?? 0) + 1)
        return norm
      },
    }
    const { loss, result: gradNorm } = await model.accumulate(list, options, accumulation, reproduction)
    return { loss, gradNorm }
  }

  /** The update computes in float32, with the learning rate in float32 too. */
  roundLr(lr: number): number {
    return Math.fround(lr)
  }

  /**
   * `<parameter>.exp_avg`, `<parameter>.exp_avg_sq` and `step`, as copies; also `<parameter>.step` of one that has taken fewer steps,
   * because it was frozen or had no gradient.
   */
  async stateDict(): Promise<Map<string, Tensor>> {
    const { runtime } = this.#model
    const due = slices()
    return runtime.exclusive(async () => {
      if (this.#used) this.#takeOver()
      const steps = this.#used ? this.#model.optimizerSteps : 0
      const state = new Map<string, Tensor>([['step', { data: Float32Array.of(steps), shape: [] }]])
      for (const [name, place] of runtime.layout.tensors) {
        if (!isTrainable(place)) continue
        for (const { arena, suffix } of MOMENTS) {
          const data = steps === 0 ? new Float32Array(place.elements) : await runtime.readLike(arena, place)
          state.set(`${name}.${suffix}`, { data, shape: [...place.shape] })
        }
        const own = steps === 0 ? 0 : (this.#model.parameterSteps.get(name) ?? 0)
        if (own !== steps) state.set(`${name}.step`, { data: Float32Array.of(own), shape: [] })
        await due()
      }
      return state
    })
  }

  /** Continues from a saved state; an ArgumentError names the first tensor that is missing or has another shape. */
  async loadStateDict(state: ReadonlyMap<string, Tensor<ArrayLike<number>>>): Promise<void> {
    const { runtime } = this.#model
    const given = mapOf(state)
    runtime.requireIdle('loadStateDict()')
    const count = (name: string): number => {
      const tensor = given.get(name)
      const steps: unknown = isTensor(tensor) ? tensor.data[0] : undefined
      if (typeof steps !== 'number' || !Number.isInteger(steps) || steps < 0)
        throw new ArgumentError(
          `loadStateDict: expected ${name}, an integer of at least 0, but received ${quote(steps)}`,
        )
      return steps
    }
    const step = count('step')
    const trainable = [...runtime.layout.tensors.values()].filter(isTrainable)
    const loads = trainable.flatMap((place) =>
      MOMENTS.map(({ arena, suffix }) => {
        const name = `${place.name}.${suffix}`
        return { arena, place, name, values: valuesOf(given, name, place.shape) }
      }),
    )
    const steps = new Map(trainable.map(({ name }) => [name, given.has(`${name}.step`) ? count(`${name}.step`) : step]))
    await runtime.exclusive(async () => {
      for (const { name, values } of loads) await checkNumbers(name, values)
      this.#takeOver()
      for (const { arena, place, values } of loads) await runtime.writeMoment(arena, place, values)
      await runtime.settle()
      this.#model.optimizerSteps = step
      for (const [name, own] of steps) this.#model.parameterSteps.set(name, own)
    })
  }

  /** The moments in the model's memory become this optimiser's: zero at first, and lost to the one before. */
  #takeOver(): void {
    const model = this.#model
    if (model.optimizer === this) return
    if (this.#used) throw new ArgumentError('Another AdamW has taken over this model: its state is gone')
    if (model.optimizer) model.runtime.clearMoments()
    model.optimizerSteps = 0
    model.parameterSteps.clear()
    model.optimizer = this
    this.#used = true
  }

  /** The group of each parameter, and the rates of each group; an ArgumentError names what is wrong with a group. */
  #groups(): Groups {
    if (this.paramGroups.length > MAX_GROUPS)
      throw new ArgumentError(`Expected at most ${MAX_GROUPS} parameter groups but received ${this.paramGroups.length}`)
    const groupOf = new Map<string, number>()
    const rates = this.paramGroups.map((group, g) => {
      if (!Array.isArray(group?.params))
        throw new ArgumentError(
          `Expected paramGroups[${g}] to have params, a list of names, but received ${quote(group)}`,
        )
      const { params, lr, weightDecay } = group
      for (const [name, value] of [['lr', lr] as const, ['weightDecay', weightDecay] as const])
        if (!isRate(value))
          throw new ArgumentError(`Expected paramGroups[${g}].${name} ${RATES.text} but received ${value}`)
      for (const name of params) {
        const place = this.#model.runtime.layout.tensors.get(name)
        if (!place || place.buffer)
          throw new ArgumentError(`paramGroups[${g}] names ${name}, which is no parameter of the model`)
        if (groupOf.has(name))
          throw new ArgumentError(`paramGroups[${g}] names ${name}, which is in group ${groupOf.get(name)} too`)
        groupOf.set(name, g)
      }
      return { lr, weightDecay }
    })
    return { of: groupOf, rates }
  }

  /**
   * The stretches of the flat buffers, and the scalars of each: neighbours of one parameter group that have taken the same number of
   * steps are one. A parameter without a gradient is left alone, as PyTorch leaves one whose grad is None.
   */
  #update({ of: groupOf, rates }: Groups, written: ReadonlySet<number>) {
    const { runtime, parameterSteps } = this.#model
    const places = [...runtime.layout.tensors.values()]
      .filter(isTrainable)
      .filter(({ owner, name }) => written.has(owner) && groupOf.has(name))
      .sort((a, b) => a.weights - b.weights)
    const scalars: { lr: number; weightDecay: number; steps: number }[] = []
    const scalarsOf = new Map<string, number>()
    const ranges: UpdateRange[] = []
    for (const { name, weights, gradients, elements } of places) {
      const steps = (parameterSteps.get(name) ?? 0) + 1
      const key = `${groupOf.get(name)} ${steps}`
      const { lr, weightDecay } = rates[groupOf.get(name)!]
      const group = scalarsOf.get(key) ?? scalars.push({ lr: this.roundLr(lr), weightDecay, steps }) - 1
      scalarsOf.set(key, group)
      const last = ranges.at(-1)
      // what lies between two parameters is zero, and AdamW leaves it so
      const gap = last ? weights - last.weights : 0
      const follows =
        last && (gap === last.length * 4 || last.weights + gap === roundUp(last.weights + last.length * 4))
      if (last && follows && last.group === group && gradients - last.gradients === gap)
        ranges[ranges.length - 1] = { ...last, length: gap / 4 + elements }
      else ranges.push({ weights, gradients, length: elements, group })
    }
    if (scalars.length > MAX_GROUPS)
      throw new ArgumentError(
        `Expected at most ${MAX_GROUPS} combinations of parameter group and steps taken but received ${scalars.length}`,
      )
    return { ranges, scalars, names: places.map(({ name }) => name) }
  }
}
