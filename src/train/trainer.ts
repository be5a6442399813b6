import { AbortedError, ArgumentError } from '../errors.ts'
import type { Scheduler } from '../optim/scheduler.ts'
import { getScheduler } from '../optim/schedules.ts'
import { AdamW } from '../session/adamw.ts'
import { PreTrainedModel } from '../session/pretrained.ts'
import {
  planTraining,
  resolveTrainingArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
  type TrainingPlan,
} from './arguments.ts'
import {
  checkpointFolder,
  findCheckpoint,
  latestCheckpoint,
  openCheckpoint,
  readWeights,
  recoverCheckpoints,
  rotateCheckpoints,
  saveCheckpoint,
  stepOf,
} from './checkpoint.ts'
import { checkExamples, collate, countTokens, lengthsOf } from './dataset.ts'
import { evaluateAll, type Predictions, predictAll, speedMetrics } from './evaluation.ts'
import { type LogRecord, type TrainEvent, TrainingRun, type TrainOutput } from './events.ts'
import { epochBatches } from './sampler.ts'
import { identityOf, initialState, parseState, type RunIdentity, stringifyState, type TrainerState } from './state.ts'
import type {
  ComputeMetrics,
  Example,
  ModelBatch,
  SavableTokenizer,
  TrainableModel,
  TrainableOptimizer,
} from './types.ts'

export interface TrainerOptions {
  readonly model: TrainableModel
  readonly args?: TrainingArgumentsInput
  readonly trainDataset?: readonly Example[]
  readonly evalDataset?: readonly Example[]
  /** Written into every checkpoint. */
  readonly tokenizer?: SavableTokenizer
  readonly computeMetrics?: ComputeMetrics
  /** Instead of AdamW made from the arguments. */
  readonly optimizer?: TrainableOptimizer
  /** Stops training within a step; a checkpoint is saved, then AbortedError is thrown. */
  readonly signal?: AbortSignal
}

const OPTION_NAMES = Object.keys({
  model: true,
  args: true,
  trainDataset: true,
  evalDataset: true,
  tokenizer: true,
  computeMetrics: true,
  optimizer: true,
  signal: true,
} satisfies Record<keyof TrainerOptions, true>)

/** What one run of train() works on. */
interface Run {
  readonly examples: readonly Example[]
  readonly lengths: Uint32Array // tokens of each example
  readonly plan: TrainingPlan
  readonly identity: RunIdentity
  readonly optimizer: TrainableOptimizer
  readonly scheduler: Scheduler
  readonly state: TrainerState
  readonly firstStep: number
  readonly started: number
  savedStep: number
}

/**
 * Fine-tunes a model on ragged batches: shuffling, gradient accumulation, a schedule, evaluation, checkpoints, exact resuming.
 * Rules and defaults are those of Transformers 5.18 (trainer.py), except that accumulated gradients equal those of the full
 * batch for every head, and that a resumed run logs what an unbroken one logs.
 */
export class Trainer {
  readonly model: TrainableModel
  readonly args: TrainingArguments
  readonly #options: TrainerOptions
  readonly #work: Pick<Run, 'lengths' | 'plan'> | undefined

  /** Throws ArgumentError for arguments or data that cannot work. */
  constructor(options: TrainerOptions) {
    const unknown = Object.keys(options).find((name) => !OPTION_NAMES.includes(name))
    if (unknown !== undefined) {
      throw new ArgumentError(
        `Expected the options of Trainer to be among ${OPTION_NAMES.join(', ')} but received '${unknown}'`,
      )
    }
    this.model = options.model
    this.args = resolveTrainingArguments(options.args ?? {})
    this.#options = options
    if (options.trainDataset !== undefined) {
      checkExamples('trainDataset', options.trainDataset)
      const lengths = lengthsOf(options.trainDataset)
      this.#work = { lengths, plan: planTraining(this.args, lengths) }
    }
    if (options.evalDataset !== undefined) checkExamples('evalDataset', options.evalDataset)
    if (options.evalDataset === undefined && this.args.evalStrategy !== 'no') {
      throw new ArgumentError(
        `Expected evalDataset because evalStrategy is '${this.args.evalStrategy}' but received none`,
      )
    }
  }

