import type { BackendDescription } from '../backend/backend.ts'
import type { BackendOptions } from '../backend/open.ts'
import { ArgumentError, ConfigError, NonFiniteError, WeightsError } from '../errors.ts'
import { joinPath, makeFolder, writeText } from '../formats/files.ts'
import { matchWeights, type WeightsMatch } from '../formats/names.ts'
import { type SaveOptions, saveWeights } from '../formats/save.ts'
import { openWeights, type WeightsSource } from '../formats/weights.ts'
import { Arena } from '../graph/op-table.ts'
import type { Head, HeadConstructor, Labels, PreparedLabels } from '../heads/head.ts'
import { BertConfig, type BertConfigFields, isConfigField } from '../model/config.ts'
import { ParameterScope } from '../model/parameters.ts'
import type { Tensor } from '../tensor.ts'
import { type ModelInputs, prepareBatch, type RaggedBatch } from './batch.ts'
import { initialValues } from './initialize.ts'
import { layOut, type TensorPlace } from './layout.ts'
import { readOutputs, type StepOutputs } from './outputs.ts'
import type { StepSettings } from './plans.ts'
import { ModelRuntime } from './runtime.ts'

export interface ModelOptions extends BackendOptions {
  /** 'auto' is float32 wherever nothing faster is built in. */
  readonly dtype?: 'float32' | 'bfloat16' | 'auto'
  /** Of new weights and of dropout. */
  readonly seed?: number
}

export type FromPretrainedOptions = ModelOptions & Partial<Omit<BertConfigFields, 'dtype'>>

export interface ForwardOptions {
  readonly outputHiddenStates?: boolean
  readonly outputAttentions?: boolean
  readonly signal?: AbortSignal
}

/** What became of a folder's tensors in a load. */
export type LoadReport = Omit<WeightsMatch, 'sources'>

/** A parameter as `model.parameters()` lists it. */
export interface ParameterInfo {
  readonly name: string
  readonly shape: readonly number[]
  readonly size: number
}

export const DEFAULT_SEED = 42

function checkOptions({ dtype = 'float32', seed = DEFAULT_SEED }: ModelOptions): number {
  if (dtype !== 'float32' && dtype !== 'auto')
    throw new ArgumentError(`Expected dtype to be float32 or auto but received ${String(dtype)}`)
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32)
    throw new ArgumentError(`Expected seed to be an integer from 0 to 2^32 - 1 but received ${String(seed)}`)
  return seed
}

/**
 * A BERT model on a backend: the head inside decides what it computes; this class loads, runs, saves and disposes.
 * Every call that computes is asynchronous, runs on the backend's own threads, and waits for the calls before it.
 */
export abstract class PreTrainedModel {
  readonly config: BertConfig
  /** After fromPretrained: names that the folder lacked, had too many, or had in another shape. */
  loadReport: LoadReport | undefined
  /** @internal */
  readonly runtime: ModelRuntime
  /** @internal Steps that the optimiser has taken; part of the dropout stream. */
  optimizerSteps = 0
  /** @internal The optimiser whose moments the model's memory holds. */
  optimizer: object | undefined
  readonly #head: Head
  readonly #seed: number
  #training = true
  #stored: ReadonlySet<string> = new Set()

