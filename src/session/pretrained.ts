import type { BackendDescription } from '../backend/backend.ts'
import { ArgumentError, type NonFiniteError } from '../errors.ts'
import type { ModelFiles } from '../formats/model-files.ts'
import type { WeightsMatch } from '../formats/names.ts'
import { openModelFiles, type PretrainedSource } from '../formats/pretrained-source.ts'
import { type FileSink, type FilesToSave, type SaveOptions, saveFiles } from '../formats/save-files.ts'
import { openWeights, type WeightsSource } from '../formats/weights.ts'
import { Arena } from '../graph/op-table.ts'
import type { Head, HeadConstructor } from '../heads/head.ts'
import { BertConfig } from '../model/config.ts'
import { checkOrder } from '../model/labels.ts'
import { matchingNames, type Parameter, ParameterScope } from '../model/parameters.ts'
import { checkOptionNames } from '../options.ts'
import type { Tensor } from '../tensor.ts'
import { firstValues } from './initialize.ts'
import { refuseInt8 } from './int8-weights.ts'
import { isTrainable, layOut, type TensorPlace } from './layout.ts'
import { loadTensors, matchTensors } from './load-tensors.ts'
import { denominatorsOf, type Reproduction } from './masks.ts'
import { nonFiniteError } from './non-finite.ts'
import {
  checkCall,
  checkForward,
  checkModelOptions,
  checkSmoothing,
  type ForwardOptions,
  type FromPretrainedOptions,
  type LoadReport,
  type LoadSettings,
  type LossOptions,
  type ModelOptions,
  type ParameterInfo,
  refuseGenerationConfig,
  splitLoadOptions,
} from './options.ts'
import { readOutputs } from './outputs.ts'
import { type PreparedStep, prepareSteps, type StepInputs, type Wanted } from './prepare.ts'
import type { Accumulation } from './runs.ts'
import { ModelRuntime } from './runtime.ts'
import { checkNumbers, compareNames, mapOf, piecesOf, tensorsAt, valuesOf } from './state-dict.ts'
import { resizedTables } from './word-tables.ts'

/**
 * A BERT model on a backend: the head inside decides what it computes; this class loads, runs, saves and disposes.
 * Every call that computes is asynchronous, runs on the backend's own threads, and waits for the calls before it.
 */
export abstract class PreTrainedModel<Inputs extends StepInputs = StepInputs, Output = unknown> {
  /** What the class computes; one file of src/heads. */
  static readonly head: HeadConstructor
  /** Its name in config.json, which a minifier leaves alone, and a class derived from it has too. */
  static readonly architecture: string
  readonly config: BertConfig
  /** After fromPretrained: names that the folder lacked, had too many, or had in another shape. */
  loadReport: LoadReport | undefined
  /** @internal */
  readonly runtime: ModelRuntime
  /** @internal Steps that the optimiser has taken; part of the dropout stream. */
  optimizerSteps = 0
  /** @internal Steps that each parameter has taken, for its bias correction. */
  readonly parameterSteps = new Map<string, number>()
  /** @internal Weights have been set by `loadStateDict`. */
  weightsGiven = false
  /** @internal The optimiser whose moments the model's memory holds. */
  optimizer: object | undefined
  readonly #head: Head
  readonly #seed: number
  readonly #parameters: readonly Parameter[]
  readonly #frozen = new Set<string>()
  #training = true
  #checkpointing = false
  #stored: ReadonlySet<string> = new Set()

  /** Transformers' name of the class. */
  get architecture(): string {
    return (this.constructor as typeof PreTrainedModel).architecture
  }

  /** Notes what is wanted; weights are made at the first awaited call. A ConfigError names a field that cannot be built. */
  constructor(config: BertConfig, options: ModelOptions = {}) {
    if (!(config instanceof BertConfig)) throw new ArgumentError('Expected a BertConfig as the first argument')
    this.#seed = checkModelOptions(options)
    this.config = config
    const scope = new ParameterScope()
    this.#head = new new.target.head(scope, config)
    this.#parameters = scope.parameters
    const layout = layOut(scope.parameters, options.dtype === 'int8')
    this.runtime = new ModelRuntime(this.#head, config.hiddenSize, layout, options, () =>
      this.#initialize(layout.tensors.values()),
    )
  }

