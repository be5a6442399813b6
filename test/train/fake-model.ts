// A model small enough to follow by hand: logits are sums of one row of W per token. It and its optimiser behave as the
// Trainer expects of the real ones: asynchronous, abortable, a failed step changes nothing.
import { join } from 'node:path'
import { AbortedError } from '../../src/errors.ts'
import { readTensors, writeTensors } from '../../src/train/tensors.ts'
import type { Example, ModelBatch, StateDict, TrainableModel, TrainableOptimizer } from '../../src/train/types.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** What a loss is divided by: as the real ones do, no label makes it 0. */
const countLabels = (labels: readonly number[]): number => Math.max(labels.filter((label) => label !== -100).length, 1)

export class FakeModel implements TrainableModel {
  weights: Float32Array
  training = false
  /** Called before each forward pass and each step with the running number of such calls. */
  beforeWork: (call: number) => void = () => {}
  #calls = 0

  constructor(
    readonly vocabulary = 7,
    readonly labels = 3,
  ) {
    this.weights = Float32Array.from({ length: vocabulary * labels }, (_, i) => Math.sin(i + 1) / 10)
  }

  train(): this {
    this.training = true
    return this
  }

  eval(): this {
    this.training = false
    return this
  }

  async work(signal?: AbortSignal): Promise<void> {
    this.beforeWork(this.#calls++)
    await turn()
    if (signal?.aborted) throw new AbortedError()
  }

  logitsOf(ids: number[]): number[] {
    return Array.from({ length: this.labels }, (_, k) =>
      ids.reduce((sum, id) => sum + this.weights[id * this.labels + k], 0),
    )
  }

  /** Loss of one sequence and the gradient of its logits. */
  lossOf(logits: number[], label: number): { loss: number; gradient: number[] } {
    if (label === -100) return { loss: 0, gradient: logits.map(() => 0) }
    const total = logits.reduce((sum, z) => sum + Math.exp(z), 0)
    const gradient = logits.map((z, k) => Math.exp(z) / total - (k === label ? 1 : 0))
    return { loss: Math.log(total) - logits[label], gradient }
  }

  async forward(batch: ModelBatch, { signal }: { signal?: AbortSignal } = {}) {
    await this.work(signal)
    const rows = (batch.inputIds as number[][]).map((ids) => this.logitsOf(ids))
    const labels = batch.labels as number[] | undefined
    const loss =
      labels === undefined
        ? null
        : rows.reduce((sum, row, i) => sum + this.lossOf(row, labels[i]).loss, 0) / countLabels(labels)
    return { loss, logits: { data: Float32Array.from(rows.flat()), shape: [rows.length, this.labels] } }
  }

  async stateDict(): Promise<StateDict> {
    return new Map([['weight', { data: this.weights.slice(), shape: [this.vocabulary, this.labels] }]])
  }

  async loadStateDict(state: StateDict): Promise<void> {
    this.weights = state.get('weight')!.data.slice()
  }

  async savePretrained(folder: string): Promise<void> {
    await writeTensors(join(folder, 'model.safetensors'), await this.stateDict())
  }

  static async read(folder: string): Promise<FakeModel> {
    const model = new FakeModel()
    await model.loadStateDict(await readTensors(join(folder, 'model.safetensors')))
    return model
  }
}

/** Gradient descent with momentum; its step count enters the update, as dropout does in the real one. */
export class FakeOptimizer implements TrainableOptimizer {
  readonly defaults: { lr: number }
  readonly paramGroups: { lr: number }[]
  readonly seen: ModelBatch[][] = []
  readonly rates: number[] = []
  momentum: Float32Array
  steps = 0

  constructor(
    readonly model: FakeModel,
    lr = 0.1,
  ) {
    this.defaults = { lr }
    this.paramGroups = [{ lr }]
    this.momentum = new Float32Array(model.weights.length)
  }

  async step(batches: ModelBatch[], { signal }: { maxGradNorm?: number; signal?: AbortSignal } = {}) {
    if (!this.model.training) throw new Error('A step in evaluation mode')
    await this.model.work(signal)
    this.seen.push(batches)
    this.rates.push(this.paramGroups[0].lr)
    const gradient = new Float64Array(this.model.weights.length)
    const count = countLabels(batches.flatMap((batch) => batch.labels as number[]))
    let loss = 0
    for (const batch of batches) {
      for (const [row, ids] of (batch.inputIds as number[][]).entries()) {
        const one = this.model.lossOf(this.model.logitsOf(ids), (batch.labels as number[])[row])
        loss += one.loss / count
        for (const id of ids) {
          for (const [k, g] of one.gradient.entries()) gradient[id * this.model.labels + k] += g / count
        }
      }
    }
    this.steps++
    for (let i = 0; i < gradient.length; i++) {
      this.momentum[i] = 0.9 * this.momentum[i] + gradient[i] * (1 + 0.01 * Math.sin(this.steps))
      this.model.weights[i] -= this.paramGroups[0].lr * this.momentum[i]
    }
    return { loss, gradNorm: Math.hypot(...gradient) }
  }

  async stateDict(): Promise<StateDict> {
    const { labels, vocabulary } = this.model
    return new Map([
      ['weight.exp_avg', { data: this.momentum.slice(), shape: [vocabulary, labels] }],
      ['step', { data: Float32Array.of(this.steps), shape: [] }],
    ])
  }

  async loadStateDict(state: StateDict): Promise<void> {
    this.momentum = state.get('weight.exp_avg')!.data.slice()
    this.steps = state.get('step')!.data[0]
  }
}

/** `count` sequences of 1 to 4 tokens; the label follows from the tokens. */
export function fakeExamples(count: number, model = new FakeModel()): (Example & { inputIds: number[] })[] {
  return Array.from({ length: count }, (_, i) => {
    const inputIds = Array.from({ length: 1 + (i % 4) }, (_, j) => (i * 5 + j * 3) % model.vocabulary)
    return { inputIds, tokenTypeIds: inputIds.map(() => 0), labels: inputIds[0] % model.labels }
  })
}
