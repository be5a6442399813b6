import { ArgumentError } from '../errors.ts'
import { defaultParamGroups, layerwiseParamGroups } from '../optim/param-groups.ts'
import type { Scheduler } from '../optim/scheduler.ts'
import { getScheduler } from '../optim/schedules.ts'
import { AdamW } from '../session/adamw.ts'
import { PreTrainedModel } from '../session/pretrained.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { TrainingPlan } from './training-plan.ts'
import type { TrainableModel, TrainableOptimizer } from './types.ts'

function requireModel(model: TrainableModel, why: string): PreTrainedModel {
  if (model instanceof PreTrainedModel) return model
  throw new ArgumentError(`Expected a model of bertkit${why} but received another object`)
}

/** Freezes parameters and turns gradient checkpointing on, where the arguments ask for it. */
export function prepareModel(model: TrainableModel, { freeze, gradientCheckpointing }: TrainingArguments): void {
  if (freeze !== null) requireModel(model, ' because of freeze').freeze(freeze)
  if (gradientCheckpointing) requireModel(model, ' because of gradientCheckpointing').gradientCheckpointingEnable()
}

/** AdamW with the arguments' settings; biases and LayerNorm do not decay (Transformers' trainer.py, create_optimizer). */
export function createOptimizer(model: TrainableModel, args: TrainingArguments): TrainableOptimizer {
  const trained = requireModel(model, ', or an optimizer of your own,')
  const { learningRate: lr, layerwiseLrDecay, weightDecay } = args
  const optimizer = new AdamW(trained, {
    lr,
    betas: [args.adamBeta1, args.adamBeta2],
    eps: args.adamEpsilon,
    weightDecay,
  })
  const names = trained.parameters().map(({ name }) => name)
  const groups =
    layerwiseLrDecay === 1
      ? defaultParamGroups(names, { lr, weightDecay })
      : layerwiseParamGroups(names, { lr, weightDecay, decay: layerwiseLrDecay })
  optimizer.paramGroups.splice(0, Number.POSITIVE_INFINITY, ...groups)
  return optimizer
}

/** The schedule of a run, after `step` updates. */
export function createScheduler(
  optimizer: TrainableOptimizer,
  { lrSchedulerKwargs, lrSchedulerType }: TrainingArguments,
  { maxSteps, warmupSteps }: TrainingPlan,
  step: number,
): Scheduler {
  const steps = { numWarmupSteps: warmupSteps, numTrainingSteps: maxSteps }
  const scheduler = getScheduler(lrSchedulerType, optimizer, { ...steps, ...lrSchedulerKwargs })
  scheduler.loadStateDict({ ...scheduler.stateDict(), lastEpoch: step })
  return scheduler
}
