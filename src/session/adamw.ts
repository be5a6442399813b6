import { ArgumentError } from '../errors.ts'
import { roundUp } from '../graph/graph.ts'
import { Arena } from '../graph/op-table.ts'
import { elementsOf } from '../model/parameters.ts'
import type { UpdateRange } from '../ops/optimizer.ts'
import { defaultParamGroups, type ParamGroup } from '../optim/param-groups.ts'
import type { Tensor } from '../tensor.ts'
import { isTrainable } from './layout.ts'
import type { StepInputs } from './prepare.ts'
import { type LossOptions, PreTrainedModel } from './pretrained.ts'

export interface AdamWOptions {
  /** 1e-3 */
  readonly lr?: number
  /** [0.9, 0.999] */
  readonly betas?: readonly [number, number]
  /** 1e-8 */
  readonly eps?: number
  /** 0.01; biases and LayerNorm never decay */
  readonly weightDecay?: number
}

export interface StepOptions extends LossOptions {
  /** Gradients are scaled down to this global norm; 0 (the default): never. */
  readonly maxGradNorm?: number
}

const MAX_GROUPS = 64

function checkOptions({ lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 }: AdamWOptions) {
  const check = (name: string, value: number, valid: boolean, expected: string) => {
    if (!valid) throw new ArgumentError(`AdamW: expected ${name} ${expected} but received ${value}`)
  }
  const atLeastZero = (value: number) => Number.isFinite(value) && value >= 0
  check('lr', lr, atLeastZero(lr), 'of at least 0')
  check('eps', eps, atLeastZero(eps), 'of at least 0')
  check('weightDecay', weightDecay, atLeastZero(weightDecay), 'of at least 0')
  if (betas.length !== 2) throw new ArgumentError(`AdamW: expected two betas but received ${betas.length}`)
  for (const [i, beta] of betas.entries()) check(`betas[${i}]`, beta, beta >= 0 && beta < 1, 'from 0 to below 1')
  return { lr, betas, eps, weightDecay }
}

/**
 * AdamW with decoupled weight decay and bias correction, PyTorch's torch.optim.AdamW, fused into one sweep over the model's flat
 * buffers. `paramGroups` may be changed between steps: each names parameters, and has its own lr and weightDecay.
 */
export class AdamW {
  readonly defaults: Readonly<{ lr: number; betas: readonly [number, number]; eps: number; weightDecay: number }>
  readonly paramGroups: ParamGroup[]
  readonly #model: PreTrainedModel
  #used = false

