import { ArgumentError } from '../errors.ts'
import { quote } from '../json.ts'
import { checkOptionNames } from '../options.ts'

/**
 * How to generate: names, defaults and meanings of Transformers 5.18's GenerationConfig. What is not given is the model's own
 * (`generationConfig`), or else the default that is named here; `null` is that default, whatever the model says. An option that the
 * chosen strategy does not read is ignored, as in Transformers: temperature, topK and topP without doSample; lengthPenalty and
 * earlyStopping with one beam.
 */
export interface GenerateOptions {
  /** New tokens of each sequence at most; wins over maxLength. With neither: 20, or fewer where the model's positions end. */
  readonly maxNewTokens?: number | null
  /** Tokens of each sequence at most, prompt included. */
  readonly maxLength?: number | null
  /** New tokens before the end may come; wins over minLength. 0 */
  readonly minNewTokens?: number | null
  /** Tokens, prompt included, before the end may come. 0 */
  readonly minLength?: number | null
  /** Draw tokens at random instead of taking the most probable. false */
  readonly doSample?: boolean | null
  /** Divides the logits before a draw. 1 */
  readonly temperature?: number | null
  /** Draw among the k most probable tokens; 0: among all. 50 */
  readonly topK?: number | null
  /** Draw among the most probable tokens that together reach this probability. 1 */
  readonly topP?: number | null
  /** Above 1: makes tokens of the prompt and of what was generated less likely (Keskar et al., CTRL, 2019). 1 */
  readonly repetitionPenalty?: number | null
  /** Hypotheses that beam search keeps; 1: no beam search. 1 */
  readonly numBeams?: number | null
  /** Beam search divides a sequence's log-probability by (new tokens)^lengthPenalty: above 0 favours long sequences. 1 */
  readonly lengthPenalty?: number | null
  /**
   * When beam search ends: true, with numBeams finished sequences; false, when better ones are unlikely; 'never', when better ones
   * are impossible. false
   */
  readonly earlyStopping?: boolean | 'never' | null
  /** Sequences of each prompt: the best beams, or as many draws. 1 */
  readonly numReturnSequences?: number | null
  /** Token or tokens that end a sequence; it keeps them. None by default. */
  readonly eosTokenId?: number | readonly number[] | null
  /**
   * Fills all sequences at their ends to the length of the longest. None by default, whatever the model's is, which is of prompts only:
   * each ends with its own last token.
   */
  readonly padTokenId?: number | null
  /** The prompt where none is given. */
  readonly bosTokenId?: number | null
  /**
   * Of the draws, 0 to 2^32 - 1: the same seed and prompt give the same sequences, in any batch; a prompt given again in one batch has
   * draws of its own. By default another at each call.
   */
  readonly seed?: number | null
  /** Stops within a token, with an AbortedError. */
  readonly signal?: AbortSignal | null
}

/** Checked options with their defaults. */
export interface Settings {
  readonly maxNewTokens: number | undefined
  readonly maxLength: number | undefined
  readonly minNewTokens: number
  readonly minLength: number
  readonly doSample: boolean
  readonly temperature: number
  readonly topK: number
  readonly topP: number
  readonly repetitionPenalty: number
  readonly numBeams: number
  readonly lengthPenalty: number
  readonly earlyStopping: boolean | 'never'
  readonly numReturnSequences: number
  readonly eosTokenIds: readonly number[]
  readonly padTokenId: number | undefined
  readonly bosTokenId: number | undefined
  readonly seed: number
  readonly signal: AbortSignal | undefined
  readonly origin: Origin | undefined
}

/** Which options the call has left to the model, and where that has them from. */
export interface Origin {
  readonly where: string
  readonly names: ReadonlySet<keyof GenerateOptions>
}

/** For an error about an option that nobody has given in the call. */
const from = (name: keyof GenerateOptions, origin: Origin | undefined): string =>
  origin?.names.has(name) ? ` (of ${origin.where})` : ''

const DEFAULT_NEW_TOKENS = 20
/** A gibibyte of logits: more is a mistake, or belongs into several calls. */
const MAX_SCORES = 2 ** 28

interface Rule {
  /** Completes "Expected <option> to be ...". */
  readonly expects: string
  readonly accepts: (value: unknown) => boolean
}

