import { BertkitError } from '../errors.ts'
import { exists } from '../formats/files.ts'
import type { TrainingArguments } from './argument-rules.ts'
import { readWeights, stepOf } from './checkpoint.ts'
import type { LogRecord } from './events.ts'
import { verifyManifest } from './manifest.ts'
import { rankingOf } from './ranking.ts'
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

/** Notes in `state` an evaluation that is better than all before it; returns whether it is. */
export function noteBest(args: TrainingArguments, state: TrainerState, metrics: LogRecord): boolean {
  if (!ranks(args)) return false
  const { isBetter, value } = rankingOf(args, metrics)
  // the best one is never NaN, which is better than nothing only
  if (Number.isNaN(value) || !isBetter(value, state.bestMetric)) return false
  state.bestMetric = value
  state.bestGlobalStep = state.globalStep
  return true
}

/** Loads the weights of the best checkpoint and returns its step; a text says why that cannot be. */
export async function restoreBest(model: TrainableModel, folder: string): Promise<number | null | string> {
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