  /**
   * Loads a Hugging Face folder, or a model of the Hub by its id (see `HubOptions`), of a URL, or of given files, of this class or of
   * another one: names with or without `bert.` are found, and what is not there is new (see `loadReport`). Of a stream, a tensor goes
   * to its place as it comes. Throws ConfigError, WeightsError, FileError, HubError, DownloadError or AbortedError.
   */
  static async fromPretrained<Model extends PreTrainedModel>(
    this: ModelClass<Model>,
    from: PretrainedSource | ModelFiles,
    options: FromPretrainedOptions = {},
  ): Promise<Model> {
    const settings = splitLoadOptions(options)
    const files = await openModelFiles(from, 'model', settings.hub)
    const stored = await BertConfig.fromPretrained(files)
    const model = new this(stored.with(settings.config), settings.model)
    try {
      await model.readGenerationConfig(files, settings)
      await model.runtime.openBackend() // what cannot run is found out before weights are fetched
      const source = await openWeights(files)
      try {
        await model.loadFrom(source, files.where, settings, stored)
        return model.eval()
      } finally {
        await source.close()
      }
    } catch (error) {
      model.dispose()
      throw error
    }
  }

  /** Dropout on: its masks follow from the seed and the updates so far, so a second forward before the next update has the same. */
  train(): this {
    this.#training = true
    return this
  }

  /** Dropout off. */
  eval(): this {
    this.#training = false
    return this
  }

  /** Of new weights and of dropout. */
  get seed(): number {
    return this.#seed
  }

  get training(): boolean {
    return this.#training
  }

  /** Layers keep only their input for the backward and are computed again there: less memory, the same bits, a third more time. */
  gradientCheckpointingEnable(): this {
    this.#checkpointing = true
    return this
  }

  gradientCheckpointingDisable(): this {
    this.#checkpointing = false
    return this
  }

  /** Parameters by their Hugging Face names, in the order of Transformers. */
  parameters(): ParameterInfo[] {
    const places = [...this.runtime.layout.tensors.values()].filter(({ buffer }) => !buffer)
    return places.map((place) => ({
      name: place.name,
      shape: place.shape,
      size: place.elements,
      trainable: isTrainable(place),
    }))
  }

  /**
   * Leaves the parameters whose names match out of training: no gradient, no moments and no memory for them. A string is a regular
   * expression. An ArgumentError when no name matches, a BusyError while runs are queued.
   */
  freeze(pattern: RegExp | string): this {
    return this.#setFrozen(pattern, true)
  }

  /** The opposite of `freeze`; without a pattern, of every parameter. Their moments start at zero. */
  unfreeze(pattern: RegExp | string = ''): this {
    return this.#setFrozen(pattern, false)
  }