  /** Trains. Iterate the result for its events or await it; see TrainingRun. */
  train(): TrainingRun {
    return new TrainingRun(this.#train())
  }

  /** Loss and metrics of `dataset` (default: evalDataset), names prefixed with eval_. */
  async evaluate(dataset = this.#options.evalDataset): Promise<LogRecord> {
    if (dataset === undefined)
      throw new ArgumentError('Expected a dataset to evaluate but neither evalDataset nor an argument was given')
    const { computeMetrics, signal } = this.#options
    return evaluateAll(this.model, dataset, { batchSize: this.args.perDeviceEvalBatchSize, computeMetrics, signal })
  }

  /** Logits of every example, in their order; labels and loss where the examples have labels. */
  async predict(dataset: readonly Example[]): Promise<Predictions> {
    checkExamples('the dataset', dataset)
    return predictAll(this.model, dataset, this.args.perDeviceEvalBatchSize, this.#options.signal)
  }

  async *#train(): AsyncGenerator<TrainEvent, TrainOutput> {
    const run = await this.#begin()
    try {
      this.model.train()
      if (this.args.evalOnStart && run.state.globalStep === 0) yield* this.#evaluate(run)
      yield* this.#owed(run)
      while (run.state.globalStep < run.plan.maxSteps) yield* this.#epoch(run)
    } catch (error) {
      if (error instanceof AbortedError) yield* this.#interrupted(run, error)
      throw error
    }
    return yield* this.#end(run)
  }

  async #begin(): Promise<Run> {
    const { args } = this
    const examples = this.#options.trainDataset
    if (examples === undefined || this.#work === undefined)
      throw new ArgumentError('Expected trainDataset but received none')
    if (examples[0].labels === undefined)
      throw new ArgumentError('Expected trainDataset to have labels but it has none')
    const { lengths, plan } = this.#work
    await recoverCheckpoints(args.outputDir)
    const optimizer = this.#options.optimizer ?? createOptimizer(this.model, args)
    const identity = identityOf(args, plan, examples.length, optimizer.defaults.lr, this.model.dtype)
    const state = await this.#resume(optimizer, identity)
    const scheduler = getScheduler(args.lrSchedulerType, optimizer, {
      numWarmupSteps: plan.warmupSteps,
      numTrainingSteps: plan.maxSteps,
      ...args.lrSchedulerKwargs,
    })
    scheduler.loadStateDict({ ...scheduler.stateDict(), lastEpoch: state.globalStep })
    const firstStep = state.globalStep
    return {
      examples,
      lengths,
      plan,
      identity,
      optimizer,
      scheduler,
      state,
      firstStep,
      started: performance.now(),
      savedStep: firstStep,
    }
  }

  async #resume(optimizer: TrainableOptimizer, identity: RunIdentity): Promise<TrainerState> {
    const { outputDir, resumeFromCheckpoint } = this.args
    if (resumeFromCheckpoint === null || resumeFromCheckpoint === false) return initialState()
    const folder = resumeFromCheckpoint === true ? await latestCheckpoint(outputDir) : resumeFromCheckpoint
    const checkpoint = await openCheckpoint(folder)
    const { state, identity: saved } = parseState(checkpoint.stateText, checkpoint.stateFile)
    for (const field of Object.keys(identity) as (keyof RunIdentity)[]) {
      if (saved[field] === identity[field]) continue
      const remedy = field === 'dtype' ? `; load the model with dtype ${saved.dtype}` : ''
      throw new ArgumentError(
        `Expected the run that is resumed from ${folder} to have the same ${field}, ${saved[field]}, but it has ${identity[field]}${remedy}`,
      )
    }
    await this.model.loadStateDict(await checkpoint.weights(), { strict: true })
    await optimizer.loadStateDict(await checkpoint.optimizer())
    return state
  }

