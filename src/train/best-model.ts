import { BertkitError } from '../errors.ts'
import { exists } from '../formats/files.ts'
import type { TrainingArguments } from './argument-rules.ts'
import { readWeights, stepOf } from './checkpoint.ts'
import type { LogRecord } from './events.ts'
import { verifyManifest } from './manifest.ts'
import { rankingOf } from './ranking.ts'
import type { Run } from './run.ts'
import type { TrainerState } from './state.ts'
import type { TrainableModel } from './types.ts'

/** Whether anybody asks which evaluation is best. */
const ranks = ({
  earlyStoppingPatience,
  loadBestModelAtEnd,
  metricForBestModel,
  saveStrategy,
}: TrainingArguments): boolean =>
  metricForBestModel !== null || loadBestModelAtEnd || saveStrategy === 'best' || earlyStoppingPatience !== null

/**
 * Whether an evaluation of 0 follows a best one of 0 with a lower loss. f1 is 0 in the first epochs of several labels or of spans: which is
 * better of these, the loss alone can tell. Any other tie is the earlier one's, as in Transformers' trainer_callback.py.
 */
function isNearer(
  value: number,
  metrics: LogRecord,
  { bestGlobalStep, bestMetric, logHistory }: TrainerState,
): boolean {
  if (value !== 0 || bestMetric !== 0) return false
  const best = logHistory.find((record) => record.step === bestGlobalStep && record.eval_loss !== undefined)
  return best !== undefined && metrics.eval_loss < best.eval_loss
}

/** Notes in `state` an evaluation that is better than all before it; returns whether it is. */
export function noteBest(args: TrainingArguments, state: TrainerState, metrics: LogRecord): boolean {
  if (!ranks(args)) return false
  const { isBetter, value } = rankingOf(args, metrics)
  // the best one is never NaN, which is better than nothing only
  if (Number.isNaN(value) || !(isBetter(value, state.bestMetric) || isNearer(value, metrics, state))) return false
  state.bestMetric = value
  state.bestGlobalStep = state.globalStep
  return true
}

/**
 * Ends a run with the weights of its best checkpoint and returns their step; null where it keeps those of the last step. Whatever is
 * not the best evaluation's is a warning.
 */
export async function endWithBest(
  { loadBestModelAtEnd }: TrainingArguments,
  model: TrainableModel,
  run: Pick<Run, 'canSave' | 'state' | 'warnings'>,
): Promise<number | null> {
  const { bestGlobalStep: best, bestModelCheckpoint: folder } = run.state
  if (!loadBestModelAtEnd || best === null) return null
  const keeps = 'the model keeps the weights of the last step'
  const unsaved = `The best evaluation, after step ${best}, has no checkpoint`
  if (folder === null) {
    run.warnings.push(`${unsaved}; ${keeps}`)
    return null
  }
  run.canSave = false
  const restored = await restoreBest(model, folder)
  if (typeof restored === 'string') {
    run.warnings.push(`${restored}; ${keeps}`)
    return null
  }
  if (restored !== best) run.warnings.push(`${unsaved}; the model has the weights of ${folder}, the best before it`)
  return restored
}

/** Loads the weights of the best checkpoint and returns its step; a text says why that cannot be. */
async function restoreBest(model: TrainableModel, folder: string): Promise<number | null | string> {
  if (!(await exists(folder))) return `The best checkpoint, ${folder}, is gone`
  try {
    await verifyManifest(folder)
    await model.loadStateDict(await readWeights(folder), { strict: true })
  } catch (error) {
    if (!(error instanceof BertkitError)) throw error
    return `The best checkpoint cannot be used (${error.message})`
  }
  return stepOf(folder)
}
