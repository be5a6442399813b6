// From what a caller gives to what a plan reads: fields checked, rows laid side by side, labels turned into numbers.
import { ArgumentError } from '../errors.ts'
import type { GivenShape, Head, LabelInputs, Labels, PreparedLabels } from '../heads/head.ts'
import type { BertConfig } from '../model/config.ts'
import { indexRows, layRows, readsToken, tokenTermOf } from './batch.ts'
import { type EncoderInputs, prepareEncoder } from './encoder.ts'
import { type ChoiceInput, type ModelInputs, readFields, type TokenInput } from './inputs.ts'
import type { StepSettings } from './plans.ts'
import type { StepBatch } from './runs.ts'

/** Everything that some class takes. */
export type StepInputs = ModelInputs<TokenInput | ChoiceInput> & EncoderInputs & LabelInputs

/** What a step is run for. */
export interface Wanted {
  /** The gradient of the loss, and no output. */
  readonly differentiate: boolean
  readonly hiddenStates?: boolean
  readonly attentions?: boolean
  /** Of a forward: outputs of tokens for those with a label alone. */
  readonly labelledOnly?: boolean
  /** The caller gives the masks of dropout: of padded input, of which then every row is computed that the loss depends on. */
  readonly givenMasks?: boolean
}

interface PrepareOptions extends Wanted {
  readonly training: boolean
  readonly checkpointing: boolean
}

export interface PreparedStep extends StepBatch {
  readonly settings: StepSettings
}

const LABEL_NAMES = ['labels', 'nextSentenceLabel', 'startPositions', 'endPositions'] as const
const INPUT_NAMES: readonly string[] = [
  'inputIds',
  'attentionMask',
  'tokenTypeIds',
  'positionIds',
  'encoderHiddenStates',
  'encoderAttentionMask',
  ...LABEL_NAMES,
] satisfies (keyof StepInputs)[]

/** A misspelt mask that nobody reads would be a wrong result. */
function checkInputNames(inputs: StepInputs): void {
  const unknown = Object.entries(inputs ?? {}).find(
    ([name, value]) => value !== undefined && !INPUT_NAMES.includes(name),
  )
  if (unknown) throw new ArgumentError(`There is no input '${unknown[0]}'; there are ${INPUT_NAMES.join(', ')}`)
}

/** Labels by name, checked by the head; undefined without any, or where some that the loss needs are missing. */
function labelsOf(head: Head, owner: string, inputs: StepInputs, shape: GivenShape): PreparedLabels | undefined {
  const { labelNames } = head
  const given: Record<string, Labels> = {}
  for (const name of LABEL_NAMES) {
    const labels = inputs[name]
    if (labels === undefined || labels === null) continue
    if (!labelNames.includes(name))
      throw new ArgumentError(
        `${owner} takes ${labelNames.length ? `${labelNames.join(' and ')}, not ${name}` : 'no labels'}`,
      )
    given[name] = labels
  }
  return Object.keys(given).length ? head.prepareLabels(given, shape) : undefined
}

/**
 * Checks an input of the class `owner` and decides which rows and which plan it takes. Rows that nobody reads are left out: masked
 * ones before anything is computed, the others in the last layer and the head.
 */
function prepareStep(
  head: Head,
  config: BertConfig,
  owner: string,
  inputs: StepInputs,
  options: PrepareOptions,
): PreparedStep {
  const { differentiate, hiddenStates = false, attentions = false, labelledOnly = false } = options
  const { givenMasks = false, training, checkpointing } = options
  checkInputNames(inputs)
  const fields = readFields(inputs, config.maxPositionEmbeddings, !!head.takesChoices)
  const { sequences, starts } = fields.shape
  const encoder = prepareEncoder(inputs, config, sequences)
  if (givenMasks && (encoder || !fields.shape.padded))
    throw new ArgumentError(
      'Masks of dropout are for padded input without an encoder: give inputIds as { data, shape }',
    )
  const labels = labelsOf(head, owner, inputs, fields.shape)
  const labelledAlone = differentiate || (labelledOnly && tokenTermOf(labels) !== undefined)
  const showsTokens = !labelledAlone && Object.values(head.outputRows).includes('tokens')
  const whole = hiddenStates || attentions || showsTokens
  const needed = whole || head.reads.all ? undefined : readsToken(head.reads, labels, starts)
  const batch = layRows(fields, config, encoder, needed)
  const compact = labelledAlone && tokenTermOf(labels) !== undefined
  const selective = !whole && !givenMasks && head.selective
  const indices = indexRows(batch, head.reads, labels, { selective, compact })
  const settings: StepSettings = {
    differentiate,
    training,
    givenMasks,
    checkpointing: differentiate && checkpointing,
    hiddenStates,
    attentions,
    keyMask: !!batch.keyMask,
    selection: indices.selection,
    compact,
    encoder: !encoder ? 'none' : encoder.keyMask ? 'masked' : 'plain',
    choices: !!batch.cuChoices,
    labels: labels && {
      kind: labels.kind,
      terms: Object.entries(labels.terms).map(([name, { rows, width, data }]) => ({
        name,
        rows: rows === 'sequences' ? rows : rows === 'examples' || compact ? 'labelled' : rows,
        width,
        type: data instanceof Int32Array ? 'int32' : 'float32',
      })),
    },
  }
  return { batch, indices, labels, settings }
}

/** All of several inputs, or none: where one is refused, the labels of the others have not decided the config's problem type. */
export function prepareSteps(
  head: Head,
  config: BertConfig,
  owner: string,
  list: readonly StepInputs[],
  options: PrepareOptions,
): PreparedStep[] {
  const { problemType } = config
  try {
    return list.map((inputs) => prepareStep(head, config, owner, inputs, options))
  } catch (error) {
    config.problemType = problemType
    throw error
  }
}