  /** The updates of the epoch that the state stands in, from the one that is due. */
  async *#epoch(run: Run): AsyncGenerator<TrainEvent> {
    const { args } = this
    const { plan, state } = run
    const epoch = Math.floor(state.globalStep / plan.updatesPerEpoch)
    const { order, starts } = await epochBatches(args, plan, run.lengths, run.identity.dataSeed, epoch)
    for (let update = state.globalStep % plan.updatesPerEpoch; update < plan.updatesPerEpoch; update++) {
      if (state.globalStep === plan.maxSteps) return
      const microBatches: ModelBatch[] = []
      const firstBatch = update * args.gradientAccumulationSteps
      const endBatch = Math.min(firstBatch + args.gradientAccumulationSteps, plan.batchesPerEpoch)
      for (let batch = firstBatch; batch < endBatch; batch++) {
        const indices = order.subarray(starts[batch], starts[batch + 1])
        microBatches.push(collate(Array.from(indices, (index) => run.examples[index])))
      }
      yield await this.#step(run, microBatches)
      yield* this.#owed(run)
    }
  }

  async #step({ optimizer, plan, scheduler, state }: Run, microBatches: ModelBatch[]): Promise<TrainEvent> {
    const { signal } = this.#options
    if (signal?.aborted) throw new AbortedError()
    const started = performance.now()
    const learningRate = optimizer.paramGroups[0].lr
    const { gradNorm, loss } = await optimizer.step(microBatches, { maxGradNorm: this.args.maxGradNorm, signal })
    scheduler.step()
    const seconds = (performance.now() - started) / 1000
    const tokens = microBatches.reduce((sum, batch) => sum + countTokens(batch), 0)
    state.globalStep++
    state.inputTokens += tokens
    state.totalLoss += loss
    state.lossSinceLog += loss
    state.stepsSinceLog++
    state.tokensSinceLog += tokens
    state.secondsSinceLog += seconds
    state.gradNorm = gradNorm
    state.learningRate = learningRate
    const { maxSteps, updatesPerEpoch } = plan
    const step = state.globalStep
    return {
      type: 'step',
      step,
      maxSteps,
      epoch: step / updatesPerEpoch,
      loss,
      gradNorm,
      learningRate,
      tokens,
      seconds,
    }
  }

  /** Logs, evaluates and saves where that is due after the current step and not done yet. */
  async *#owed(run: Run): AsyncGenerator<TrainEvent> {
    const { args } = this
    const { plan, state } = run
    const step = state.globalStep
    if (step === 0) return
    const isDue = (strategy: string, every: number): boolean => {
      if (strategy === 'steps') return step % every === 0 || step === plan.maxSteps
      return strategy === 'epoch' && (step % plan.updatesPerEpoch === 0 || step === plan.maxSteps)
    }
    const logsFirst = args.loggingFirstStep && step === 1
    if (state.stepsSinceLog > 0 && (logsFirst || isDue(args.loggingStrategy, plan.loggingSteps))) yield this.#log(run)
    const evaluates = state.evaluatedStep !== step && isDue(args.evalStrategy, plan.evalSteps)
    const isBest = evaluates && (yield* this.#evaluate(run))
    const saves = args.saveStrategy === 'best' ? isBest : isDue(args.saveStrategy, plan.saveSteps)
    // A checkpoint of an interrupted evaluation is replaced by one that knows its result.
    if (saves && (evaluates || run.savedStep !== step)) yield await this.#save(run)
  }

  #log({ plan, state }: Run): TrainEvent {
    const step = state.globalStep
    const epoch = step / plan.updatesPerEpoch
    const logs: LogRecord = {
      loss: state.lossSinceLog / state.stepsSinceLog,
      grad_norm: state.gradNorm,
      learning_rate: state.learningRate,
      epoch,
      step,
      tokens_per_second: Math.round(state.tokensSinceLog / Math.max(state.secondsSinceLog, 1e-9)),
    }
    state.lossSinceLog = 0
    state.stepsSinceLog = 0
    state.tokensSinceLog = 0
    state.secondsSinceLog = 0
    state.logHistory.push(logs)
    return { type: 'log', step, epoch, logs }
  }

  /** Returns whether the metric is the best so far. */
  async *#evaluate({ plan, state }: Run): AsyncGenerator<TrainEvent, boolean> {
    const step = state.globalStep
    const epoch = step / plan.updatesPerEpoch
    const metrics = { ...(await this.evaluate()), epoch, step }
    this.model.train()
    state.logHistory.push(metrics)
    state.evaluatedStep = step
    const isBest = step > 0 && this.#noteBest(state, metrics)
    yield { type: 'evaluate', step, epoch, metrics, isBest }
    return isBest
  }

  #noteBest(state: TrainerState, metrics: LogRecord): boolean {
    const { greaterIsBetter, loadBestModelAtEnd, metricForBestModel, saveStrategy } = this.args
    if (metricForBestModel === null && !loadBestModelAtEnd && saveStrategy !== 'best') return false
    const metric = metricForBestModel ?? 'loss'
    const name = metric.startsWith('eval_') ? metric : `eval_${metric}`
    const value = metrics[name]
    if (value === undefined) {
      throw new ArgumentError(
        `Expected metricForBestModel to be one of ${Object.keys(metrics).join(', ')} but received '${metric}'`,
      )
    }
    const greater = greaterIsBetter ?? !metric.endsWith('loss')
    const isBest = state.bestMetric === null || (greater ? value > state.bestMetric : value < state.bestMetric)
    // NaN is never better than a number, and any number is better than NaN.
    if (Number.isNaN(value) || !isBest) return false
    state.bestMetric = value
    state.bestGlobalStep = state.globalStep
    return true
  }

  async #save(run: Run, saveOnlyModel = this.args.saveOnlyModel): Promise<TrainEvent> {
    const { model } = this
    const { outputDir, saveTotalLimit } = this.args
    const { plan, state } = run
    const step = state.globalStep
    const { tokenizer } = this.#options
    const bestBefore = state.bestModelCheckpoint
    const checkpoint = checkpointFolder(outputDir, step)
    if (state.bestGlobalStep === step) state.bestModelCheckpoint = checkpoint
    try {
      await saveCheckpoint(checkpoint, {
        model,
        tokenizer,
        optimizer: saveOnlyModel ? undefined : run.optimizer,
        state: stringifyState(state, run.identity, this.args, plan),
      })
    } catch (error) {
      state.bestModelCheckpoint = bestBefore
      throw error
    }
    run.savedStep = step
    if (saveTotalLimit !== null)
      await rotateCheckpoints(outputDir, saveTotalLimit, checkpoint, state.bestModelCheckpoint)
    return { type: 'save', step, epoch: step / plan.updatesPerEpoch, checkpoint }
  }

  async *#interrupted(run: Run, cause: AbortedError): AsyncGenerator<TrainEvent, never> {
    const step = run.state.globalStep
    // Whoever stops a run means to continue it: also with saveOnlyModel this checkpoint is a whole one.
    const isWhole = run.savedStep === step && (!this.args.saveOnlyModel || step === run.firstStep)
    if (!isWhole) yield await this.#save(run, false)
    const where =
      step === 0
        ? 'before the first step'
        : `after step ${step}; ${checkpointFolder(this.args.outputDir, step)} can be resumed`
    const error = new AbortedError(`Training was aborted by its signal ${where}`)
    error.cause = cause
    throw error
  }

  async *#end(run: Run): AsyncGenerator<TrainEvent, TrainOutput> {
    const { plan, state } = run
    const step = state.globalStep
    const epoch = step / plan.updatesPerEpoch
    const seconds = (performance.now() - run.started) / 1000
    const steps = step - run.firstStep
    const trainingLoss = step === 0 ? 0 : state.totalLoss / step
    const samples = Math.round((steps / plan.updatesPerEpoch) * run.examples.length)
    const metrics = { ...speedMetrics('train', seconds, samples, steps), train_loss: trainingLoss, epoch, step }
    state.logHistory.push(metrics)
    let restoredStep: number | null = null
    if (this.args.loadBestModelAtEnd && state.bestModelCheckpoint !== null) {
      const folder = await findCheckpoint(state.bestModelCheckpoint, this.args.outputDir)
      if (folder !== null) {
        await this.model.loadStateDict(await readWeights(folder), { strict: true })
        restoredStep = stepOf(folder)
      } else {
        const message = `The best checkpoint, ${state.bestModelCheckpoint}, is gone; the model keeps the weights of the last step`
        yield { type: 'warning', step, message }
      }
    }
    const { bestGlobalStep, bestMetric, bestModelCheckpoint, logHistory } = state
    const best = { bestGlobalStep, bestMetric, bestModelCheckpoint }
    const output: TrainOutput = { globalStep: step, trainingLoss, metrics, logHistory, restoredStep, ...best }
    yield { type: 'end', step, epoch, output }
    return output
  }
}

/** AdamW with the arguments' settings; biases and LayerNorm do not decay (Transformers' trainer.py, create_optimizer). */
function createOptimizer(model: TrainableModel, args: TrainingArguments): TrainableOptimizer {
  if (!(model instanceof PreTrainedModel)) {
    throw new ArgumentError('Expected a model of bertkit, or an optimizer of your own, but received neither')
  }
  return new AdamW(model, {
    lr: args.learningRate,
    betas: [args.adamBeta1, args.adamBeta2],
    eps: args.adamEpsilon,
    weightDecay: args.weightDecay,
  })
}
