import * as path from 'node:path'
import { ArgumentError } from '../errors.ts'
import { exists } from '../formats/files.ts'
import { type JsonObject, quote } from '../json.ts'
import type { TrainingArguments } from './argument-rules.ts'
import type { TrainerCallback } from './callbacks.ts'
import { latestCheckpoint, openCheckpoint } from './checkpoint.ts'
import { initialState, parseState, type RunIdentity, type TrainerState } from './state.ts'
import type { TrainableModel, TrainableOptimizer } from './types.ts'

/** The run is another one than the one that was saved. */
export class ResumeError extends ArgumentError {
  constructor(
    readonly folder: string,
    /** In what they differ. */
    readonly field: keyof RunIdentity,
    readonly saved: RunIdentity,
    readonly found: RunIdentity,
  ) {
    super(
      `Expected the run that is resumed from ${folder} to have the same ${field}, ${saved[field]}, but it has ${found[field]}${remedyOf(field, saved, folder)}`,
    )
  }
}

/** Everything that a checkpoint is put back into. */
export interface Resumed {
  readonly model: TrainableModel
  readonly optimizer: TrainableOptimizer
  readonly identity: RunIdentity
  readonly callbacks: readonly TrainerCallback[]
}

/** What a run begins with. */
export interface Beginning {
  readonly state: TrainerState
  /** What it goes on from; null: a new run. */
  readonly checkpoint: string | null
}

/**
 * The state to begin with: that of the checkpoint which `resumeFromCheckpoint` asks for, whose weights, moments and callbacks' states
 * are loaded, or that of a new run. Throws ArgumentError where the run is not the one that was saved.
 */
export async function resumeState(
  { outputDir, resumeFromCheckpoint }: TrainingArguments,
  { callbacks, identity, model, optimizer }: Resumed,
): Promise<Beginning> {
  if (resumeFromCheckpoint === null || resumeFromCheckpoint === false)
    return { state: initialState(), checkpoint: null }
  const folder = resumeFromCheckpoint === true ? await latestCheckpoint(outputDir) : resumeFromCheckpoint
  const checkpoint = await openCheckpoint(folder)
  const { state, identity: saved, callbacks: states } = parseState(checkpoint.stateText, checkpoint.stateFile)
  for (const field of Object.keys(identity) as (keyof RunIdentity)[]) {
    if (saved[field] !== identity[field]) throw new ResumeError(folder, field, saved, identity)
  }
  checkConfig(model.config?.toJSON?.(), checkpoint.config, folder)
  await model.loadStateDict(await checkpoint.weights(), { strict: true })
  await optimizer.loadStateDict(await checkpoint.optimizer())
  for (const callback of callbacks)
    if (callback.name !== undefined && Object.hasOwn(states, callback.name)) callback.loadState?.(states[callback.name])
  if (state.bestModelCheckpoint !== null)
    state.bestModelCheckpoint = await whereMoved(state.bestModelCheckpoint, path.dirname(folder))
  return { state, checkpoint: folder }
}

/** Checkpoints that were moved or copied have the best one among them, of which they remember where it was. */
async function whereMoved(recorded: string, outputDir: string): Promise<string> {
  const moved = path.join(outputDir, path.basename(recorded))
  return (await exists(moved)) ? moved : recorded
}

/** Fields of config.json that say nothing about what is computed, or, as problem_type, follow from the labels where nobody gave them. */
const IRRELEVANT = new Set([
  '_name_or_path',
  'architectures',
  'dtype',
  'problem_type',
  'torch_dtype',
  'transformers_version',
])

/** Weights of the same shapes may belong to another network: one with more heads, say. */
function checkConfig(config: JsonObject | undefined, saved: JsonObject | undefined, folder: string): void {
  if (config === undefined || saved === undefined) return
  for (const field of new Set([...Object.keys(saved), ...Object.keys(config)])) {
    const [was, is] = [saved[field], config[field]]
    if (IRRELEVANT.has(field) || JSON.stringify(was) === JSON.stringify(is)) continue
    throw new ArgumentError(
      `Expected the model that is resumed from ${folder} to have the same ${field}, ${quote(was)}, but it has ${quote(is)}`,
    )
  }
}

/** What can be done instead. */
function remedyOf(field: keyof RunIdentity, saved: RunIdentity, folder: string): string {
  if (field === 'dtype') return `; load the model with dtype ${saved.dtype}`
  if (field === 'modelSeed') return `; make the model with seed ${saved.modelSeed}`
  if (field === 'data')
    return ': the training examples, or the settings that made them (maximum length, masking), have changed'
  return `; to train on with other arguments, begin a run with ${folder} as its model`
}