const isInteger = (value: unknown, least: number, end = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) < end
const integer = (least: number): Rule => ({
  expects: `an integer of at least ${least}`,
  accepts: (value) => isInteger(value, least),
})
const number = (expects: string, inRange: (value: number) => boolean): Rule => ({
  expects,
  accepts: (value) => typeof value === 'number' && Number.isFinite(value) && inRange(value),
})
const token: Rule = { expects: 'a token id', accepts: (value) => isInteger(value, 0) }

/** What each option may be. */
export const RULES: { readonly [Option in keyof GenerateOptions]-?: Rule } = {
  maxNewTokens: integer(1),
  maxLength: integer(1),
  minNewTokens: integer(0),
  minLength: integer(0),
  doSample: { expects: 'true or false', accepts: (value) => typeof value === 'boolean' },
  temperature: number('a number of at least 0', (value) => value >= 0),
  topK: integer(0),
  topP: number('a number from 0 to 1', (value) => value >= 0 && value <= 1),
  repetitionPenalty: number('a number above 0', (value) => value > 0),
  numBeams: integer(1),
  lengthPenalty: number('a finite number', () => true),
  earlyStopping: {
    expects: "true, false or 'never'",
    accepts: (value) => typeof value === 'boolean' || value === 'never',
  },
  numReturnSequences: integer(1),
  eosTokenId: {
    expects: 'a token id or a list of at least one',
    accepts: (value) =>
      Array.isArray(value) ? value.length > 0 && value.every((each) => token.accepts(each)) : token.accepts(value),
  },
  padTokenId: token,
  bosTokenId: token,
  seed: { expects: 'an integer from 0 to 2^32 - 1', accepts: (value) => isInteger(value, 0, 2 ** 32) },
  signal: { expects: 'an AbortSignal', accepts: (value) => value instanceof AbortSignal },
}

const list = (ids: number | readonly number[]): readonly number[] => (typeof ids === 'number' ? [ids] : ids)

/** An ArgumentError says which option is unknown, has a wrong value, or does not go with another. */
export function resolveOptions(options: GenerateOptions, vocabSize: number, origin?: Origin): Settings {
  checkOptionNames('generate', options, Object.keys(RULES))
  for (const [name, value] of Object.entries(options)) {
    const { expects, accepts } = RULES[name as keyof GenerateOptions]
    if (value !== undefined && value !== null && !accepts(value))
      throw new ArgumentError(`generate: expected ${name} to be ${expects} but received ${shown(value)}`)
  }
  const settings: Settings = {
    maxNewTokens: options.maxNewTokens ?? undefined,
    maxLength: options.maxLength ?? undefined,
    minNewTokens: options.minNewTokens ?? 0,
    // minNewTokens wins, a 0 too
    minLength: typeof options.minNewTokens === 'number' ? 0 : (options.minLength ?? 0),
    doSample: options.doSample ?? false,
    temperature: options.temperature ?? 1,
    topK: options.topK ?? 50,
    topP: options.topP ?? 1,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    numBeams: options.numBeams ?? 1,
    lengthPenalty: options.lengthPenalty ?? 1,
    earlyStopping: options.earlyStopping ?? false,
    numReturnSequences: options.numReturnSequences ?? 1,
    eosTokenIds: list(options.eosTokenId ?? []),
    padTokenId: options.padTokenId ?? undefined,
    bosTokenId: options.bosTokenId ?? undefined,
    seed: options.seed ?? Math.floor(Math.random() * 2 ** 32),
    signal: options.signal ?? undefined,
    origin,
  }
  checkTogether(settings, vocabSize)
  return settings
}

/** A number that JSON cannot say, such as NaN, is shown as it is. */
const shown = (value: unknown): string => (typeof value === 'number' ? String(value) : quote(value))