  protected constructor(makeHead: HeadConstructor, config: BertConfig, options: ModelOptions) {
    if (!(config instanceof BertConfig)) throw new ArgumentError('Expected a BertConfig as the first argument')
    if (config.addCrossAttention)
      throw new ConfigError(`${this.constructor.name}: add_cross_attention true is not supported yet`)
    this.#seed = checkOptions(options)
    this.config = config
    const scope = new ParameterScope()
    this.#head = new makeHead(scope, config)
    const layout = layOut(scope.parameters)
    this.runtime = new ModelRuntime(this.#head, layout, options, () => this.#initialize(layout.tensors.values()))
  }

  /** Builds a model from a folder and loads its weights; used by each class's fromPretrained. */
  protected static async load<Model extends PreTrainedModel>(
    folder: string,
    options: FromPretrainedOptions,
    make: (config: BertConfig, options: ModelOptions) => Model,
  ): Promise<Model> {
    const { backend, threads, dtype, seed, ...rest } = options
    for (const name of Object.keys(rest))
      if (!isConfigField(name)) throw new ArgumentError(`fromPretrained: there is no option or config field '${name}'`)
    const config = (await BertConfig.fromPretrained(folder)).with(rest)
    const source = await openWeights(folder)
    try {
      const model = make(config, { backend, threads, dtype, seed })
      try {
        await model.#loadFrom(source)
        return model.eval()
      } catch (error) {
        model.dispose()
        throw error
      }
    } finally {
      await source.close()
    }
  }

  /** Dropout on. */
  train(): this {
    this.#training = true
    return this
  }

  /** Dropout off. */
  eval(): this {
    this.#training = false
    return this
  }

  get training(): boolean {
    return this.#training
  }

  /** Parameters by their Hugging Face names, in the order of Transformers. */
  parameters(): ParameterInfo[] {
    return [...this.runtime.layout.tensors.values()].map(({ name, shape, elements }) => ({
      name,
      shape,
      size: elements,
    }))
  }

  /** What runs this model. Opens the backend. */
  describe(): BackendDescription {
    return this.runtime.backend.description
  }

  /** @internal Forward with everything that was asked for; the public classes give it its type. */
  protected async run(inputs: ModelInputs & { labels?: Labels }, options: ForwardOptions): Promise<StepOutputs> {
    const outputHiddenStates = options.outputHiddenStates ?? this.config.outputHiddenStates
    const outputAttentions = options.outputAttentions ?? this.config.outputAttentions
    const seesTokens = Object.values(this.#head.outputRows).includes('tokens')
    const batch = prepareBatch(inputs, this.config, !outputHiddenStates && !outputAttentions && !seesTokens)
    const labels = this.#labels(inputs.labels, batch)
    const settings = this.#settings(batch, labels, { differentiate: false, outputHiddenStates, outputAttentions })
    return this.runtime.exclusive(async () => {
      const step = await this.runtime.runStep(
        settings,
        batch,
        labels,
        this.#scalars(0, labels?.denominators),
        options.signal,
      )
      return readOutputs(this.runtime, step, batch, this.#head.outputRows, this.config.numAttentionHeads)
    })
  }

  /** Loss and its gradient by every parameter. Weights stay as they are. */
  async gradients(
    inputs: ModelInputs & { labels?: Labels },
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<{ loss: number; gradients: Map<string, Tensor> }> {
    const { tensors } = this.runtime.layout
    const { loss, result: gradients } = await this.accumulate(
      [inputs],
      options.signal,
      () => {},
      async () =>
        new Map(
          [...tensors].map(([name, place]) => [name, tensorOf(place, this.runtime.readLike(Arena.gradients, place))]),
        ),
    )
    return { loss, gradients }
  }

  /**
   * @internal Forward and backward of the micro-batches of one update, each loss term divided by its denominator over all of
   * them, between `begin` and `finish`, with nothing else running. The loss is that of the whole list.
   */
  async accumulate<Result>(
    batches: readonly (ModelInputs & { labels?: Labels })[],
    signal: AbortSignal | undefined,
    begin: () => void,
    finish: (loss: number) => Promise<Result>,
  ): Promise<{ loss: number; result: Result }> {
    if (!this.#head.prepareLabels) throw new ArgumentError(`${this.constructor.name} has no loss to differentiate`)
    if (batches.length === 0) throw new ArgumentError('Expected at least one batch but received none')
    const prepared = batches.map((inputs, i) => {
      const batch = prepareBatch(inputs, this.config, true)
      const labels = this.#labels(inputs.labels, batch)
      if (!labels) throw new ArgumentError(`Expected labels in batch ${i}: without them there is no loss`)
      // the mode of now, whatever train() or eval() is called while this waits in the queue
      return { batch, labels, settings: this.#settings(batch, labels, { differentiate: true }) }
    })
    const denominators = prepared[0].labels.denominators.map((_, term) =>
      prepared.reduce((sum, { labels }) => sum + labels.denominators[term], 0),
    )
    return this.runtime.exclusive(async () => {
      begin()
      let loss = 0
      for (const [i, { batch, labels, settings }] of prepared.entries()) {
        const step = await this.runtime.runStep(settings, batch, labels, this.#scalars(i, denominators), signal)
        loss += this.runtime.readOutput(step.loss!, 1)[0]
      }
      return { loss, result: await finish(loss) }
    })
  }

  /** @internal A NonFiniteError that names the first tensor that is not finite. */
  nonFinite(loss: number): NonFiniteError {
    const step = this.optimizerSteps + 1
    const find = (what: string, read: (place: TensorPlace) => Float32Array): string | undefined => {
      for (const place of this.runtime.layout.tensors.values())
        if (read(place).some((value) => !Number.isFinite(value))) return `${what} ${place.name}`
      return undefined
    }
    const tensor =
      find('weight', (place) => this.runtime.readTensor(place)) ??
      find('gradient of', (place) => this.runtime.readLike(Arena.gradients, place)) ??
      'loss'
    return new NonFiniteError(
      `Step ${step}: the loss is ${loss} and the first tensor that is not finite is: ${tensor}. No weight was changed`,
      step,
      tensor,
    )
  }

  /** A copy of all weights by Hugging Face name. */
  async stateDict(): Promise<Map<string, Tensor>> {
    return this.runtime.exclusive(
      async () =>
        new Map(
          [...this.runtime.layout.tensors].map(([name, place]) => [
            name,
            tensorOf(place, this.runtime.readTensor(place)),
          ]),
        ),
    )
  }

  /**
   * Copies weights in. strict (the default): names must match exactly; else missing and unexpected names are only returned. A
   * wrong shape is an ArgumentError, and then nothing has changed. A BusyError while runs are queued.
   */
  async loadStateDict(
    state: ReadonlyMap<string, Tensor<ArrayLike<number>>>,
    { strict = true }: { strict?: boolean } = {},
  ): Promise<{ missing: string[]; unexpected: string[] }> {
    this.runtime.requireIdle('loadStateDict()')
    const { tensors } = this.runtime.layout
    const missing = [...tensors.keys()].filter((name) => !state.has(name))
    const unexpected = [...state.keys()].filter((name) => !tensors.has(name))
    if (strict && (missing.length || unexpected.length))
      throw new ArgumentError(`loadStateDict: missing [${missing.join(', ')}], unexpected [${unexpected.join(', ')}]`)
    for (const [name, { data, shape }] of state) {
      const place = tensors.get(name)
      if (place && (String(shape) !== String(place.shape) || data.length !== place.elements))
        throw new ArgumentError(
          `loadStateDict: expected ${name} of shape [${place.shape}] but received [${shape}] with ${data.length} values`,
        )
    }
    await this.runtime.exclusive(async () => {
      for (const [name, { data }] of state) {
        const place = tensors.get(name)
        if (place) this.runtime.writeTensor(place, data instanceof Float32Array ? data : Float32Array.from(data))
      }
    })
    return { missing, unexpected }
  }

  /**
   * Writes config.json and model.safetensors (or shards of it, by `maxShardSize`), which Transformers' from_pretrained loads.
   * Weights that were in the folder are replaced whole or, after an error or a crash, not at all.
   */
  async savePretrained(folder: string, options: SaveOptions = {}): Promise<void> {
    await makeFolder(folder)
    const config = this.config.with({ architectures: [this.constructor.name], dtype: 'float32' })
    await this.runtime.exclusive(async () => {
      const { tensors } = this.runtime.layout
      await saveWeights(folder, this.parameters(), (name) => this.runtime.readTensorPieces(tensors.get(name)!), options)
      await writeText(joinPath(folder, 'config.json'), config.toText())
    })
  }

  /** Frees the native memory; every later call is a DisposedError. A BusyError while runs are queued. */
  dispose(): void {
    this.runtime.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #labels(labels: Labels | undefined, batch: RaggedBatch): PreparedLabels | undefined {
    if (labels === undefined || labels === null) return undefined
    if (!this.#head.prepareLabels) throw new ArgumentError(`${this.constructor.name} takes no labels`)
    return this.#head.prepareLabels(labels, batch.sequences)
  }

  #settings(
    batch: RaggedBatch,
    labels: PreparedLabels | undefined,
    options: { differentiate: boolean; outputHiddenStates?: boolean; outputAttentions?: boolean },
  ): StepSettings {
    return {
      differentiate: options.differentiate,
      training: this.#training,
      hiddenStates: !!options.outputHiddenStates,
      attentions: !!options.outputAttentions,
      keyMask: !!batch.keyMask,
      labels: labels && { kind: labels.kind, width: labels.width, integer: labels.data instanceof Int32Array },
    }
  }

  #scalars(microStep: number, denominators: readonly number[] = []) {
    return { seed: this.#seed, step: this.optimizerSteps, microStep, denominators }
  }

  async #loadFrom(source: WeightsSource): Promise<void> {
    const { tensors } = this.runtime.layout
    const { sources, ...report } = matchWeights(
      new Map([...tensors].map(([name, { shape }]) => [name, [...shape]])),
      source.tensors,
    )
    this.loadReport = report
    if (report.mismatched.length > 0) {
      const [{ name, expected, found }] = report.mismatched
      const more = report.mismatched.length > 1 ? ` (and ${report.mismatched.length - 1} more)` : ''
      throw new WeightsError(`Expected ${name} of shape [${expected}] but the folder has [${found}]${more}`)
    }
    this.#stored = new Set(sources.keys())
    await this.runtime.exclusive(async () => {
      for (const [name, place] of tensors) {
        const stored = sources.get(name)
        if (stored === undefined) continue
        for await (const { start, values } of source.pieces(stored)) this.runtime.writeTensor(place, values, start)
      }
    })
  }

  /** First weights for everything that no folder brings. */
  async #initialize(places: Iterable<TensorPlace>): Promise<void> {
    for (const place of places) {
      if (this.#stored.has(place.name)) continue
      for await (const { start, values } of initialValues(place, this.config, this.#seed))
        this.runtime.writeTensor(place, values, start)
    }
  }
}

const tensorOf = ({ shape }: TensorPlace, data: Float32Array): Tensor => ({ data, shape: [...shape] })
