import { AbortedError, ArgumentError, NonFiniteError } from '../errors.ts'
import { unlessAborted } from '../turns.ts'
import type { TrainingArguments } from './argument-rules.ts'
import { resolveTrainingArguments, type TrainingArgumentsInput } from './arguments.ts'
import { endWithBest, noteBest } from './best-model.ts'
import {
  type CallbackContext,
  type CallbackEvent,
  closeAll,
  initialControl,
  statesOf,
  type TrainerCallback,
} from './callbacks.ts'
import { checkpointFolder, foreignCheckpoints, prepareOutput, rotateCheckpoints, saveCheckpoint } from './checkpoint.ts'
import { countBatches } from './dataset.ts'
import { evaluateAll, type Predictions, predictAll } from './evaluation.ts'
import { type LogRecord, type TrainEvent, TrainingRun, type TrainOutput } from './events.ts'
import { createOptimizer, createScheduler, prepareModel } from './optimizer.ts'
import { Parity } from './parity/parity.ts'
import { resumeState } from './resume.ts'
import {
  contextOf,
  foreignWarning,
  inStep,
  metricsOf,
  OneRun,
  outcomeOf,
  type Run,
  rescuedError,
  resumption,
  TrainingAborted,
  warningOf,
} from './run.ts'
import { endBatches, prefetched, TrainingSource, takeBatches } from './source.ts'
import { addStep, identityOf, positionOf, stringifyState, takeLog } from './state.ts'
import {
  argumentsOfRun,
  callbacksOf,
  checkTrainerOptions,
  checkTraining,
  type Dataset,
  examplesOf,
  type OpenDataset,
  openChecked,
  openDataset,
  openEvaluation,
  refuseMore,
  type TrainerOptions,
} from './trainer-options.ts'
import { dueAfter, epochAt, planTraining, type TrainingPlan } from './training-plan.ts'
import type { ModelBatch, TrainableModel } from './types.ts'

export type { TrainerOptions } from './trainer-options.ts'

/**
 * Fine-tunes a model on ragged batches: shuffling, gradient accumulation, a schedule, evaluation, checkpoints, exact resuming.
 * Rules and defaults are those of Transformers 5.18 (trainer.py), except that accumulated gradients equal those of the full
 * batch for every head, and that a resumed run logs what an unbroken one logs.
 */
export class Trainer {
  readonly model: TrainableModel
  readonly args: TrainingArguments
  readonly #options: TrainerOptions
  readonly #train: { readonly source: TrainingSource; readonly plan: TrainingPlan } | undefined
  readonly #eval: OpenDataset | undefined
  readonly #callbacks: readonly TrainerCallback[]
  readonly #runs = new OneRun()

  /** Throws ArgumentError for arguments or data that cannot work. */
  constructor(options: TrainerOptions) {
    checkTrainerOptions(options)
    this.model = options.model
    this.args = resolveTrainingArguments(options.args ?? {})
    this.#options = options
    this.#callbacks = callbacksOf(options.callbacks, this.args)
    const { trainDataset } = options
    if (trainDataset !== undefined) {
      const opened = openChecked('trainDataset', trainDataset, options.dataCollator)
      checkTraining(opened, this.args)
      const source = new TrainingSource(opened)
      this.#train = { source, plan: planTraining(this.args, source.size) }
    }
    this.#eval = openEvaluation(options, this.args)
  }