/** The refusals of GenerationConfig.validate that concern several options, and those that concern the vocabulary. */
function checkTogether(settings: Settings, vocabSize: number): void {
  const { doSample, temperature, numBeams, numReturnSequences, eosTokenIds, bosTokenId, origin } = settings
  const several = `numReturnSequences${from('numReturnSequences', origin)}`
  if (doSample && temperature === 0)
    throw new ArgumentError(
      `generate: expected temperature to be above 0 with doSample${from('doSample', origin)} but received 0${from('temperature', origin)}; doSample false is for the most probable tokens`,
    )
  if (numReturnSequences > 1 && numBeams === 1 && !doSample)
    throw new ArgumentError(
      `generate: ${several} ${numReturnSequences} needs doSample or numBeams: greedy search finds one sequence`,
    )
  if (numBeams > 1 && numReturnSequences > numBeams)
    throw new ArgumentError(
      `generate: expected ${several} of at most numBeams${from('numBeams', origin)}, ${numBeams}, but received ${numReturnSequences}`,
    )
  for (const [name, ids] of [
    ['eosTokenId', eosTokenIds],
    ['bosTokenId', bosTokenId === undefined ? [] : [bosTokenId]],
  ] as const)
    for (const id of ids)
      if (id >= vocabSize)
        throw new ArgumentError(`generate: ${name} is ${id}, but the vocabulary has the ids 0 to ${vocabSize - 1}`)
  if (numBeams > 1 && candidatesPerBeam(settings) > vocabSize)
    throw new ArgumentError(
      `generate: ${eosTokenIds.length} eosTokenIds${from('eosTokenId', origin)} are too many for beam search in a vocabulary of ${vocabSize}`,
    )
}

/** Continuations that beam search looks at for each beam: enough to go on when the best ones end. */
export const candidatesPerBeam = ({ eosTokenIds }: Settings): number => Math.max(2, 1 + eosTokenIds.length)

/** Checks the prompts: at least one, none empty, ids of the vocabulary. Without any, the one prompt is bosTokenId. */
export function resolvePrompts(
  prompts: readonly (readonly number[])[] | undefined,
  { bosTokenId }: Settings,
  vocabSize: number,
): readonly (readonly number[])[] {
  if (prompts === undefined || prompts === null) {
    if (bosTokenId === undefined)
      throw new ArgumentError('generate: expected inputIds, or bosTokenId to start from, but received neither')
    return [[bosTokenId]]
  }
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw new ArgumentError('generate: expected inputIds to be number[][] with at least one prompt')
  return prompts.map((prompt: unknown, b) => {
    if (!Array.isArray(prompt) && !(prompt instanceof Int32Array))
      throw new ArgumentError(
        `generate: expected inputIds[${b}] to be a list of token ids but received ${quote(prompt)}`,
      )
    if (prompt.length === 0)
      throw new ArgumentError(`generate: inputIds[${b}] is empty; a prompt has at least one token`)
    return Array.from(prompt, (id: unknown, t) => {
      if (isInteger(id, 0, vocabSize)) return id
      throw new ArgumentError(
        `generate: inputIds[${b}][${t}] is ${shown(id)}, expected an integer from 0 to ${vocabSize - 1}`,
      )
    })
  })
}

/** Refuses what would ask for more memory than there is. */
export function checkRows(prompts: number, { numBeams, numReturnSequences }: Settings, vocabSize: number): void {
  const each = Math.max(numBeams, numReturnSequences)
  if (prompts * each * vocabSize > MAX_SCORES)
    throw new ArgumentError(
      `generate: ${prompts} prompts with ${each} beams or sequences each, in a vocabulary of ${vocabSize}, are too many at once; generate them in several calls`,
    )
}

/** The length at which a prompt's sequences end (GenerationMixin._prepare_generated_length), prompt included. */
export function lengthLimit(prompt: readonly number[], b: number, settings: Settings, longest: number): number {
  const { maxNewTokens, maxLength, origin } = settings
  const name = maxNewTokens === undefined ? 'maxLength' : 'maxNewTokens'
  const limit =
    maxNewTokens !== undefined
      ? prompt.length + maxNewTokens
      : (maxLength ?? Math.min(prompt.length + DEFAULT_NEW_TOKENS, longest))
  if (limit > longest)
    throw new ArgumentError(
      maxNewTokens === undefined
        ? `generate: ${name}${from(name, origin)} is ${limit}, but the model takes at most ${longest} tokens (max_position_embeddings)`
        : `generate: inputIds[${b}] has ${prompt.length} tokens, and with ${name} ${maxNewTokens}${from(name, origin)} that is more than the ${longest} that the model takes (max_position_embeddings)`,
    )
  if (prompt.length >= limit)
    throw new ArgumentError(
      `generate: inputIds[${b}] has ${prompt.length} tokens, which leaves no room for a new one: at most ${limit}${from(name, origin)}, prompt included`,
    )
  return limit
}