  #setFrozen(pattern: RegExp | string, frozen: boolean): this {
    this.runtime.requireIdle(frozen ? 'freeze()' : 'unfreeze()')
    const names = this.parameters().map(({ name }) => name)
    for (const name of matchingNames(pattern, names)) {
      if (!frozen) this.#frozen.delete(name)
      else if (this.#frozen.add(name)) this.parameterSteps.delete(name) // its moments go
    }
    this.runtime.relayout(layOut(this.#parameters, this.runtime.int8, (name) => this.#frozen.has(name)))
    return this
  }

  /** What it computes in: see `ModelOptions`. A BackendError for 'auto' before the first awaited call, at which the backend opens. */
  get dtype(): 'float32' | 'bfloat16' | 'int8' {
    return this.runtime.int8 ? 'int8' : this.runtime.dtype
  }

  /** What runs this model. Opens the backend. */
  async describe(): Promise<BackendDescription> {
    return (await this.runtime.openBackend()).description
  }

  /** All outputs of the class; the loss is null without labels. Rows of ragged input come one after another. */
  async forward(inputs: Inputs, options: ForwardOptions = {}): Promise<Output> {
    checkForward(options)
    const { labelledOnly = false, labelSmoothing = 0 } = options
    const { outputHiddenStates: hiddenStates = this.config.outputHiddenStates } = options
    const { outputAttentions: attentions = this.config.outputAttentions } = options
    const [{ settings, ...step }] = this.#prepare([inputs], {
      differentiate: false,
      hiddenStates,
      attentions,
      labelledOnly,
    })
    const { outputRows } = this.#head
    return this.runtime.exclusive(async () => {
      const scalars = { ...this.#scalars(0, step.labels?.denominators), labelSmoothing }
      const { step: recorded } = await this.runtime.runStep(settings, step, scalars, { signal: options.signal })
      const { loss, tensors, ...seen } = await readOutputs(
        this.runtime,
        recorded,
        step.batch,
        settings.compact ? step.indices.tokenLabels!.length : undefined,
        outputRows,
        this.config.numAttentionHeads,
      )
      const hasLoss = this.#head.labelNames.length > 0
      return { ...(hasLoss ? { loss } : {}), ...tensors, ...seen } as Output
    }, options.signal)
  }

  /** Loss and its gradient by every parameter that it depends on. Weights stay as they are. */
  async gradients(
    inputs: Inputs,
    options: LossOptions = {},
  ): Promise<{ loss: number; gradients: Map<string, Tensor> }> {
    checkCall('gradients', options, ['labelSmoothing', 'signal'])
    const { tensors } = this.runtime.layout
    const { loss, result: gradients } = await this.accumulate([inputs], options, {
      finish: async ({ written }) => {
        const places = [...tensors.values()].filter(isTrainable).filter(({ owner }) => written.has(owner))
        return tensorsAt(places, (place) => this.runtime.readLike(Arena.gradients, place))
      },
    })
    return { loss, gradients }
  }

  /**
   * @internal Forward and backward of the micro-batches of one update, each loss term divided by its denominator over all of
   * them, with nothing else running. The loss is that of the whole list. `reproduction`: the masks and denominators of another program.
   */
  async accumulate<Result>(
    batches: readonly StepInputs[],
    { labelSmoothing = 0, signal }: LossOptions,
    { begin, update, finish }: Accumulation<Result>,
    reproduction: Reproduction = {},
  ): Promise<{ loss: number; result: Result }> {
    refuseInt8(this.runtime.int8, 'A gradient')
    const { labelNames } = this.#head
    if (labelNames.length === 0) throw new ArgumentError(`${this.constructor.name} has no loss to differentiate`)
    if (batches.length === 0) throw new ArgumentError('Expected at least one batch but received none')
    checkSmoothing(labelSmoothing)
    // with the mode of now, whatever train() or eval() is called while this waits in the queue
    const { masks } = reproduction
    const steps = this.#prepare(batches, { differentiate: true, givenMasks: !!masks })
    const prepared = steps.map(({ labels, ...step }, i) => {
      if (!labels)
        throw new ArgumentError(`Expected ${labelNames.join(' and ')} in batch ${i}: without them there is no loss`)
      return { ...step, labels }
    })
    const own = prepared.map(({ labels }) => labels.denominators)
    const denominators = denominatorsOf(own, reproduction)
    return this.runtime.exclusive(async () => {
      begin?.()
      let loss = 0
      let norm: number | undefined
      const written = new Set<number>()
      for (const [i, { settings, ...step }] of prepared.entries()) {
        const scalars = { ...this.#scalars(i, denominators[i]), labelSmoothing }
        const isLast = i === prepared.length - 1
        const updating =
          update && isLast ? (last: ReadonlySet<number>) => update(new Set([...written, ...last])) : undefined
        const ran = await this.runtime.runStep(settings, step, scalars, { signal, masks, update: updating })
        for (const offset of ran.step.written) written.add(offset)
        loss += (await this.runtime.readOutput(ran.step.loss!, 1))[0]
        norm = ran.norm
        // the run that updates sees its own loss, not those before it
        if (update && !Number.isFinite(loss)) break
      }
      return { loss, result: await finish({ loss, norm, written }) }
    }, signal)
  }

  /** @internal A NonFiniteError that names the first tensor that is not finite. */
  nonFinite(loss: number): Promise<NonFiniteError> {
    return nonFiniteError(this.runtime, this.optimizerSteps + 1, loss)
  }

  /** A copy of all weights, and of what is stored with them, by Hugging Face name. */
  async stateDict(): Promise<Map<string, Tensor>> {
    const places = [...this.runtime.layout.tensors.values()]
    return this.runtime.exclusive(() => tensorsAt(places, (place) => this.runtime.readTensor(place)))
  }

  /**
   * Copies weights in. strict (the default): names must match exactly; else missing and unexpected names are only returned. A
   * wrong shape is an ArgumentError, and then nothing has changed. A BusyError while runs are queued.
   */
  async loadStateDict(
    state: ReadonlyMap<string, Tensor<ArrayLike<number>>>,
    { strict = true }: { strict?: boolean } = {},
  ): Promise<{ missing: string[]; unexpected: string[] }> {
    const given = mapOf(state)
    this.runtime.requireIdle('loadStateDict()')
    const { tensors } = this.runtime.layout
    const { missing, unexpected } = compareNames(given, tensors, strict)
    const places = [...tensors.values()].filter(({ name }) => given.has(name))
    const loads = places.map((place) => ({ place, values: valuesOf(given, place.name, place.shape) }))
    await this.runtime.exclusive(async () => {
      for (const { place, values } of loads) await checkNumbers(place.name, values)
      this.weightsGiven = true
      for (const { place, values } of loads) await this.runtime.writePieces(place, piecesOf(values))
      await this.runtime.settle()
    })
    return { missing, unexpected }
  }

  /**
   * Writes config.json and model.safetensors (or shards of it, by `maxShardSize`), which Transformers' from_pretrained loads: into a
   * folder, whose weights are replaced whole or, after an error or a crash, not at all; or into a sink, as streams. Without a target
   * the files are returned as Blobs.
   */
  async savePretrained(target: string | FileSink, options?: SaveOptions): Promise<void>
  async savePretrained(target?: undefined, options?: SaveOptions): Promise<Record<string, Blob>>
  async savePretrained(target?: string | FileSink, options: SaveOptions = {}): Promise<unknown> {
    checkOptionNames('savePretrained', options, ['maxShardSize'])
    refuseInt8(this.runtime.int8, 'savePretrained')
    const config = this.config.with({ architectures: [this.architecture], dtype: 'float32' })
    return this.runtime.exclusive(async () => {
      const { tensors } = this.runtime.layout
      const data = (name: string) => this.runtime.readTensorPieces(tensors.get(name)!)
      const weights = { tensors: [...tensors.values()], data, maxShardSize: options.maxShardSize }
      return saveFiles(target, { weights, texts: [['config.json', config.toText()], ...this.texts()] })
    })
  }

  /** @internal Takes what the files or the caller say of generation, which only a class that generates has a use for. */
  async readGenerationConfig(_files: ModelFiles, settings: LoadSettings): Promise<void> {
    refuseGenerationConfig(settings, this.architecture)
  }

  /** @internal What a class has to save besides. */
  texts(): FilesToSave['texts'] {
    return []
  }

  /** Frees the native memory; every later call is a DisposedError. A BusyError while runs are queued. */
  dispose(): void {
    this.runtime.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #prepare(list: readonly StepInputs[], wanted: Wanted): PreparedStep[] {
    return prepareSteps(this.#head, this.config, this.constructor.name, list, {
      ...wanted,
      training: this.#training,
      checkpointing: this.#checkpointing,
    })
  }

  #scalars(microStep: number, denominators: readonly number[] = []) {
    return { seed: this.#seed, step: this.optimizerSteps, microStep, denominators, labelSmoothing: 0 }
  }

  /** @internal What stored tensors are to this model. */
  matchFolder(source: WeightsSource): WeightsMatch {
    return matchTensors(this.runtime.layout, source, this.#head.aliases)
  }

  /** @internal Takes weights by their names, those of a model of the config `stored`; what is missing stays to be made. */
  async loadFrom(source: WeightsSource, where: string, settings: LoadSettings, stored: BertConfig): Promise<void> {
    const match = this.matchFolder(source)
    const tables = resizedTables(match, settings, stored)
    const mismatched = match.mismatched.filter(({ name }) => !tables.has(name))
    const { missing, sources, unexpected } = match
    if (sources.has('classifier.weight')) checkOrder(stored.labels, this.config.labels, where)
    this.loadReport = { missing, unexpected, mismatched }
    this.#stored = new Set([...sources.keys(), ...tables.keys()])
    await loadTensors(this.runtime, source, where, { ...match, mismatched }, tables, settings)
  }

  /** First weights for everything that no folder brings. */
  async #initialize(places: Iterable<TensorPlace>): Promise<void> {
    const fresh = [...places].filter(({ name }) => !this.#stored.has(name))
    for (const [place, values] of firstValues(fresh, this.config, this.#seed, this.loadReport !== undefined))
      await this.runtime.writePieces(place, values)
  }
}

/** A class that can be constructed: what `fromPretrained` is called on. */
export type ModelClass<Model> = new (config: BertConfig, options?: ModelOptions) => Model
