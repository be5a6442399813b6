// The Trainer's arguments that a command line makes.
import { UsageError } from '../errors.ts'
import { argumentRules, type TrainingArgumentsInput } from '../train/argument-rules.ts'
import type { Task, TaskOptions } from '../train/tasks/task.ts'
import type { TaskData } from '../train/tasks/task-data.ts'
import { checkArguments, flagOf, givenArguments } from './options.ts'

/** What argumentsOf() makes of arguments that are not given, for the help. */
export const OWN_DEFAULTS = {
  evalStrategy: 'with --eval-file steps where --eval-steps, --save-steps or --max-steps is given, else epoch; else no',
  evalSteps: '--save-steps where only that asks for steps, else --logging-steps',
  saveStrategy:
    'steps with --save-steps, else as --eval-strategy; where nothing is evaluated epoch, or steps with --max-steps',
  saveSteps: '--eval-steps, else --logging-steps, where it evaluates by steps; else 500',
  loadBestModelAtEnd: 'true where --save-strategy is best, or each checkpoint comes with an evaluation',
  metricForBestModel: "the task's: accuracy, f1 (of tags without spans accuracy), f1_micro, pearson or loss",
  saveTotalLimit: '1',
  reportTo: 'tensorboard',
}

/** Throws UsageError for a metric that no evaluation has, before anything is trained. */
function checkMetric(available: readonly string[], given: string | null | undefined): void {
  const name = given?.replace(/^eval_/, '')
  if (name === undefined || available.includes(name)) return
  throw new UsageError(`Expected --metric-for-best-model to be one of ${available.join(', ')} but received '${given}'`)
}

/** Throws UsageError for a number of steps that the strategy would not look at. */
function checkSteps(given: TrainingArgumentsInput, what: 'eval' | 'save'): void {
  const strategy = given[`${what}Strategy`]
  if (given[`${what}Steps`] === undefined || strategy === undefined || strategy === 'steps') return
  const [steps, by] = [flagOf(`${what}Steps`), flagOf(`${what}Strategy`)]
  throw new UsageError(`Expected ${by} steps with ${steps} but received ${by} ${strategy}`)
}

/** Throws UsageError for a smoothing of labels that no loss of the task reads: of none but one class each. */
function checkSmoothing(
  task: Task,
  { labelSmoothingFactor = 0 }: TrainingArgumentsInput,
  problemType: TaskOptions['problemType'],
): void {
  if (labelSmoothingFactor === 0) return
  const expected = `Expected ${flagOf('labelSmoothingFactor')} with labels of one class each but`
  if (task.name === 'question-answering') throw new UsageError(`${expected} the task is ${task.name}`)
  if (problemType !== undefined && problemType !== 'single_label_classification')
    throw new UsageError(`${expected} ${flagOf('problemType')} is ${problemType}`)
}

/**
 * The arguments for data that has been read: where no metric was asked for, the one that its labels have for the best model. Throws
 * UsageError for what does not fit them.
 */
export function argumentsFor(
  { bestMetric, labels, task }: TaskData,
  args: TrainingArgumentsInput,
  options: object,
): TrainingArgumentsInput {
  checkSmoothing(task, args, labels?.problemType)
  const isAsked = givenArguments({ ...options }).metricForBestModel !== undefined
  return isAsked || args.metricForBestModel !== task.bestMetric ? args : { ...args, metricForBestModel: bestMetric }
}

/** As in Transformers, 0 asks for the number between log lines. */
const withEvalSteps = (given: TrainingArgumentsInput): TrainingArgumentsInput =>
  given.evalSteps === 0 ? { ...given, evalSteps: given.loggingSteps ?? argumentRules.loggingSteps.fallback } : given

type Times = Pick<TrainingArgumentsInput, 'evalSteps' | 'saveSteps'> &
  Required<Pick<TrainingArgumentsInput, 'evalStrategy' | 'saveStrategy'>>

/** When to evaluate and to save. What is given of the one decides the other too: the best evaluation is to have a checkpoint. */
function timesOf(given: TrainingArgumentsInput, evalFile: string | undefined): Times {
  checkSteps(given, 'eval')
  checkSteps(given, 'save')
  const { evalSteps, saveSteps } = given
  // a run of so many steps may end before an epoch does
  const regularly = (given.maxSteps ?? -1) > 0 ? 'steps' : 'epoch'
  const counted = (evalSteps ?? saveSteps) === undefined ? regularly : 'steps'
  const evalStrategy = given.evalStrategy ?? (evalFile === undefined && evalSteps === undefined ? 'no' : counted)
  if (evalStrategy !== 'no' && evalFile === undefined) {
    const why = given.evalStrategy === undefined ? 'of --eval-steps' : `--eval-strategy is '${evalStrategy}'`
    throw new UsageError(`Expected --eval-file because ${why} but received none`)
  }
  const saved = saveSteps === undefined && evalStrategy !== 'no' ? evalStrategy : counted
  const saveStrategy = given.saveStrategy ?? saved
  if (evalStrategy !== 'steps') return { evalStrategy, saveStrategy }
  // evaluations that nobody asked for by steps come with the checkpoints that somebody did
  const isAsked = given.evalStrategy !== undefined || regularly === 'steps'
  const asSaved = isAsked && given.loggingSteps !== undefined ? undefined : saveSteps
  const every = { evalSteps: evalSteps ?? asSaved, saveSteps: saveSteps ?? evalSteps ?? given.loggingSteps }
  return { evalStrategy, saveStrategy, ...every }
}

/** Of counts, or of fractions of all steps, which are not kept exactly; a fraction is no multiple of a count. */
function isMultiple(steps: number, of: number): boolean {
  const times = steps / of
  return steps < 1 === of < 1 && Math.round(times) > 0 && Math.abs(times - Math.round(times)) < 1e-9
}

/** Whether every checkpoint comes with an evaluation, so that the best one has weights. */
const areTogether = ({ evalSteps, evalStrategy, saveSteps, saveStrategy }: Times): boolean =>
  evalStrategy === saveStrategy && (!evalSteps || saveSteps === undefined || isMultiple(saveSteps, evalSteps))

/**
 * The Trainer's arguments; by default it evaluates and saves each epoch, and keeps the best model. Throws UsageError, before anything is
 * read or written.
 */
export function argumentsOf(task: Task, options: TaskOptions & { readonly evalFile?: string }): TrainingArgumentsInput {
  const given = withEvalSteps(givenArguments({ ...options }))
  checkSmoothing(task, given, options.problemType)
  const times = timesOf(given, options.evalFile)
  const { evalStrategy, saveStrategy } = times
  const metrics = given.predictionLossOnly ? ['loss'] : [...task.metrics, 'loss']
  checkMetric(metrics, given.metricForBestModel)
  const ranking = given.predictionLossOnly ? 'loss' : task.bestMetric
  const defaults = {
    ...times,
    loadBestModelAtEnd: evalStrategy !== 'no' && (saveStrategy === 'best' || areTogether(times)),
    metricForBestModel: evalStrategy === 'no' ? null : ranking,
    saveTotalLimit: 1,
    reportTo: 'tensorboard',
  } as const
  return checkArguments({ ...defaults, ...given })
}
