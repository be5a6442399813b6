// What a task is: how an input becomes sequences of tokens, and what their outputs say about it.

import type { BertTokenizer, EncodeOptions, Encoding } from '../data/tokenizer/tokenizer.ts'
import { ArgumentError } from '../errors.ts'
import type { SentenceTransformerInfo } from '../formats/sentence-transformers.ts'
import { isJsonObject, kindOf } from '../json.ts'
import { atLeast, type Check, oneOf } from '../options.ts'
import type { ModelInputs } from '../session/inputs.ts'
import type { PreTrainedModel } from '../session/pretrained.ts'
import type { Tensor } from '../tensor.ts'

/** Options of a task, each with what it may hold. */
export type Checks<Options> = { readonly [Name in keyof Options]-?: Check }

export interface Context<Model> {
  readonly model: Model
  readonly tokenizer: BertTokenizer
  /** The longest sequence that tokenizer and model have room for, in tokens. */
  readonly maxLength: number
  /** How the model's folder makes embeddings, where it says so. */
  readonly embedding: SentenceTransformerInfo | undefined
}

/** What the model reads at once: `[CLS] text [SEP]`, or a pair. */
export interface Sequence {
  readonly inputIds: number[]
  readonly tokenTypeIds: number[]
  /** Places of the tokens whose outputs are wanted; undefined: all. */
  readonly wanted?: readonly number[]
}

/**
 * Await what it returns between small pieces of work: the next turn of the event loop, when one is due. Throws AbortedError, or rejects
 * with it, once the call's signal has fired.
 */
export type Pause = () => Promise<void> | undefined

/** An input on its way. */
export interface Job<Rows, Output> {
  /**
   * None of them depends on another one: each may go to the model in any batch. Read once, one when it is needed, so that those of a long
   * input need neither be in memory at once nor be made in one piece. An ArgumentError is about the input.
   */
  readonly sequences: Iterable<Sequence>
  /** `rows`: what the model gave for each of the sequences. */
  finish(rows: readonly Rows[], pause: Pause): Output | Promise<Output>
}

/** What a task asks of a model. */
export interface ModelNeeds<Model> {
  readonly name: string
  readonly modelClass: TaskModelClass<Model>
  /** Classes that save what the model needs; undefined: all do. */
  readonly architectures?: readonly string[]
  /** Weights that do not matter here: a folder may lack them. */
  readonly unused?: RegExp
  /** Whether the folder's modules.json says how outputs become one vector. */
  readonly embeds?: boolean
}

export interface Task<Model, Input, Options, Rows, Output> extends ModelNeeds<Model> {
  readonly checks: Checks<Options>
  /** Rejects options that do not go together, with an ArgumentError. */
  readonly check?: (options: Options, context: Context<Model>) => void
  /** Checks and tokenises an input. Throws ArgumentError; the caller says which input it is. */
  start(input: Input, options: Options, context: Context<Model>): Job<Rows, Output>
  /** What the model gives for each of the sequences, as small as `finish` can do with: that of a whole input is kept. */
  compute(
    context: Context<Model>,
    sequences: readonly Sequence[],
    signal: AbortSignal | undefined,
    pause: Pause,
  ): Promise<Rows[]>
  /** The most wanted tokens to compute at once where an output is wide; a sequence may have more. */
  readonly maxTokens?: (context: Context<Model>) => number
  /** The inputs that a call gives, where that is not plain: undefined for a single one. */
  readonly listOf?: (given: unknown, options: Options) => readonly Input[] | undefined
  /** What a call with a single input gives, where that is not its output. `called`: the options of this call alone. */
  readonly single?: (output: Output, input: Input, called: Options) => unknown
}

export type TaskModelClass<Model> = (new (
  ...args: never[]
) => Model) &
  Pick<typeof PreTrainedModel, 'fromPretrained' | 'head'>

/** How texts are tokenised, where that is up to the caller. */
export type TextOptions = Pick<EncodeOptions, 'truncation' | 'maxLength'>

