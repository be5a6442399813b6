import { ArgumentError } from '../../errors.ts'
import { quote } from '../../json.ts'
import { causalLM, maskedLM } from './language-models.ts'
import { multipleChoice } from './multiple-choice.ts'
import { questionAnswering } from './question-answering.ts'
import { nextSentence, preTraining } from './sentence-pairs.ts'
import { sequenceClassification } from './sequence-classification.ts'
import { type ReadSettings, TASK_NAMES, type Task, type TaskName, type TaskOptions } from './task.ts'
import { tokenClassification } from './token-classification.ts'

/** What a task is made of: its own options, and which columns are labels, which may say what a label is. */
type CreateOptions = TaskOptions & Pick<ReadSettings, 'labelColumn'>

const TASKS: Readonly<Record<TaskName, (options: CreateOptions) => Task>> = {
  'sequence-classification': sequenceClassification,
  'token-classification': tokenClassification,
  'question-answering': questionAnswering,
  'multiple-choice': multipleChoice,
  'masked-lm': maskedLM,
  'causal-lm': causalLM,
  'next-sentence': nextSentence,
  pretraining: preTraining,
}

/** A task by its name. Throws ArgumentError for a name that is none. */
export function createTask(name: TaskName, options: CreateOptions = {}): Task {
  if (Object.hasOwn(TASKS, name)) return TASKS[name](options)
  throw new ArgumentError(`Expected a task, one of ${TASK_NAMES.join(', ')}, but received ${quote(name)}`)
}

/** The task of a model's class; undefined for classes that have none, and names that are no class. */
export const taskOfClass = (className: string): TaskName | undefined =>
  TASK_NAMES.find((name) => TASKS[name]({}).model.architecture === className)