  /**
   * Trains; `resumeFromCheckpoint` in place of the argument of that name. Iterate the result for its events or await it; see
   * TrainingRun. A BusyError while another run of this Trainer is under way.
   */
  train(options?: Pick<TrainingArgumentsInput, 'resumeFromCheckpoint'>): TrainingRun {
    const args = argumentsOfRun(this.args, options)
    return new TrainingRun(this.#runs.alone(() => this.#events(args)))
  }

  /** Loss and metrics of `dataset` (default: evalDataset), names prefixed with eval_. */
  async evaluate(dataset?: Dataset, ...more: never[]): Promise<LogRecord> {
    refuseMore('evaluate', more)
    const opened = dataset === undefined ? this.#eval : this.#open('evalDataset', dataset)
    if (opened === undefined)
      throw new ArgumentError('Expected a dataset to evaluate but neither evalDataset nor an argument was given')
    const { computeMetrics } = this.#options
    const lossOnly = this.args.predictionLossOnly
    return evaluateAll(this.model, examplesOf(opened), {
      ...this.#evaluationSettings(opened),
      computeMetrics: lossOnly ? undefined : computeMetrics,
      evaluation: lossOnly ? undefined : opened.evaluation?.(),
    })
  }

  /** Outputs of every example, in their order; labels and loss where the examples have labels. */
  async predict(dataset: Dataset, ...more: never[]): Promise<Predictions> {
    refuseMore('predict', more)
    const opened = this.#open('the dataset', dataset)
    return predictAll(this.model, examplesOf(opened), this.#evaluationSettings(opened))
  }

  #open(name: string, dataset: Dataset): OpenDataset {
    return openDataset(name, dataset, this.#options.dataCollator)
  }

  #evaluationSettings({ collates, collator }: OpenDataset) {
    const { labelSmoothingFactor: labelSmoothing, perDeviceEvalBatchSize: batchSize, seed } = this.args
    const { signal } = this.#options
    return { batchSize, collator: collates ? collator : undefined, labelSmoothing, seed, signal }
  }

  async *#events(args: TrainingArguments): AsyncGenerator<TrainEvent, TrainOutput> {
    const run = await this.#begin(args)
    let failed = false
    try {
      return yield* this.#run(run)
    } catch (error) {
      failed = true
      throw error
    } finally {
      // also where nobody listens any longer; the first error is the one to report
      await closeAll(this.#callbacks).catch((error) => {
        if (!failed) throw error
      })
    }
  }

  async *#run(run: Run): AsyncGenerator<TrainEvent, TrainOutput> {
    const { control, plan, state } = run
    try {
      yield* resumption(run)
      await this.#call(run, 'onTrainBegin')
      if (this.args.evalOnStart && state.globalStep === 0) yield* this.#evaluate(run)
      yield* this.#owed(run)
      if (state.epochsEnded < Math.floor(positionOf(state) / plan.updatesPerEpoch)) yield* this.#endEpoch(run)
      if (control.shouldTrainingStop)
        run.warnings.push(`A callback had ended this run after step ${state.globalStep}; nothing is left to train`)
      while (positionOf(state) < plan.maxSteps && !control.shouldTrainingStop) yield* this.#epoch(run)
      if (control.shouldTrainingStop && state.globalStep > run.firstStep)
        run.warnings.push(`A callback ended training after step ${state.globalStep}`)
      return yield* this.#end(run)
    } catch (error) {
      if (error instanceof AbortedError) {
        if (run.canSave) yield* this.#keep(run)
        throw new TrainingAborted(state.globalStep, run.checkpoint, error)
      }
      if (state.globalStep > run.firstStep) yield* this.#rescued(run, error)
      throw error
    }
  }

  async #begin(args: TrainingArguments): Promise<Run> {
    const { model } = this
    if (this.#train === undefined) throw new ArgumentError('Expected trainDataset but received none')
    if (this.#options.signal?.aborted) throw new TrainingAborted(0, null)
    const { plan, source } = this.#train
    await prepareOutput(args)
    await model.describe?.()
    prepareModel(model, args)
    const optimizer = this.#options.optimizer ?? createOptimizer(model, args)
    const parity = Parity.of(args, model, optimizer, source)
    const identity = identityOf(args, plan, source, optimizer.defaults.lr, model)
    const { checkpoint, state } = await resumeState(args, { model, optimizer, identity, callbacks: this.#callbacks })
    // a run that saves nothing has nothing to do with those that others have saved
    const foreign = args.saveStrategy === 'no' ? undefined : await foreignCheckpoints(args.outputDir, state.runId)
    await parity?.begin(state.generator)
    return {
      source,
      plan,
      identity,
      optimizer,
      parity,
      scheduler: createScheduler(optimizer, args, plan, state.globalStep),
      state,
      control: initialControl(state.stopped),
      foreign,
      warnings: foreign?.size ? [foreignWarning(args.outputDir)] : [],
      shown: [],
      firstStep: state.globalStep,
      started: performance.now(),
      savedStep: state.globalStep,
      checkpoint,
      canSave: true,
    }
  }

  /** Calls the callbacks of an event one after the other; what they ask for is in `run.control`. */
  async #call(run: Run, event: CallbackEvent, extra: Pick<CallbackContext, 'logs' | 'metrics'> = {}): Promise<void> {
    const context = { ...contextOf(run, this.args, this.model), ...extra }
    for (const callback of this.#callbacks) await callback[event]?.(context)
    run.state.stopped = run.control.shouldTrainingStop
  }

  /** The updates of the epoch that the state stands in, from the one that is due. */
  async *#epoch(run: Run): AsyncGenerator<TrainEvent> {
    const { args } = this
    const { control, plan, state } = run
    const { updatesPerEpoch } = plan
    const epoch = Math.floor(positionOf(state) / updatesPerEpoch)
    const first = positionOf(state) % updatesPerEpoch
    control.shouldEpochStop = false
    if (first === 0) await this.#call(run, 'onEpochBegin')
    const batches = run.source.batches(args, plan, epoch, first * args.gradientAccumulationSteps)
    const next = () => prefetched(takeBatches(batches, args.gradientAccumulationSteps))
    try {
      let coming = next()
      for (let update = first; update < updatesPerEpoch; update++) {
        if (positionOf(state) >= plan.maxSteps || control.shouldTrainingStop) break
        const microBatches = await unlessAborted(coming, this.#options.signal)
        // prepared while the step runs
        if (update + 1 < updatesPerEpoch) coming = next()
        Object.assign(control, { shouldLog: false, shouldEvaluate: false, shouldSave: false })
        await this.#call(run, 'onStepBegin')
        yield await this.#step(run, microBatches)
        await this.#call(run, 'onStepEnd')
        if (control.shouldEpochStop) state.skippedUpdates += updatesPerEpoch - update - 1
        yield* this.#owed(run)
        if (control.shouldEpochStop) break
      }
    } finally {
      await endBatches(batches)
    }
    yield* this.#endEpoch(run)
  }

  /** Tells callbacks of the end of an epoch, once, also where a checkpoint was made before it. */
  async *#endEpoch(run: Run): AsyncGenerator<TrainEvent> {
    const { plan, state } = run
    await this.#call(run, 'onEpochEnd')
    state.epochsEnded = Math.ceil(positionOf(state) / plan.updatesPerEpoch)
    yield* this.#owed(run)
  }

  async #step({ optimizer, parity, plan, scheduler, state }: Run, microBatches: ModelBatch[]): Promise<TrainEvent> {
    const { signal } = this.#options
    if (signal?.aborted) throw new AbortedError()
    // an evaluation, or a caller, may have turned dropout off
    this.model.train()
    const started = performance.now()
    const learningRate = optimizer.paramGroups[0].lr
    const { labelSmoothingFactor, maxGradNorm } = this.args
    const options = { maxGradNorm, labelSmoothing: labelSmoothingFactor, signal }
    const startsEpoch = positionOf(state) % plan.updatesPerEpoch === 0
    // before the update, so that a batch that cannot be counted changes nothing
    const { hasLabel, tokens } = countBatches(microBatches)
    const { gradNorm, loss } = await (
      parity?.step(microBatches, options, startsEpoch) ?? optimizer.step(microBatches, options)
    ).catch((error) => {
      throw inStep(error, state.globalStep + 1)
    })
    scheduler.step()
    const seconds = (performance.now() - started) / 1000
    const counted = addStep(state, { loss, labelled: loss !== 0 || hasLabel, gradNorm, learningRate, tokens, seconds })
    const { maxSteps } = plan
    const [step, epoch] = [state.globalStep, epochAt(plan, positionOf(state))]
    return { type: 'step', step, maxSteps, epoch, loss: counted, gradNorm, learningRate, tokens, seconds }
  }

  /** Logs, evaluates and saves where that is due after the current step and not done yet, or where a callback asks for it. */
  async *#owed(run: Run): AsyncGenerator<TrainEvent> {
    const { args } = this
    const { control, plan, state } = run
    const step = state.globalStep
    yield* this.#warnings(run)
    if (step === 0) return
    const position = positionOf(state)
    const isDue = dueAfter(plan, step, position, control.shouldTrainingStop)
    const logsFirst = args.loggingFirstStep && step === 1
    const logs = logsFirst || control.shouldLog || isDue(args.loggingStrategy, plan.loggingSteps)
    if (state.stepsSinceLog > 0 && logs) yield await this.#log(run)
    const delayed = args.evalDelay > (args.evalStrategy === 'steps' ? step : epochAt(plan, position))
    const evaluates =
      state.evaluatedStep !== step && (control.shouldEvaluate || (!delayed && isDue(args.evalStrategy, plan.evalSteps)))
    const isBest = evaluates && (yield* this.#evaluate(run))
    const saves =
      control.shouldSave || (args.saveStrategy === 'best' ? isBest : isDue(args.saveStrategy, plan.saveSteps))
    // A checkpoint of an interrupted evaluation is replaced by one that knows its result.
    if (saves && (evaluates || run.savedStep !== step)) yield await this.#save(run)
  }

  *#warnings({ shown, state, warnings }: Run): Generator<TrainEvent> {
    const due = warnings.splice(0)
    shown.push(...due)
    for (const message of due) yield { type: 'warning', step: state.globalStep, message }
  }

  async #log(run: Run): Promise<TrainEvent> {
    const { plan, state } = run
    const step = state.globalStep
    const epoch = epochAt(plan, positionOf(state))
    const logs = takeLog(state, epoch)
    state.logHistory.push({ ...logs }) // whatever callbacks add to theirs
    await this.#call(run, 'onLog', { logs })
    return { type: 'log', step, epoch, logs }
  }

  /** Returns whether the metric is the best so far. */
  async *#evaluate(run: Run): AsyncGenerator<TrainEvent, boolean> {
    const { plan, state } = run
    const step = state.globalStep
    const epoch = epochAt(plan, positionOf(state))
    const metrics = { ...(await this.evaluate()), epoch, step }
    state.logHistory.push({ ...metrics })
    let isBest: boolean
    try {
      await this.#call(run, 'onLog', { logs: metrics })
      await this.#call(run, 'onEvaluate', { metrics })
      isBest = step > 0 && noteBest(this.args, state, metrics)
    } catch (error) {
      // a checkpoint that is saved now still owes this evaluation
      state.logHistory.pop()
      throw error
    }
    state.evaluatedStep = step
    run.parity?.evaluated()
    yield { type: 'evaluate', step, epoch, metrics, isBest }
    return isBest
  }

  async #save(run: Run, saveOnlyModel = this.args.saveOnlyModel): Promise<TrainEvent> {
    const { outputDir, saveTotalLimit } = this.args
    const { plan, state } = run
    const step = state.globalStep
    const { tokenizer } = this.#options
    const bestBefore = state.bestModelCheckpoint
    const checkpoint = checkpointFolder(outputDir, step)
    if (state.bestGlobalStep === step) state.bestModelCheckpoint = checkpoint
    state.generator = run.parity?.save() ?? null
    run.foreign ??= await foreignCheckpoints(outputDir, state.runId)
    try {
      await saveCheckpoint(checkpoint, {
        model: this.model,
        tokenizer,
        optimizer: saveOnlyModel ? undefined : run.optimizer,
        state: stringifyState(state, run.identity, this.args, plan, statesOf(this.#callbacks)),
      })
    } catch (error) {
      state.bestModelCheckpoint = bestBefore
      run.canSave = false
      throw error
    }
    run.savedStep = step
    run.checkpoint = checkpoint
    run.foreign.delete(checkpoint)
    const rotating = rotateCheckpoints(outputDir, saveTotalLimit, checkpoint, state.bestModelCheckpoint, run.foreign)
    await rotating.catch(warningOf(run))
    await this.#call(run, 'onSave')
    return { type: 'save', step, epoch: epochAt(plan, positionOf(state)), checkpoint }
  }

  /** Saves a whole checkpoint of the present step, where there is none: also with saveOnlyModel whoever stops a run means to go on. */
  async *#keep(run: Run): AsyncGenerator<TrainEvent> {
    const { globalStep: step } = run.state
    const isWhole = run.savedStep === step && (!this.args.saveOnlyModel || step === run.firstStep)
    if (!isWhole) yield await this.#save(run, false)
  }

  /** The weights after the last whole step are kept, whatever failed then. */
  async *#rescued(run: Run, error: unknown): AsyncGenerator<TrainEvent> {
    if (!run.canSave) return
    try {
      yield* this.#keep(run)
    } catch {
      // the first error is the one to report
      return
    }
    if (error instanceof NonFiniteError) throw rescuedError(error, run.checkpoint)
    run.warnings.push(`Training failed after step ${run.state.globalStep}; ${run.checkpoint} can be resumed`)
    yield* this.#warnings(run)
  }

  async *#end(run: Run): AsyncGenerator<TrainEvent, TrainOutput> {
    const { state } = run
    const metrics = metricsOf(run, this.args)
    const { epoch, step, train_loss: trainingLoss } = metrics
    state.logHistory.push({ ...metrics })
    await this.#call(run, 'onLog', { logs: metrics })
    const restoredStep = await endWithBest(this.args, this.model, run)
    await this.#call(run, 'onTrainEnd')
    yield* this.#warnings(run)
    const output = { ...outcomeOf(run), globalStep: step, trainingLoss, metrics, restoredStep }
    yield { type: 'end', step, epoch, output }
    return output
  }
}
