import { ArgumentError } from '../errors.ts'
import {
  type ArgumentRule,
  argumentRules,
  finite,
  refusedArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
} from './argument-rules.ts'
import { checkMultiples } from './training-plan.ts'

export type { TrainingArguments, TrainingArgumentsInput } from './argument-rules.ts'

const describe = (value: unknown): string =>
  typeof value === 'string'
    ? `'${value}'`
    : typeof value === 'number'
      ? String(value)
      : (JSON.stringify(value) ?? String(value))

function warmupOf(given: TrainingArgumentsInput): number | undefined {
  const { warmupRatio, warmupSteps } = given
  if (warmupRatio === undefined) return warmupSteps
  if (warmupSteps !== undefined) throw new ArgumentError('Expected warmupSteps or warmupRatio but both were given')
  if (finite(warmupRatio) && warmupRatio >= 0 && warmupRatio < 1) return warmupRatio
  throw new ArgumentError(`Expected warmupRatio to be a number from 0 to below 1 but received ${describe(warmupRatio)}`)
}

/** The options of a schedule may have the names of Transformers, as num_cycles. */
function inCamelCase(options: Record<string, unknown> | null): Record<string, unknown> | null {
  if (options === null) return null
  const renamed: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(options)) {
    const own = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
    if (Object.hasOwn(renamed, own))
      throw new ArgumentError(`Expected ${own} of lrSchedulerKwargs once but received it twice`)
    renamed[own] = value
  }
  return renamed
}

/** PyTorch has no such batches, or draws them in a way that is not repeated here. */
function checkParity({ parity, tokensPerBatch, trainSamplingStrategy }: TrainingArguments): void {
  if (parity !== 'pytorch-cpu') return
  if (tokensPerBatch !== null)
    throw new ArgumentError(
      "Expected perDeviceTrainBatchSize because of parity 'pytorch-cpu' but received tokensPerBatch",
    )
  if (trainSamplingStrategy === 'group_by_length')
    throw new ArgumentError(
      "Expected trainSamplingStrategy to be random or sequential because of parity 'pytorch-cpu' but received 'group_by_length'",
    )
}

function checkBestModel(args: TrainingArguments): void {
  const { evalStrategy, saveStrategy } = args
  if (args.earlyStoppingPatience !== null && evalStrategy === 'no')
    throw new ArgumentError(
      "Expected evalStrategy to be steps or epoch because of earlyStoppingPatience but received 'no'",
    )
  if ((args.loadBestModelAtEnd || saveStrategy === 'best') && evalStrategy === 'no') {
    throw new ArgumentError(
      `Expected evalStrategy to be steps or epoch because ${saveStrategy === 'best' ? "saveStrategy is 'best'" : 'loadBestModelAtEnd is true'} but received 'no'`,
    )
  }
  if (!args.loadBestModelAtEnd || saveStrategy === 'best') return
  if (saveStrategy !== evalStrategy) {
    throw new ArgumentError(
      `Expected saveStrategy to equal evalStrategy because loadBestModelAtEnd is true but received '${saveStrategy}' and '${evalStrategy}'`,
    )
  }
  const evalSteps = args.evalSteps ?? args.loggingSteps
  // what fractions come to depends on the data: see checkMultiples
  const isCount = (steps: number): boolean => steps >= 1
  if (evalStrategy === 'steps' && isCount(args.saveSteps) && isCount(evalSteps))
    checkMultiples(args, { saveSteps: args.saveSteps, evalSteps })
}

/**
 * Fills in the defaults and checks every value. Throws ArgumentError for an unknown or refused name, a value out of range, and
 * combinations that cannot work.
 */
export function resolveTrainingArguments(given: TrainingArgumentsInput): TrainingArguments {
  const resolved: Record<string, unknown> = {}
  for (const [name, rule] of Object.entries(argumentRules)) resolved[name] = rule.fallback
  const wanted: Record<string, unknown> = { ...given, warmupSteps: warmupOf(given) }
  delete wanted.warmupRatio
  for (const [name, value] of Object.entries(wanted)) {
    if (value === undefined) continue
    if (Object.hasOwn(refusedArguments, name) && value === false) continue // asks for nothing
    if (Object.hasOwn(refusedArguments, name))
      throw new ArgumentError(`${name} is not available: ${refusedArguments[name]}`)
    if (!Object.hasOwn(argumentRules, name)) {
      throw new ArgumentError(
        `There is no training argument '${name}'; there are ${Object.keys(argumentRules).join(', ')}`,
      )
    }
    const rule: ArgumentRule<unknown> = argumentRules[name as keyof typeof argumentRules]
    if (!rule.accepts(value)) {
      throw new ArgumentError(`Expected ${name} to be ${rule.expects} but received ${describe(value)}`)
    }
    resolved[name] = value
  }
  // as in Transformers, none is those between log lines
  if (resolved.evalSteps === 0) resolved.evalSteps = null
  resolved.lrSchedulerKwargs = inCamelCase(resolved.lrSchedulerKwargs as TrainingArguments['lrSchedulerKwargs'])
  const args = resolved as TrainingArguments
  if (args.tokensPerBatch !== null && given.perDeviceTrainBatchSize !== undefined)
    throw new ArgumentError('Expected tokensPerBatch or perDeviceTrainBatchSize but received both')
  if (args.tokensPerBatch !== null && args.dataloaderDropLast)
    throw new ArgumentError(
      'Expected tokensPerBatch or dataloaderDropLast but received both; by tokens, all batches of an epoch are alike',
    )
  checkBestModel(args)
  checkParity(args)
  return args
}