  constructor(model: PreTrainedModel, options: AdamWOptions = {}) {
    if (!(model instanceof PreTrainedModel)) throw new ArgumentError('AdamW: expected a model as the first argument')
    this.defaults = checkOptions(options)
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
    { maxGradNorm = 0, ...options }: StepOptions = {},
  ): Promise<{ loss: number; gradNorm: number }> {
    if (!Number.isFinite(maxGradNorm) || maxGradNorm < 0)
      throw new ArgumentError(`Expected maxGradNorm of at least 0 but received ${maxGradNorm}`)
    const model = this.#model
    const list = Array.isArray(batches) ? batches : [batches as StepInputs]
    const groupOf = this.#groups()
    if (model.runtime.layout.gradientBytes === 0) throw new ArgumentError('Every parameter is frozen: nothing to train')
    const groups = this.paramGroups.map(({ lr, weightDecay }) => ({ lr: this.roundLr(lr), weightDecay }))
    const { loss, result } = await model.accumulate(
      list,
      options,
      () => this.#takeOver(),
      async (value, written) => {
        if (!Number.isFinite(value)) throw model.nonFinite(value)
        const { betas, eps } = this.defaults
        const norm = await model.runtime.runUpdate(this.#ranges(groupOf, written), {
          maxGradNorm,
          betas,
          eps,
          step: model.optimizerSteps + 1,
          groups,
        })
        if (!Number.isFinite(norm)) throw model.nonFinite(value)
        model.optimizerSteps++
        return norm
      },
    )
    return { loss, gradNorm: result }
  }

  /** The update computes in float32, with the learning rate in float32 too. */
  roundLr(lr: number): number {
    return Math.fround(lr)
  }

  /** `<parameter>.exp_avg`, `<parameter>.exp_avg_sq` and `step`, as copies. */
  async stateDict(): Promise<Map<string, Tensor>> {
    const { runtime } = this.#model
    return runtime.exclusive(async () => {
      if (this.#used) this.#takeOver()
      const steps = this.#used ? this.#model.optimizerSteps : 0
      const state = new Map<string, Tensor>([['step', { data: Float32Array.of(steps), shape: [] }]])
      for (const [name, place] of runtime.layout.tensors) {
        if (!isTrainable(place)) continue
        const moment = (arena: Arena): Tensor => {
          const data = steps === 0 ? new Float32Array(place.elements) : runtime.readLike(arena, place)
          return { data, shape: [...place.shape] }
        }
        state.set(`${name}.exp_avg`, moment(Arena.expAvg))
        state.set(`${name}.exp_avg_sq`, moment(Arena.expAvgSq))
      }
      return state
    })
  }

  /** Continues from a saved state; an ArgumentError names the first tensor that is missing or has another shape. */
  async loadStateDict(state: ReadonlyMap<string, Tensor<ArrayLike<number>>>): Promise<void> {
    const { runtime } = this.#model
    runtime.requireIdle('loadStateDict()')
    const step = state.get('step')?.data[0]
    if (step === undefined || !Number.isInteger(step) || step < 0)
      throw new ArgumentError(`Expected step, an integer of at least 0, in the optimizer's state but received ${step}`)
    const find = (name: string, shape: readonly number[]) => {
      const tensor = state.get(name)
      if (!tensor || String(tensor.shape) !== String(shape) || tensor.data.length !== elementsOf(shape))
        throw new ArgumentError(
          `Expected ${name} of shape [${shape}] in the optimizer's state but found ${tensor ? `[${tensor.shape}]` : 'none'}`,
        )
      return tensor.data instanceof Float32Array ? tensor.data : Float32Array.from(tensor.data)
    }
    const trainable = [...runtime.layout.tensors.values()].filter(isTrainable)
    for (const { name, shape } of trainable)
      for (const moment of ['exp_avg', 'exp_avg_sq']) find(`${name}.${moment}`, shape)
    await runtime.exclusive(async () => {
      this.#takeOver()
      for (const place of trainable) {
        runtime.writeLike(Arena.expAvg, place, find(`${place.name}.exp_avg`, place.shape))
        runtime.writeLike(Arena.expAvgSq, place, find(`${place.name}.exp_avg_sq`, place.shape))
      }
      this.#model.optimizerSteps = step
    })
  }

  /** The moments in the model's memory become this optimiser's: zero at first, and lost to the one before. */
  #takeOver(): void {
    const model = this.#model
    if (model.optimizer === this) return
    if (this.#used) throw new ArgumentError('Another AdamW has taken over this model: its state is gone')
    if (model.optimizer) model.runtime.clearMoments()
    model.optimizerSteps = 0
    model.optimizer = this
    this.#used = true
  }

  /** The group of each parameter; an ArgumentError names what is wrong with a group. */
  #groups(): Map<string, number> {
    if (this.paramGroups.length > MAX_GROUPS)
      throw new ArgumentError(`Expected at most ${MAX_GROUPS} parameter groups but received ${this.paramGroups.length}`)
    const groupOf = new Map<string, number>()
    for (const [g, { params, lr, weightDecay }] of this.paramGroups.entries()) {
      for (const [name, value] of [['lr', lr] as const, ['weightDecay', weightDecay] as const])
        if (!Number.isFinite(value) || value < 0)
          throw new ArgumentError(`Expected paramGroups[${g}].${name} of at least 0 but received ${value}`)
      for (const name of params) {
        const place = this.#model.runtime.layout.tensors.get(name)
        if (!place || place.buffer)
          throw new ArgumentError(`paramGroups[${g}] names ${name}, which is no parameter of the model`)
        if (groupOf.has(name))
          throw new ArgumentError(`paramGroups[${g}] names ${name}, which is in group ${groupOf.get(name)} too`)
        groupOf.set(name, g)
      }
    }
    return groupOf
  }

  /**
   * The stretches of the flat buffers that each group owns: neighbours of the same group become one. A parameter without a gradient
   * is left alone, as PyTorch leaves one whose grad is None.
   */
  #ranges(groupOf: ReadonlyMap<string, number>, written: ReadonlySet<number>): UpdateRange[] {
    const places = [...this.#model.runtime.layout.tensors.values()]
      .filter(isTrainable)
      .filter(({ owner }) => written.has(owner))
      .sort((a, b) => a.weights - b.weights)
    const ranges: UpdateRange[] = []
    for (const { name, weights, gradients, elements } of places) {
      const group = groupOf.get(name)
      if (group === undefined) continue
      const last = ranges.at(-1)
      // what lies between two parameters is zero, and AdamW leaves it so
      const gap = last ? weights - last.weights : 0
      const follows =
        last && (gap === last.length * 4 || last.weights + gap === roundUp(last.weights + last.length * 4))
      if (last && follows && last.group === group && gradients - last.gradients === gap)
        ranges[ranges.length - 1] = { ...last, length: gap / 4 + elements }
      else ranges.push({ weights, gradients, length: elements, group })
    }
    return ranges
  }
}