/**
 * A model's forward pass without dropout, whatever its mode, which stays as it is: a call notes the mode before it returns. `labels`: of
 * each token of each sequence, where outputs are wanted of those with a label alone.
 */
export function infer<Output>(
  model: {
    readonly training: boolean
    train(): unknown
    eval(): unknown
    forward(
      inputs: ModelInputs & { labels?: number[][] },
      options: { signal?: AbortSignal; labelledOnly?: boolean },
    ): Promise<Output>
  },
  sequences: readonly Sequence[],
  signal: AbortSignal | undefined,
  labels?: number[][],
): Promise<Output> {
  const { training } = model
  model.eval()
  try {
    const inputIds = sequences.map((sequence) => sequence.inputIds)
    const tokenTypeIds = sequences.map((sequence) => sequence.tokenTypeIds)
    return labels
      ? model.forward({ inputIds, tokenTypeIds, labels }, { signal, labelledOnly: true })
      : model.forward({ inputIds, tokenTypeIds }, { signal })
  } finally {
    if (training) model.train()
  }
}

/** The row of each sequence in a tensor [sequences, width]. */
export const rowsOf = ({ data, shape: [rows, width] }: Tensor): Float32Array[] =>
  Array.from({ length: rows }, (_, row) => data.subarray(row * width, (row + 1) * width))

/** The rows of each sequence in a tensor [tokens, width] or [tokens] of its wanted tokens. */
export function tokenRowsOf({ data, shape: [, width = 1] }: Tensor, sequences: readonly Sequence[]): Float32Array[] {
  let at = 0
  return sequences.map(({ inputIds, wanted = inputIds }) => {
    const start = at
    at += wanted.length * width
    return data.subarray(start, at)
  })
}

/** Throws ArgumentError unless the input is a text. */
export function checkText(value: unknown, what = 'a text'): asserts value is string {
  if (typeof value !== 'string') throw new ArgumentError(`Expected ${what} but received ${kindOf(value)}`)
}

/** Throws ArgumentError unless the input has these texts. */
export function checkTexts(value: unknown, names: readonly string[], optional: readonly string[] = []): void {
  if (!isJsonObject(value)) throw new ArgumentError(`Expected { ${names.join(', ')} } but received ${kindOf(value)}`)
  for (const name of names) checkText(value[name], `${name} to be a text`)
  const known = [...names, ...optional]
  const unknown = Object.keys(value).find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new ArgumentError(`Expected { ${known.join(', ')} } but received one with '${unknown}'`)
}

/**
 * Tokenises a text or a pair: cut where the caller asks for it, by `truncation` or, as in Transformers, by `maxLength` alone. Throws
 * ArgumentError where it is longer than the model takes.
 */
export function encodeWhole(
  { model, tokenizer, maxLength: limit }: Context<{ readonly config: { readonly maxPositionEmbeddings: number } }>,
  text: string,
  textPair: string | undefined,
  { maxLength, truncation = maxLength !== undefined }: TextOptions,
): Encoding {
  const most = model.config.maxPositionEmbeddings
  if (maxLength !== undefined && maxLength > most)
    throw new ArgumentError(`Expected maxLength to be at most ${most}, the model's, but received ${maxLength}`)
  const encoding = tokenizer.encode(text, textPair, { truncation, maxLength: maxLength ?? limit })
  const { length } = encoding.inputIds
  if (length > most)
    throw new ArgumentError(`Expected at most ${most} tokens but received ${length}; truncation: true cuts them`)
  return encoding
}

export const TEXT_CHECKS: Checks<TextOptions> = {
  truncation: oneOf(true, false, 'longest_first', 'only_first', 'only_second'),
  maxLength: atLeast(1),
}

/** Options inside an option. */
export const textOptions: Check = [
  'an object with truncation or maxLength',
  (value) =>
    isJsonObject(value) &&
    Object.entries(value).every(
      ([name, inner]) =>
        Object.hasOwn(TEXT_CHECKS, name) && (inner === undefined || TEXT_CHECKS[name as keyof TextOptions][1](inner)),
    ),
]
