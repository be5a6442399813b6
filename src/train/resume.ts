import { ArgumentError } from '../errors.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { TrainerCallback } from './callbacks.ts'
import { latestCheckpoint, openCheckpoint } from './checkpoint.ts'
import { initialState, parseState, type RunIdentity, type TrainerState } from './state.ts'
import type { TrainableModel, TrainableOptimizer } from './types.ts'

/** Everything that a checkpoint is put back into. */
export interface Resumed {
  readonly model: TrainableModel
  readonly optimizer: TrainableOptimizer
  readonly identity: RunIdentity
  readonly callbacks: readonly TrainerCallback[]
}

/**
 * The state to begin with: that of the checkpoint which `resumeFromCheckpoint` asks for, whose weights, moments and callbacks' states
 * are loaded, or that of a new run. Throws ArgumentError where the run is not the one that was saved.
 */
export async function resumeState(
  { outputDir, resumeFromCheckpoint }: TrainingArguments,
  { callbacks, identity, model, optimizer }: Resumed,
): Promise<TrainerState> {
  if (resumeFromCheckpoint === null || resumeFromCheckpoint === false) return initialState()
  const folder = resumeFromCheckpoint === true ? await latestCheckpoint(outputDir) : resumeFromCheckpoint
  const checkpoint = await openCheckpoint(folder)
  const { state, identity: saved, callbacks: states } = parseState(checkpoint.stateText, checkpoint.stateFile)
  for (const field of Object.keys(identity) as (keyof RunIdentity)[]) {
    if (saved[field] === identity[field]) continue
    const remedy = remedyOf(field, saved, folder)
    throw new ArgumentError(
      `Expected the run that is resumed from ${folder} to have the same ${field}, ${saved[field]}, but it has ${identity[field]}${remedy}`,
    )
  }
  await model.loadStateDict(await checkpoint.weights(), { strict: true })
  await optimizer.loadStateDict(await checkpoint.optimizer())
  for (const callback of callbacks)
    if (callback.name !== undefined && Object.hasOwn(states, callback.name)) callback.loadState?.(states[callback.name])
  return state
}

/** What can be done instead. */
function remedyOf(field: keyof RunIdentity, saved: RunIdentity, folder: string): string {
  if (field === 'dtype') return `; load the model with dtype ${saved.dtype}`
  if (field === 'modelSeed') return `; make the model with seed ${saved.modelSeed}`
  return `; to train on with other arguments, begin a run with ${folder} as its model`
}
